// One image to label, as ingest found it. It does not know what will be asked of it.
import { z } from 'zod'

export const WorkItem = z.strictObject({
  key: z.string().min(1).max(1024).describe('path below the source, with forward slashes'),
  questions: z
    .array(z.string().min(1).max(8000))
    .min(1)
    .max(64)
    .optional()
    .describe('what the manifest asks about this image, in place of what the command asks about all'),
  phrases: z
    .array(z.string().min(1).max(8000))
    .min(1)
    .max(64)
    .optional()
    .describe('what the manifest wants found in this image, in place of what the command wants found in all'),
  meta: z.record(z.string(), z.json()).optional().describe("the manifest's own fields for the image"),
})
export type WorkItem = z.infer<typeof WorkItem>
