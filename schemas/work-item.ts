// One image to label, as ingest found it. It does not know what will be asked of it.
import { z } from 'zod'

/** Reading deeper lists would take as much stack as whoever wrote them pleases. */
const maxMetaDepth = 64

const Meta = z.record(z.string(), z.json())
export type Meta = z.infer<typeof Meta>

/** Looks at the depth before anything looks at the values. */
export const ItemMeta = z
  .preprocess((value, context) => {
    if (isWithinDepth(value, maxMetaDepth)) return value
    context.addIssue({ code: 'custom', message: `it is nested more than ${maxMetaDepth} deep` })
    return z.NEVER
  }, Meta)
  .describe("the manifest's own fields for the image")

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
  meta: ItemMeta.optional(),
})
export type WorkItem = z.infer<typeof WorkItem>

/** What a line of a manifest or list has for its image alone. */
export type OwnFields = Pick<WorkItem, 'questions' | 'phrases' | 'meta'>

/** Whether any image of a source has questions or phrases of its own. */
export type Brings = { questions: boolean; phrases: boolean }

function isWithinDepth(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return depth > 0 && Object.values(value).every((inner) => isWithinDepth(inner, depth - 1))
}
