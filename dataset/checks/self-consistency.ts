// self-consistency: whether several answers to the same prompt agree. It needs a run with --samples.
// Example: "a dog", "a cat", "a cow", drawn for one image: does not pass.
import type { Box } from '../../schemas/task-output.ts'
import { intersectionOverUnion } from '../box-overlap.ts'
import { type Check, toScore } from './check.ts'
import { quote, wordsOf } from './said.ts'

/** Mean agreement of the chosen answer with the others. */
const minAgreement = 0.5

/** Of boxes that are one, as in referring expressions. */
const sameIoU = 0.5

export const selfConsistency: Check = {
  name: 'self-consistency',
  summary: 'answers that differ from each other when asked three times or more (--samples)',
  isDefault: false,
  action: 'filter',
  needsSamples: 3,
  judge({ raw, samples }) {
    if (samples === undefined || samples.length === 0 || raw === null) return null
    const agreements = samples.map((other) => agreementOf(raw, other))
    const mean = agreements.reduce((sum, value) => sum + value, 0) / agreements.length
    const score = toScore(mean)
    const odd = samples[agreements.indexOf(Math.min(...agreements))] ?? ''
    return { pass: score >= minAgreement, score, evidence: score === 1 ? '' : `also said ${quote(odd)}` }
  },
}

/** Of two answers, 0 to 1: the words they share, and the boxes that lie on each other; digits of boxes are no words. */
export function agreementOf(left: string, right: string): number {
  const [a, b] = [splitBoxes(left), splitBoxes(right)]
  const parts: number[] = []
  if (a.words.length + b.words.length > 0) parts.push(sharedWords(a.words, b.words))
  if (a.boxes.length + b.boxes.length > 0) parts.push(sharedBoxes(a.boxes, b.boxes))
  return parts.length === 0 ? 1 : parts.reduce((sum, part) => sum + part, 0) / parts.length
}

function splitBoxes(text: string): { words: string[]; boxes: Box[] } {
  const pattern = /\[\[([\d,;\s]*)\]\]/g
  const boxes = [...text.matchAll(pattern)].flatMap(([, inside = '']) =>
    inside.split(';').flatMap((tuple): Box[] => {
      const [x0, y0, x1, y1] = tuple.split(',').map(Number)
      if (x0 === undefined || y0 === undefined || x1 === undefined || y1 === undefined) return []
      return [[x0, y0, x1, y1]]
    }),
  )
  return { words: wordsOf(text.replaceAll(pattern, ' ')), boxes }
}

/** F1 of the words of two texts, each as often as it stands. */
function sharedWords(left: readonly string[], right: readonly string[]): number {
  const counts = new Map<string, number>()
  for (const word of left) counts.set(word, (counts.get(word) ?? 0) + 1)
  let shared = 0
  for (const word of right) {
    const remaining = counts.get(word) ?? 0
    if (remaining === 0) continue
    counts.set(word, remaining - 1)
    shared += 1
  }
  return (2 * shared) / (left.length + right.length)
}

/** F1 of boxes that have a partner. */
function sharedBoxes(left: readonly Box[], right: readonly Box[]): number {
  const partners = (some: readonly Box[], others: readonly Box[]) =>
    some.filter((box) => others.some((other) => intersectionOverUnion(box, other) >= sameIoU)).length
  return (partners(left, right) + partners(right, left)) / (left.length + right.length)
}
