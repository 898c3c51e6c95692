// VQA accuracy (Antol et al. 2015) against the answers of ten people, with the normalisation of the official evaluation,
// its mistakes included where that is asked for. It does not know questions.

export type VqaOptions = {
  /** True counts as the published script does; false as it was meant: all answers normalised, all full stops. */
  bugForBug: boolean
}

/**
 * Accuracy of one answer, 0 to 1: for each person the others who said the same, three of them being enough, averaged.
 */
export function vqaAccuracy(
  said: string,
  answers: readonly string[],
  { bugForBug }: VqaOptions = { bugForBug: true },
): number {
  const tidy = (text: string) => text.replaceAll('\n', ' ').replaceAll('\t', ' ').trim()
  const given = answers.map(tidy)
  // The script normalises nothing where all people agree.
  const isNormalised = !bugForBug || new Set(given).size > 1
  const normalise = (text: string) => (isNormalised ? normaliseVqa(tidy(text), { bugForBug }) : tidy(text))
  const own = normalise(said)
  const people = given.map(normalise)
  const same = people.filter((answer) => answer === own).length
  const each = people.map((answer) => Math.min(1, (same - (answer === own ? 1 : 0)) / 3))
  return each.length === 0 ? 0 : each.reduce((sum, value) => sum + value, 0) / each.length
}

/** Punctuation, then digits and articles, then contractions. */
export function normaliseVqa(text: string, options: VqaOptions = { bugForBug: true }): string {
  return normaliseWords(normalisePunctuation(text, options), options)
}

const marks = Array.from(';/[]"{}()=+\\_-><@`,?!')

/** A mark beside a space goes, another becomes a space; digit,digit anywhere makes all of them go. */
function normalisePunctuation(text: string, { bugForBug }: VqaOptions): string {
  const hasThousands = /\d,\d/.test(text)
  let out = text
  for (const mark of marks) {
    const isBesideSpace = text.includes(`${mark} `) || text.includes(` ${mark}`)
    out = out.replaceAll(mark, isBesideSpace || hasThousands ? '' : ' ')
  }
  if (!bugForBug) return out.replaceAll(/(?<!\d)\.|\.(?!\d)/g, '')
  // `(?!<=\d)` for `(?<=\d)` is always true, and the flag lands where the count belongs: 32 replacements.
  let left = 32
  return out.replaceAll(/\.(?!\d)/g, (stop) => (left-- > 0 ? '' : stop))
}

const numbers: Readonly<Record<string, string>> = {
  none: '0',
  zero: '0',
  one: '1',
  two: '2',
  three: '3',
  four: '4',
  five: '5',
  six: '6',
  seven: '7',
  eight: '8',
  nine: '9',
  ten: '10',
}

const articles = new Set(['a', 'an', 'the'])

function normaliseWords(text: string, { bugForBug }: VqaOptions): string {
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => (Object.hasOwn(numbers, word) ? (numbers[word] ?? word) : word))
    .filter((word) => !articles.has(word))
  return words.map((word) => respell(word, bugForBug)).join(' ')
}

/** Words that are given back their apostrophe, by the right form. */
const contracted = (
  "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's " +
  "how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock " +
  "oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've " +
  "someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's they'd " +
  "they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd " +
  "where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all " +
  "y'all'll y'all'd've you'd you'd've you'll you're you've"
).split(' ')

/** A form with one apostrophe is missing it; of one with several one is missing. */
const respelt = new Map(
  contracted.flatMap((right) => {
    const places = Array.from(right).flatMap((character, at) => (character === "'" ? [at] : []))
    return places.map((at) => [right.slice(0, at) + right.slice(at + 1), right] as const)
  }),
)

function respell(word: string, bugForBug: boolean): string {
  // The one entry of the official table that is the wrong way round.
  if (word === "somebody'd") return bugForBug ? 'somebodyd' : word
  return respelt.get(word) ?? word
}
