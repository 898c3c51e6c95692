// Boxes from fractions of the upright image to a target's own frame, and back. Pure; it knows no format.
import type { Box } from '../../../schemas/task-output.ts'

export type Size = { width: number; height: number }

/** [x0, y0, x1, y1] in pixels. */
function pixelCorners([x0, y0, x1, y1]: Box, { width, height }: Size): [number, number, number, number] {
  return [hundredths(x0 * width), hundredths(y0 * height), hundredths(x1 * width), hundredths(y1 * height)]
}

/** [x, y, width, height] in pixels, as COCO has it. */
export function pixelRectangle(box: Box, size: Size): [number, number, number, number] {
  const [x0, y0, x1, y1] = pixelCorners(box, size)
  return [x0, y0, hundredths(x1 - x0), hundredths(y1 - y0)]
}

/** The outline of such a rectangle as COCO's polygons have it: loaders of masks take the first one unasked. */
export function outlineOf([x, y, w, h]: readonly [number, number, number, number]): [number[]] {
  const [right, bottom] = [hundredths(x + w), hundredths(y + h)]
  return [[x, y, right, y, right, bottom, x, bottom]]
}

function boxOfCorners([x0 = 0, y0 = 0, x1 = 0, y1 = 0]: readonly number[], { width, height }: Size): Box {
  return [x0 / width, y0 / height, x1 / width, y1 / height]
}

export function boxOfRectangle([x = 0, y = 0, w = 0, h = 0]: readonly number[], size: Size): Box {
  return boxOfCorners([x, y, x + w, y + h], size)
}

/** Files that say pixels need no more than hundredths of one. */
function hundredths(value: number): number {
  return Math.round(value * 100) / 100
}
