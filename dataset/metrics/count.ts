// Whether a number was given exactly. It does not know what was counted.

const words = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen ' +
  'seventeen eighteen nineteen twenty'
).split(' ')

/** Digits, also with commas between thousands. */
const digits = String.raw`\d{1,3}(?:,\d{3})+|\d+`
/** Whole: "twenty-one" is not twenty. */
const numberPattern = new RegExp(
  String.raw`(?<![\w-])(${digits}|${words.join('|')}|no|none|nothing)(?![\w-])`,
  'i',
)

/** The first number in an answer, in digits or words to twenty; "no" and "none" are 0. Null when there is none. */
export function readCount(answer: string): number | null {
  const said = numberPattern.exec(answer)?.[1]?.toLowerCase()
  if (said === undefined) return null
  if (/^\d/.test(said)) return Number(said.replaceAll(',', ''))
  return Math.max(0, words.indexOf(said))
}

/** True when the gold answer is a number and nothing more, so that this metric is the one for it. */
export function isCount(gold: string): boolean {
  return new RegExp(String.raw`^\s*(${digits}|${words.join('|')})[.!]?\s*$`, 'i').test(gold)
}

/** An answer without a number is wrong. */
export function isCountRight(answer: string, gold: string): boolean {
  const said = readCount(answer)
  return said !== null && said === readCount(gold)
}
