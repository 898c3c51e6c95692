// What must hold of a run's sealed records, in a storm and after it, as sentences about what does not.
// It does not know what went wrong.
import { createHash } from 'node:crypto'
import { readRecords } from '../../dataset/read.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'

export async function readSealed(store: ObjectStore): Promise<LabelRecord[]> {
  const records: LabelRecord[] = []
  for await (const record of readRecords(store)) records.push(record)
  return records
}

/** What is wrong at any time: an id twice, or one that was sealed before and is gone. */
export function findLosses(records: readonly LabelRecord[], before: ReadonlySet<string>): string[] {
  const ids = new Set(records.map(({ recordId }) => recordId))
  const gone = [...before].filter((id) => !ids.has(id))
  return [
    ...(ids.size === records.length ? [] : [`${records.length - ids.size} sealed ids stand twice`]),
    ...(gone.length === 0 ? [] : [`${gone.length} sealed records are gone, for example ${gone[0]}`]),
  ]
}

type Expected = {
  images: ReadonlyMap<string, Buffer>
  corrupt: ReadonlySet<string>
  /** What each image is asked. */
  tasks: readonly string[]
}

/** What is wrong when all is done: 0 missing, 0 doubled, every failure named, each record about its own image. */
export function judge(records: readonly LabelRecord[], { images, corrupt, tasks }: Expected): string[] {
  const violations = findLosses(records, new Set())
  const byKey = Map.groupBy(records, ({ source }) => source.key)
  for (const [key, bytes] of images) {
    const found = byKey.get(key) ?? []
    const told = found.map(({ task }) => task).toSorted()
    if (told.join() !== tasks.toSorted().join())
      violations.push(`${key} has ${found.length} records: ${told.join() || 'none'}`)
    for (const record of found) {
      const problem = problemOf(record, { bytes, isCorrupt: corrupt.has(key) })
      if (problem !== null) violations.push(`${key}: ${problem}`)
    }
  }
  for (const key of byKey.keys()) if (!images.has(key)) violations.push(`${key} was never uploaded`)
  return violations
}

function problemOf(
  { status, source, error, output }: LabelRecord,
  { bytes, isCorrupt }: { bytes: Buffer; isCorrupt: boolean },
): string | null {
  if (source.sha256 !== createHash('sha256').update(bytes).digest('hex'))
    return `its record is about other bytes, ${source.sha256}`
  if (!isCorrupt) return status === 'ok' && output !== null ? null : `it is ${status}: ${error?.message}`
  if (status !== 'failed' || error === null) return `it cannot be decoded, but is ${status}`
  return error.code.startsWith('image-') && error.message.length > 10
    ? null
    : `its failure is not named: ${error.code} ${error.message}`
}
