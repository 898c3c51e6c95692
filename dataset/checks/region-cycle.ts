// region-cycle: the boxes of a caption against what the model says when it is asked for each phrase on its own.
// Example: "a dog" boxed at the left, and found at the right when asked: overlap 0, does not pass.
import type { Box, GroundedPhrase } from '../../schemas/task-output.ts'
import { intersectionOverUnion } from '../box-overlap.ts'
import { type Check, type CheckContext, type Judged, toScore } from './check.ts'
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
    const found = [...Map.groupBy(output.phrases, ({ text }) => spelling(text)).values()].flatMap(
      (phrases) => {
        const [first] = phrases
        const boxes = phrases.flatMap((phrase) => phrase.boxes)
        return first === undefined
          ? []
          : [{ text: first.text, overlap: overlapAgain(boxes, first.text, again) }]
      },
    )
    const score = toScore(Math.min(...found.map(({ overlap }) => overlap)))
    const doubtful = found.filter(({ overlap }) => overlap < acceptIoU)
    const evidence = doubtful.map(({ text, overlap }) => {
      const verdict = overlap < reviewIoU ? 'not found again' : 'review'
      return `${quote(text, 40)} ${verdict} (IoU ${overlap.toFixed(2)})`
    })
    return { pass: score >= reviewIoU, score, evidence: evidence.join('; ') }
  },
}

/** The phrases of the label beside it that was asked after this one. */
function askedAgain({ task }: Judged, { siblings }: CheckContext): readonly GroundedPhrase[] | null {
  const after = siblings.find(({ inputs, output }) => inputs?.[task] !== undefined && 'phrases' in output)
  return after !== undefined && 'phrases' in after.output ? after.output.phrases : null
}

/**
 * Words are asked for once, however often they stand, and models tend to answer with one box where there are several. So
 * as many boxes are compared as both have, each with its own, and the worst of these pairs counts.
 */
function overlapAgain(boxes: readonly Box[], text: string, again: readonly GroundedPhrase[]): number {
  const found = again
    .filter((other) => spelling(other.text) === spelling(text))
    .flatMap((other) => other.boxes)
  const pairs = boxes
    .flatMap((box, at) => found.map((other, to) => ({ at, to, overlap: intersectionOverUnion(box, other) })))
    .toSorted((a, b) => b.overlap - a.overlap)
  const [taken, given] = [new Set<number>(), new Set<number>()]
  let worst = found.length === 0 ? 0 : 1
  for (const { at, to, overlap } of pairs) {
    if (taken.has(at) || given.has(to)) continue
    taken.add(at)
    given.add(to)
    worst = Math.min(worst, overlap)
  }
  return worst
}

function spelling(text: string): string {
  return text.toLowerCase().replaceAll(/\s+/g, ' ').trim()
}
