// The things that a caption names, as words to ask about: singular, plural, with their article. English by rule; it does
// not know what is in the image.
import { nounPhrases, withoutDeterminers } from './noun-phrase.ts'

export type Entity = {
  /** Offsets of the whole phrase: [start, end). */
  start: number
  end: number
  /** What it is about, in the singular: "two red apples" -> "apple". */
  head: string
  /** Without colour and the like, singular: "two small hot air balloons" -> "hot air balloon". */
  name: string
  plural: string
}

/** Longer ones are clauses that were taken for a phrase. */
const maxNameChars = 40

/** Words before a noun that say how it looks, not what it is. */
const looks = new Set(
  (
    'red orange yellow green blue purple pink brown black grey gray white golden silver dark light bright colorful colourful ' +
    'big large small little tiny huge tall short long wide young old new beautiful nice single other various different'
  ).split(' '),
)

/** "a group of men": what there is are men. */
const amounts = new Set(
  'group pair couple bunch number variety row lot set piece dozen crowd stack pile collection'.split(' '),
)

/** The things of a text in order, each name once. */
export function entitiesIn(text: string): Entity[] {
  const seen = new Set<string>()
  return nounPhrases(text).flatMap(({ start, end }) => {
    const words = nameWords(text.slice(start, end))
    const last = words.at(-1)
    if (last === undefined) return []
    const [head, before] = [singular(last), words.slice(0, -1)]
    const name = [...before, head].join(' ')
    if (seen.has(name) || name.length > maxNameChars) return []
    seen.add(name)
    return [{ start, end, head, name, plural: [...before, pluralOf(head)].join(' ') }]
  })
}

function nameWords(phrase: string): string[] {
  const words = withoutDeterminers(phrase)
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
  const of = words.indexOf('of')
  if (of > 0 && amounts.has(singular(words[of - 1] ?? ''))) return nameWords(words.slice(of + 1).join(' '))
  const kept = of > 0 ? words.slice(0, of) : words
  const from = kept.findIndex((word, index) => index === kept.length - 1 || !looks.has(word))
  return kept.slice(Math.max(0, from))
}

const irregular: readonly (readonly [string, string])[] = [
  ['man', 'men'],
  ['woman', 'women'],
  ['person', 'people'],
  ['child', 'children'],
  ['mouse', 'mice'],
  ['foot', 'feet'],
  ['tooth', 'teeth'],
  ['goose', 'geese'],
  ['knife', 'knives'],
  ['leaf', 'leaves'],
  ['wolf', 'wolves'],
  ['shelf', 'shelves'],
  ['sheep', 'sheep'],
  ['fish', 'fish'],
  ['deer', 'deer'],
  ['scissors', 'scissors'],
  ['glasses', 'glasses'],
]
const singulars = new Map(irregular.map(([one, many]) => [many, one]))
const plurals = new Map(irregular)

/** Good enough to tell that two captions name one thing; no dictionary. */
export function singular(word: string): string {
  const known = singulars.get(word)
  if (known !== undefined) return known
  if (word.length < 4 || /(?:ss|us|is)$/.test(word)) return word
  if (/[^aeiou]ies$/.test(word)) return `${word.slice(0, -3)}y`
  if (/(?:ch|sh|x|zz|ss|to)es$/.test(word)) return word.slice(0, -2)
  return word.endsWith('s') ? word.slice(0, -1) : word
}

export function pluralOf(word: string): string {
  const known = plurals.get(word)
  if (known !== undefined) return known
  if (/[^aeiou]y$/.test(word)) return `${word.slice(0, -1)}ies`
  return /(?:ch|sh|x|s|z|to)$/.test(word) ? `${word}es` : `${word}s`
}

/** "a dog", "an apple", "a unicorn". */
export function withArticle(name: string): string {
  return /^(?:[aeio]|u(?!ni|se|ti|ke|ro))/i.test(name) ? `an ${name}` : `a ${name}`
}
