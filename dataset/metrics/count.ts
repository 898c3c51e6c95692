// Whether a number was given exactly. It does not know what was counted.

const words = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen ' +
  'seventeen eighteen nineteen twenty'
).split(' ')

const numberPattern = new RegExp(String.raw`\b(\d+|${words.join('|')}|no|none|nothing)\b`, 'i')

/** The first number in an answer, in digits or words to twenty; "no" and "none" are 0. Null when there is none. */
export function readCount(answer: string): number | null {
  const said = numberPattern.exec(answer)?.[1]?.toLowerCase()
  if (said === undefined) return null
  if (/^\d/.test(said)) return Number(said)
  return Math.max(0, words.indexOf(said))
}

/** True when the gold answer is a number and nothing more, so that this metric is the one for it. */
export function isCount(gold: string): boolean {
  return new RegExp(String.raw`^\s*(\d+|${words.join('|')})[.!]?\s*$`, 'i').test(gold)
}

/** An answer without a number is wrong. */
export function isCountRight(answer: string, gold: string): boolean {
  const said = readCount(answer)
  return said !== null && said === readCount(gold)
}
