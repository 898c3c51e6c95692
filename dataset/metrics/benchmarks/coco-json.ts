// The parts of COCO's JSON that benchmarks share: images, boxes in pixels, captions. It does not know scores.
import { z } from 'zod'
import type { Box } from '../../../schemas/task-output.ts'

export const CocoImage = z.looseObject({
  id: z.int(),
  file_name: z.string(),
  width: z.number().positive().optional(),
  height: z.number().positive().optional(),
  domain: z.string().optional(),
})
export type CocoImage = z.infer<typeof CocoImage>

export const CocoInstances = z.looseObject({
  images: z.array(CocoImage).min(1),
  annotations: z.array(
    z.looseObject({
      id: z.int(),
      image_id: z.int(),
      category_id: z.int(),
      bbox: z.tuple([z.number(), z.number(), z.number(), z.number()]),
      iscrowd: z.union([z.int(), z.boolean()]).optional(),
    }),
  ),
  categories: z.array(z.looseObject({ id: z.int(), name: z.string() })),
})

export const CocoCaptions = z.looseObject({
  images: z.array(CocoImage).min(1),
  annotations: z.array(z.looseObject({ image_id: z.int(), caption: z.string() })),
})

/** COCO's x, y, width, height in pixels as fractions; null where the image's size is not known. */
export function boxOf(
  [x, y, width, height]: readonly [number, number, number, number],
  size: Pick<CocoImage, 'width' | 'height'>,
): Box | null {
  if (size.width === undefined || size.height === undefined) return null
  const clamp = (value: number) => Math.min(1, Math.max(0, value))
  return [
    clamp(x / size.width),
    clamp(y / size.height),
    clamp((x + width) / size.width),
    clamp((y + height) / size.height),
  ]
}
