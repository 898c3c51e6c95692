// One image to label, as ingest found it. It does not know what will be asked of it.
import { z } from 'zod'

export const WorkItem = z.strictObject({
  key: z.string().min(1).max(1024).describe('path below the source, with forward slashes'),
  meta: z.record(z.string(), z.json()).optional().describe("the manifest's own fields for the image"),
})
export type WorkItem = z.infer<typeof WorkItem>
