// A part: the records of one micro-batch in one create-only object, named by its content.
import { z } from 'zod'
import { RecordId, RecordStatus } from './label-record.ts'

export const partsPrefix = 'parts/'

export const PartKey = z
  .string()
  .regex(/^parts\/[0-9a-f]{2}\/[0-9a-f]{40}\.jsonl\.gz$/)
  .describe('parts/<first 2 hex>/<first 40 hex of the sha256 of the compressed bytes>.jsonl.gz')
export type PartKey = z.infer<typeof PartKey>

/** As much of a record as sealing needs to look at; the rest of the line is copied as it is. */
export const RecordHead = z.object({
  v: z.int().positive(),
  recordId: RecordId,
  task: z.string().min(1),
  ordinal: z.int().nonnegative(),
  status: RecordStatus,
  source: z.object({ key: z.string() }),
})
export type RecordHead = z.infer<typeof RecordHead>
