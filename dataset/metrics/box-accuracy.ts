// How well boxes are placed: intersection over union, and one-to-one matching. It does not know names or questions.
import type { Box } from '../../schemas/task-output.ts'

/** A box counts as found from this overlap on, as in the referring-expression literature (Acc@0.5). */
export const matchingIoU = 0.5

/** Intersection over union of two boxes, 0 to 1; boxes without area have none. */
export function intersectionOverUnion(left: Box, right: Box): number {
  const width = Math.min(left[2], right[2]) - Math.max(left[0], right[0])
  const height = Math.min(left[3], right[3]) - Math.max(left[1], right[1])
  if (width <= 0 || height <= 0) return 0
  const shared = width * height
  return shared / (areaOf(left) + areaOf(right) - shared)
}

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

function areaOf([x0, y0, x1, y1]: Box): number {
  return (x1 - x0) * (y1 - y0)
}
