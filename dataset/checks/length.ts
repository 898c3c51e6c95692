// length: a caption of hardly any words, of far too many, or one that was cut off at the task's limit.
// Example: "dog" does not pass.
import type { Check } from './check.ts'
import { proseOf, wordsOf } from './said.ts'

const minWords = 2
/** The longest captions that people are known to train on have about 300 words (image paragraphs of dense captioners). */
const maxWords = 400

export const length: Check = {
  name: 'length',
  summary: `captions of fewer than ${minWords} or more than ${maxWords} words, and those cut off at the answer limit`,
  isDefault: true,
  action: 'filter',
  judge({ output, finishReason }) {
    const text = proseOf(output)
    if (text === null) return null
    const score = wordsOf(text).length
    // Half a sentence at the end teaches a model to stop in the middle.
    if (finishReason === 'length')
      return { pass: false, score, evidence: 'the answer hit its limit and was cut off' }
    if (score < minWords) return { pass: false, score, evidence: `fewer than ${minWords} words` }
    if (score > maxWords) return { pass: false, score, evidence: `more than ${maxWords} words` }
    return { pass: true, score, evidence: '' }
  },
}
