// British spellings as American ones, for the words that the Penn Treebank tokeniser of the caption evaluation changes:
// words in -our, and a list. It changes lower-case words only, and knows no others ("metre" and "tyre" stay).

/** The same word, or its American spelling. */
export function americanSpelling(word: string): string {
  if (word.length < 4 || word !== word.toLowerCase()) return word
  const known = pairs.get(word)
  if (known !== undefined) return known
  return word.length < 6 || keptOur.test(word) ? word : word.replace(/^([a-z]{3,})our(s?)$/, '$1or$2')
}

/** Words in -our that Americans write so too. */
const keptOur =
  /carrefour|cornflour|contour|de[tv]our|downpour|glamour|outpour|paramour|pompadour|tambour|troubadour|velour|bonjour/

/** A stem, its endings, and what becomes of the stem. */
const stems: readonly (readonly [from: string, to: string, endings: string])[] = [
  ['grey', 'gray', ''],
  ['centre', 'center', ''],
  ['theatre', 'theater', ' s'],
  ['fibre', 'fiber', ' s'],
  ['meagre', 'meager', ''],
  ['titre', 'titer', ' s'],
  ['kerb', 'curb', ''],
  ['defence', 'defense', ''],
  ['learnt', 'learned', ''],
  ['leant', 'leaned', ''],
  ['manoeuvre', 'maneuver', ' s'],
  ['analogue', 'analog', ' s'],
  ['analys', 'analyz', 'e ed ing'],
  ['colour', 'color', 'ed ing ful'],
  ['discolour', 'discolor', 'ed ing'],
  ['armour', 'armor', 'ed'],
  ['favour', 'favor', 'ed ing ite ites'],
  ['flavour', 'flavor', 'ed ing'],
  ['honour', 'honor', 'ed ing able'],
  ['humour', 'humor', 'ed ing'],
  ['labour', 'labor', 'ed ing'],
  ['savour', 'savor', 'ed ing'],
  ['rumour', 'rumor', 'ed ing'],
  ['endeavour', 'endeavor', 'ed ing'],
  ['neighbour', 'neighbor', 'hood hoods'],
  ['labell', 'label', 'ed ing'],
  ['travell', 'travel', 'ed ing'],
  ['cancell', 'cancel', 'ed ing'],
  ['organisation', 'organization', ' s'],
  ['realis', 'realiz', 'e ed es ing'],
  ['recognis', 'recogniz', 'e ed es ing'],
  ['modernis', 'moderniz', 'e ed ing'],
  ['practis', 'practic', 'e ed'],
]

const pairs: ReadonlyMap<string, string> = new Map(
  stems.flatMap(([from, to, endings]) =>
    endings.split(' ').map((ending) => [from + ending, to + ending] as const),
  ),
)
