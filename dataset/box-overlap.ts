// How far two boxes are one. It does not know what is in them.
import type { Box } from '../schemas/task-output.ts'

/** Intersection over union, 0 to 1; boxes without area have none. */
export function intersectionOverUnion(left: Box, right: Box): number {
  const width = Math.min(left[2], right[2]) - Math.max(left[0], right[0])
  const height = Math.min(left[3], right[3]) - Math.max(left[1], right[1])
  if (width <= 0 || height <= 0) return 0
  const shared = width * height
  return shared / (areaOf(left) + areaOf(right) - shared)
}

/** A share of the image; 0 where the corners are swapped. */
export function areaOf([x0, y0, x1, y1]: Box): number {
  return Math.max(0, x1 - x0) * Math.max(0, y1 - y0)
}
