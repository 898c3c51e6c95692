// batch-invariance: whether an answer is the same when its prompt is asked alone, as among all others of its image.
// Example: "A dog." among seven prompts and "A cat." alone: does not pass, and somebody should look at the engine.
import { type Check, toScore } from './check.ts'
import { quote } from './said.ts'

export const batchInvariance: Check = {
  name: 'batch-invariance',
  summary:
    'answers that differ when asked alone, of a share of the images (batch-invariance=0.01); costs a second prefill',
  isDefault: false,
  // The label may be as good as any; it is the engine that is in doubt.
  action: 'note',
  asksAlone: true,
  judge({ alone }) {
    if (alone === undefined || alone.length === 0) return null
    const differing = alone.filter(({ among, by }) => among !== by)
    const score = toScore(1 - differing.length / alone.length)
    const [first] = differing
    if (first === undefined) return { pass: true, score, evidence: '' }
    return {
      pass: false,
      score,
      evidence: `among others ${quote(first.among, 60)}, alone ${quote(first.by, 60)}`,
    }
  },
}
