// What a worker writes into a run before it labels the first image of some bytes: whose they are. Another image of the
// same bytes is its duplicate. Written once, named by the sha256 of the bytes, never changed.
import { z } from 'zod'
import { BucketName, ObjectKey } from './work-message.ts'

export const seenImageVersion = 1
export const seenImagesPrefix = 'seen/'

export const SeenImage = z.strictObject({
  v: z.literal(seenImageVersion),
  bucket: BucketName,
  key: ObjectKey.describe('of the image that is labelled for all that have these bytes'),
})
export type SeenImage = z.infer<typeof SeenImage>
