// caption-boxes: whether a caption and the boxes of the same image speak of the same things.
// Example: caption "A dog and a cat." beside boxes of a dog and a house: one of three things is shared, does not pass.
import type { GroundedPhrase } from '../../schemas/task-output.ts'
import { type Check, type CheckContext, type Judged, toScore } from './check.ts'
import { proseOf } from './said.ts'

/** Shared things out of all of both. Below, one of the two speaks of another image. */
const minShare = 0.34

export const captionBoxes: Check = {
  name: 'caption-boxes',
  summary: 'a caption that names other things than the boxes of the same image',
  isDefault: true,
  action: 'filter',
  judge(label, context) {
    const text = proseOf(label.output)
    if (text === null) return null
    const phrases = phrasesFor(label, context)
    if (phrases === null) return null
    const named = new Set(context.thingsIn(text).map(({ head }) => head))
    const boxed = new Set(phrases.flatMap((phrase) => context.thingsIn(phrase.text).map(({ head }) => head)))
    if (named.size === 0 || boxed.size === 0) return null
    const shared = [...named].filter((head) => boxed.has(head)).length
    const score = toScore(shared / (named.size + boxed.size - shared))
    const lists = `the text names ${[...named].join(', ')}; boxes are of ${[...boxed].join(', ')}`
    return { pass: score >= minShare, score, evidence: score < 1 ? lists : '' }
  },
}

/** Its own boxes; for a plain caption those of the grounded caption beside it. Boxes that follow from a text do not count. */
function phrasesFor(
  { output, inputs }: Judged,
  { siblings }: CheckContext,
): readonly GroundedPhrase[] | null {
  if (Object.keys(inputs ?? {}).some((name) => siblings.some(({ task }) => task === name))) return null
  if ('phrases' in output) return output.phrases
  const beside = siblings.find((other) => 'phrases' in other.output && other.inputs === undefined)
  return beside !== undefined && 'phrases' in beside.output ? beside.output.phrases : null
}
