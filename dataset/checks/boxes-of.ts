// The boxes of a label, whatever its shape, each with the words it belongs to, and how boxes overlap.
import type { Box, TaskOutput } from '../../schemas/task-output.ts'

export type NamedBoxes = { name: string; boxes: readonly Box[] }

/** Null where the output has no place for boxes. */
export function boxesOf(output: TaskOutput): NamedBoxes[] | null {
  if ('phrases' in output) return output.phrases.map(({ text, boxes }) => ({ name: text, boxes }))
  if ('phrase' in output) return [{ name: output.phrase, boxes: output.boxes }]
  if ('regions' in output) return output.regions.map(({ text, box }) => ({ name: text, boxes: [box] }))
  return null
}

/** Intersection over union, 0 to 1. */
export function overlapOf(left: Box, right: Box): number {
  const width = Math.min(left[2], right[2]) - Math.max(left[0], right[0])
  const height = Math.min(left[3], right[3]) - Math.max(left[1], right[1])
  if (width <= 0 || height <= 0) return 0
  return (width * height) / (areaOf(left) + areaOf(right) - width * height)
}

export function areaOf([x0, y0, x1, y1]: Box): number {
  return Math.max(0, x1 - x0) * Math.max(0, y1 - y0)
}
