// What COCO's files and their kin share: images with a size, boxes in pixels with an outline, numbered categories. It
// does not know which of them is written.
import { z } from 'zod'
import type { Box } from '../../../schemas/task-output.ts'
import type { WriterContext } from './format.ts'
import type { SectionFile } from './section-format.ts'

export const Picture = z.object({ id: z.int(), file_name: z.string(), width: z.int(), height: z.int() })

type Size = { width: number; height: number }

/** The fields of an annotation that say where a box is. */
export function placeOf(box: Box, size: Size) {
  const bbox = pixelRectangle(box, size)
  return { bbox, area: hundredths(bbox[2] * bbox[3]), iscrowd: 0, segmentation: outlineOf(bbox) }
}

/** Adds the categories by their numbers and closes the file. */
export async function closeInstances(
  file: SectionFile,
  { categories, context }: { categories: ReadonlyMap<string, number>; context: WriterContext },
): Promise<void> {
  for (const [name, id] of categories) await file.add('categories', { id, name, supercategory: '' })
  await file.close(headOf(context))
}

/** What stands before the sections of a file. */
export function headOf({ modelName, createdAt }: WriterContext) {
  const info = { description: `labels by ${modelName}`, version: '1', date_created: createdAt }
  return { info, licenses: [] }
}

export function boxOfRectangle(
  [x = 0, y = 0, w = 0, h = 0]: readonly number[],
  { width, height }: Size,
): Box {
  return [x / width, y / height, (x + w) / width, (y + h) / height]
}

type Rectangle = [x: number, y: number, width: number, height: number]

function pixelRectangle([x0, y0, x1, y1]: Box, { width, height }: Size): Rectangle {
  const [left, top] = [hundredths(x0 * width), hundredths(y0 * height)]
  const [right, bottom] = [hundredths(x1 * width), hundredths(y1 * height)]
  return [left, top, hundredths(right - left), hundredths(bottom - top)]
}

/** As COCO's polygons have it: loaders of masks take the first one unasked. */
function outlineOf([x, y, w, h]: Rectangle): [number[]] {
  const [right, bottom] = [hundredths(x + w), hundredths(y + h)]
  return [[x, y, right, y, right, bottom, x, bottom]]
}

/** Files that say pixels need no more than hundredths of one. */
function hundredths(value: number): number {
  return Math.round(value * 100) / 100
}
