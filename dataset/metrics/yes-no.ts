// Whether a yes-or-no question was answered rightly. It does not know what was asked.

/** What an answer says: its first word that is yes or no. Null when it says neither. */
export function readYesNo(answer: string): 'yes' | 'no' | null {
  const word = /\b(yes|no)\b/i.exec(answer)?.[1]?.toLowerCase()
  return word === 'yes' || word === 'no' ? word : null
}

/** True when the gold answer is a yes or a no and nothing more, so that this metric is the one for it. */
export function isYesNo(gold: string): boolean {
  return /^\s*(yes|no)\b[.!]?\s*$/i.test(gold)
}

/** An answer that says neither is wrong. */
export function isYesNoRight(answer: string, gold: string): boolean {
  const said = readYesNo(answer)
  return said !== null && said === readYesNo(gold)
}
