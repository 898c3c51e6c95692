// A part: the records of one micro-batch in one create-only object, named by its content, in a window of the run.
import { z } from 'zod'
import { RecordId, RecordStatus } from './label-record.ts'

export const partsPrefix = 'parts/'
export const closedWindowsPrefix = 'closed/'

export const PartKey = z
  .string()
  .regex(/^parts\/(w[0-9]{8}|[0-9a-f]{2})\/[0-9a-f]{40}\.jsonl\.gz$/)
  .describe(
    'parts/w<window>/<first 40 hex of the sha256 of the compressed bytes>.jsonl.gz; before windows, the first 2 hex stood in their place',
  )
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
