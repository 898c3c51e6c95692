// POPE (Li et al. 2023): is a thing there, half of the time it is. It does not know how the things were chosen.
import { share } from './share.ts'

export type PopeAnswer = { said: string; gold: 'yes' | 'no' }

export type PopeScore = {
  accuracy: number
  precision: number
  recall: number
  f1: number
  /** Share of answers that say yes: far from a half the model says one thing to everything. */
  yesRatio: number
  questions: number
}

/** `official` reads answers as the published script does; `strict` wants a yes or a no and counts all else as wrong. */
export type PopeReading = 'official' | 'strict'

/** Yes is what is to be found. A share of nothing is 0, where the published script divides by zero. */
export function scorePope(answers: readonly PopeAnswer[], reading: PopeReading = 'official'): PopeScore {
  const read = reading === 'official' ? readPopeAnswer : readStrictly
  const count = (said: 'yes' | 'no' | null, gold: 'yes' | 'no') =>
    answers.filter((answer) => read(answer.said) === said && answer.gold === gold).length
  const [truePositive, falsePositive, trueNegative] = [
    count('yes', 'yes'),
    count('yes', 'no'),
    count('no', 'no'),
  ]
  const positives = answers.filter(({ gold }) => gold === 'yes').length
  const precision = share(truePositive, truePositive + falsePositive)
  const recall = share(truePositive, positives)
  return {
    accuracy: share(truePositive + trueNegative, answers.length),
    precision,
    recall,
    f1: share(2 * precision * recall, precision + recall),
    yesRatio: share(truePositive + falsePositive, answers.length),
    questions: answers.length,
  }
}

/** The first sentence says no when one of its words is No, no or not; everything else is yes, also nothing. */
export function readPopeAnswer(said: string): 'yes' | 'no' {
  const sentence = said.split('.')[0] ?? ''
  const words = sentence.replaceAll(',', '').split(' ')
  return words.some((word) => word === 'No' || word === 'not' || word === 'no') ? 'no' : 'yes'
}

function readStrictly(said: string): 'yes' | 'no' | null {
  const word = /^\W*(yes|no)\b/i.exec(said)?.[1]?.toLowerCase()
  return word === 'yes' || word === 'no' ? word : null
}
