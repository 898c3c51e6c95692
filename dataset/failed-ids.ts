// Ids of a run's failed records, for whoever tries them again. It does not know why they failed.
import { z } from 'zod'
import { type FailureCode, Failure } from '../schemas/failure.ts'
import { RecordHead } from '../schemas/part.ts'
import { IdIndex } from './id-index.ts'
import { readRecordLines } from './read.ts'
import type { ObjectStore } from './stores/object-store.ts'

const FailedHead = RecordHead.extend({ error: z.object({ code: Failure.shape.code }) })

/** Those with one of the codes. Reads all sealed records. */
export async function loadFailedIds(
  store: ObjectStore,
  codes: ReadonlySet<FailureCode> | 'all',
): Promise<IdIndex> {
  const failed = new IdIndex()
  for await (const line of readRecordLines(store)) {
    // Most lines are no failures, and parsing is what takes the time.
    if (!line.includes('"status":"failed"')) continue
    const head = FailedHead.safeParse(JSON.parse(line))
    if (!head.success || head.data.status !== 'failed') continue
    if (codes === 'all' || codes.has(head.data.error.code)) failed.set(head.data.recordId, 0)
  }
  return failed
}
