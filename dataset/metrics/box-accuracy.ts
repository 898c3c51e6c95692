// How well boxes are placed: one-to-one matching by overlap. It does not know names or questions.
import type { Box } from '../../schemas/task-output.ts'
import { intersectionOverUnion } from '../box-overlap.ts'

/** A box counts as found from this overlap on, as in the referring-expression literature (Acc@0.5). */
export const matchingIoU = 0.5

/**
 * Matches said boxes to true ones, each at most once, the pair of the highest overlap first. Returns for each true
 * box the overlap of its partner, 0 where it has none.
 */
export function matchBoxes(said: readonly Box[], truth: readonly Box[]): number[] {
  const pairs = truth
    .flatMap((box, at) =>
      said.map((other, saidAt) => ({ at, saidAt, iou: intersectionOverUnion(box, other) })),
    )
    .filter(({ iou }) => iou > 0)
    .toSorted((a, b) => b.iou - a.iou)
  const overlaps = truth.map(() => 0)
  const [takenTruth, takenSaid] = [new Set<number>(), new Set<number>()]
  for (const { at, saidAt, iou } of pairs) {
    if (takenTruth.has(at) || takenSaid.has(saidAt)) continue
    takenTruth.add(at)
    takenSaid.add(saidAt)
    overlaps[at] = iou
  }
  return overlaps
}

/** How many true boxes have a partner of at least `matchingIoU`. */
export function countFoundBoxes(said: readonly Box[], truth: readonly Box[]): number {
  return matchBoxes(said, truth).filter((iou) => iou >= matchingIoU).length
}
