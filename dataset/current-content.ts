// Which of an image's contents counts, where it was replaced and the run has records of several: what is there now, or
// else the newest that was labelled. It does not know what the records say.
import { createReadStream } from 'node:fs'
import { createHash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { LabelRecord } from '../schemas/label-record.ts'
import { readRecords } from './read.ts'
import { compareKeys, type ObjectStore } from './stores/object-store.ts'

/** The sha256 of what is at a URI now; null where it cannot be read. */
export type ContentOf = (uri: string) => Promise<string | null>

type Facts = { source: Pick<LabelRecord['source'], 'uri' | 'sha256'>; createdAt: string }

/** The sha256 that counts among the records of one image; null where its bytes were never read. Reads the image only where records are of several contents. */
export async function currentSha256(
  records: readonly Facts[],
  contentOf: ContentOf = localContent,
): Promise<string | null> {
  const read = records.filter(({ source }) => source.sha256 !== null)
  const [newest] = read.toSorted((left, right) => compareKeys(right.createdAt, left.createdAt))
  if (newest === undefined) return null
  const contents = new Set(read.map(({ source }) => source.sha256))
  const now = contents.size > 1 ? await contentOf(newest.source.uri) : null
  return now !== null && contents.has(now) ? now : newest.source.sha256
}

/** All records of the content that counts, by key. */
export async function readByKey(store: ObjectStore): Promise<Map<string, LabelRecord[]>> {
  const byKey = new Map<string, LabelRecord[]>()
  for await (const record of readRecords(store)) {
    const own = byKey.get(record.source.key)
    if (own === undefined) byKey.set(record.source.key, [record])
    else own.push(record)
  }
  for (const [key, records] of byKey) {
    const sha256 = await currentSha256(records)
    byKey.set(
      key,
      records.filter(({ source }) => source.sha256 === sha256),
    )
  }
  return byKey
}

/** Of a file of this machine. */
export async function localContent(uri: string): Promise<string | null> {
  if (!uri.startsWith('file:')) return null
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(fileURLToPath(uri)), hash)
  } catch {
    // Moved or deleted meanwhile: then the newest label is what is known of it.
    return null
  }
  return hash.digest('hex')
}
