// Ids of a run's records that are made again: failures that are tried once more, and images that were left out as
// duplicates of what is gone. It does not know who makes them.
import { z } from 'zod'
import { type FailureCode, Failure } from '../schemas/failure.ts'
import { RecordHead } from '../schemas/part.ts'
import { IdIndex } from './id-index.ts'
import { readRecordLines } from './read.ts'
import type { ObjectStore } from './stores/object-store.ts'

const FailedHead = RecordHead.extend({ error: z.object({ code: Failure.shape.code }) })
const DuplicateHead = RecordHead.extend({ duplicateOf: z.string() })

/** Those of failures with one of the codes. Reads all sealed records. */
export async function loadFailedIds(
  store: ObjectStore,
  codes: ReadonlySet<FailureCode> | 'all',
): Promise<IdIndex> {
  return await loadIds(store, {
    // Most lines are no failures, and parsing is what takes the time.
    mark: '"status":"failed"',
    schema: FailedHead,
    isWanted: ({ status, error }) => status === 'failed' && (codes === 'all' || codes.has(error.code)),
  })
}

/** Those of images that were left out as duplicates and repeat nothing any more. Reads all sealed records. */
export async function loadFormerDuplicates(
  store: ObjectStore,
  isDuplicate: (key: string) => boolean,
): Promise<IdIndex> {
  return await loadIds(store, {
    mark: '"duplicateOf"',
    schema: DuplicateHead,
    isWanted: ({ status, source }) => status === 'filtered' && !isDuplicate(source.key),
  })
}

type Wanted<Head extends RecordHead> = {
  /** In every line that may be wanted. */
  mark: string
  schema: z.ZodType<Head>
  isWanted: (head: Head) => boolean
}

async function loadIds<Head extends RecordHead>(
  store: ObjectStore,
  { mark, schema, isWanted }: Wanted<Head>,
): Promise<IdIndex> {
  const ids = new IdIndex()
  for await (const line of readRecordLines(store)) {
    if (!line.includes(mark)) continue
    const head = schema.safeParse(JSON.parse(line))
    if (head.success && isWanted(head.data)) ids.set(head.data.recordId, 0)
  }
  return ids
}
