// blind-answer: answers that the model gives without seeing the image too. They teach nothing about images.
// Example: "What colour is the banana?" "Yellow.", and "Yellow." again with no image: given away.
import { type Check, toScore } from './check.ts'
import { quote, wordsOf } from './said.ts'

/** Share of a label's answers that must need the image. */
const minNeeding = 0.5

export const blindAnswer: Check = {
  name: 'blind-answer',
  summary:
    'answers to questions that are the same without the image; yes and no left out; costs one prompt more each',
  isDefault: false,
  // One may be right by chance; how many are is what counts.
  action: 'note',
  asksBlind: ['qa', 'count', 'describe-region'],
  judge({ blind }) {
    // Of two answers, a guess without the image is one of them.
    const open = (blind ?? []).filter(({ among }) => !/^(?:yes|no)\b/i.test(among.trim()))
    if (open.length === 0) return null
    const given = open.filter(({ among, by }) => wordsOf(among).join(' ') === wordsOf(by).join(' '))
    const score = toScore(1 - given.length / open.length)
    const evidence = given.map(({ question = '', among }) => `${quote(question, 60)} ${quote(among, 40)}`)
    return {
      pass: score >= minNeeding,
      score,
      evidence: given.length === 0 ? '' : `the same without the image: ${evidence.join('; ')}`,
    }
  },
}
