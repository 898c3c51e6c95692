// region-cycle: the boxes of a caption against what the model says when it is asked for each phrase on its own.
// Example: "a dog" boxed at the left, and found at the right when asked: overlap 0, does not pass.
import type { Box, GroundedPhrase } from '../../schemas/task-output.ts'
import { overlapOf } from './boxes-of.ts'
import type { Check, CheckContext, Judged } from './check.ts'
import { quote } from './said.ts'

/** Our thresholds, from the 0.5 of referring expressions; in between a person should look. */
const acceptIoU = 0.5
const reviewIoU = 0.3

export const regionCycle: Check = {
  name: 'region-cycle',
  summary: `boxes that the model does not find again when asked for each (IoU below ${reviewIoU}); costs one prompt a phrase`,
  isDefault: false,
  action: 'filter',
  needs: { task: 'ground', after: 'grounded-caption' },
  judge(label, context) {
    const { output } = label
    if (!('phrases' in output) || output.phrases.length === 0) return null
    const again = askedAgain(label, context)
    if (again === null) return null
    const found = output.phrases.map((phrase) => ({ phrase, overlap: worstOverlap(phrase, again) }))
    const score = Math.round(Math.min(...found.map(({ overlap }) => overlap)) * 1000) / 1000
    const doubtful = found.filter(({ overlap }) => overlap < acceptIoU)
    const evidence = doubtful.map(({ phrase, overlap }) => {
      const verdict = overlap < reviewIoU ? 'not found again' : 'review'
      return `${quote(phrase.text, 40)} ${verdict} (IoU ${overlap.toFixed(2)})`
    })
    return { pass: score >= reviewIoU, score, evidence: evidence.join('; ') }
  },
}

/** The phrases of the label beside it that was asked after this one. */
function askedAgain({ task }: Judged, { siblings }: CheckContext): readonly GroundedPhrase[] | null {
  const after = siblings.find(({ inputs, output }) => inputs?.[task] !== undefined && 'phrases' in output)
  return after !== undefined && 'phrases' in after.output ? after.output.phrases : null
}

/** A phrase is as good as the worst of its boxes; words that stand twice were asked for once, for all their boxes. */
function worstOverlap({ text, boxes }: GroundedPhrase, again: readonly GroundedPhrase[]): number {
  const found = again
    .filter((other) => spelling(other.text) === spelling(text))
    .flatMap((other) => other.boxes)
  const best = (box: Box) => Math.max(0, ...found.map((other) => overlapOf(box, other)))
  return Math.min(...boxes.map(best))
}

function spelling(text: string): string {
  return text.toLowerCase().replaceAll(/\s+/g, ' ').trim()
}
