// A run of ids: a create-only file of sorted recordIds with their ranks, of which a look-up reads a few buckets.
// Layout: table of buckets | Bloom filter | entries. It does not know generations or records.
import { createHash } from 'node:crypto'
import { InvariantError } from '../schemas/errors.ts'
import type { IdRunHead } from '../schemas/checkpoint.ts'
import { sha256Hex } from './canonical-json.ts'
import { mapInParallel } from './in-parallel.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** An id's 16 bytes and its rank. */
export const entryBytes = 17
const idBytes = 16

/** Ids of a bucket in the mean; 256 make 4 KB, what a look-up reads. */
const entriesPerBucket = 256
/** The bucket's end, as a number of entries, and the first half of its digest. */
const tableRowBytes = 20
/** 16 bits an id and 8 probes: one look-up in 1,700 for an id that is not there reads a bucket in vain. */
const filterBytesPerEntry = 2
const filterProbes = 8

/** Buckets nearer than this are read at once, up to so many bytes. */
const gapBytes = 16 * 1024
const maxReadBytes = 1024 * 1024
const readsAtOnce = 16

export type IdRun = {
  head: IdRunHead
  /** The ranks of those ids (32 hex digits) that are here; null when the file is missing or damaged. */
  ranksOf(ids: readonly string[]): Promise<Map<string, number> | null>
  /** All entries in order; null when the file is missing or damaged. */
  readEntries(): Promise<Buffer | null>
}

/** Opens a run; nothing is read until it is asked. Table and filter are read once and kept. */
export function openIdRun(store: ObjectStore, head: IdRunHead): IdRun {
  const { key, tableBytes, filterBytes } = head
  const index = openIndex(store, head)
  return {
    head,
    async ranksOf(ids) {
      // For a few ids in a large run the filter costs more than the buckets it spares.
      const isFiltered = filterBytes <= ids.length * entriesPerBucket * entryBytes
      const read = await index.read(isFiltered)
      if (read === null) return null
      const { table, filter } = read
      const all = ids.map((id) => ({ id, bytes: decodeId(id) }))
      const wanted = filter === null ? all : all.filter(({ bytes }) => mayHold(filter, bytes))
      return await searchBuckets(store, { head, table, wanted })
    },
    async readEntries() {
      const file = await store.get(key)
      if (file === null || sha256Hex(file) !== head.sha256) return null
      return asBuffer(file).subarray(tableBytes + filterBytes)
    },
  }
}

type Index = { table: Buffer; filter: Buffer | null }

/** Table and filter of a run: read in one request, once. What was damaged is read again the next time. */
function openIndex(
  store: ObjectStore,
  head: IdRunHead,
): { read(isFiltered: boolean): Promise<Index | null> } {
  const { key, tableBytes, tableSha256, filterBytes, filterSha256 } = head
  let kept: Index | null = null
  return {
    async read(isFiltered) {
      if (kept !== null && (kept.filter !== null || !isFiltered)) return kept
      const end = tableBytes + (isFiltered ? filterBytes : 0)
      const bytes = await store.getRange(key, { start: 0, end })
      if (bytes?.length !== end) return null
      const table = asBuffer(bytes).subarray(0, tableBytes)
      const filter = isFiltered ? asBuffer(bytes).subarray(tableBytes) : null
      if (sha256Hex(table) !== tableSha256) return null
      if (filter !== null && sha256Hex(filter) !== filterSha256) return null
      kept = { table, filter }
      return kept
    },
  }
}

type Wanted = { id: string; bytes: Buffer }
type Search = { head: IdRunHead; table: Buffer; wanted: readonly Wanted[] }
type Bucket = { start: number; end: number; sha128: Buffer; wanted: Wanted[] }

async function searchBuckets(
  store: ObjectStore,
  { head, table, wanted }: Search,
): Promise<Map<string, number> | null> {
  const entriesAt = head.tableBytes + head.filterBytes
  const ranks = new Map<string, number>()
  const isWhole = await mapInParallel(
    joinNear(listBuckets({ head, table, wanted })),
    { max: readsAtOnce },
    async (buckets) => {
      const start = buckets[0]?.start ?? 0
      const end = buckets.at(-1)?.end ?? 0
      const bytes = await store.getRange(head.key, { start: entriesAt + start, end: entriesAt + end })
      if (bytes?.length !== end - start) return false
      for (const bucket of buckets) {
        const entries = asBuffer(bytes).subarray(bucket.start - start, bucket.end - start)
        if (!bucket.sha128.equals(sha128(entries))) return false
        for (const { id, bytes: sought } of bucket.wanted) {
          const rank = rankIn(entries, sought)
          if (rank !== null) ranks.set(id, rank)
        }
      }
      return true
    },
  )
  return isWhole.every(Boolean) ? ranks : null
}

/** The buckets that the ids would be in, in order, as byte ranges of the entries. */
function listBuckets({ head, table, wanted }: Search): Bucket[] {
  const byBucket = Map.groupBy(wanted, ({ bytes }) => bucketOf(bytes, 0, head.bucketBits))
  return [...byBucket.keys()]
    .toSorted((left, right) => left - right)
    .map((bucket) => {
      const row = bucket * tableRowBytes
      return {
        start: bucket === 0 ? 0 : table.readUInt32BE(row - tableRowBytes) * entryBytes,
        end: table.readUInt32BE(row) * entryBytes,
        sha128: table.subarray(row + 4, row + tableRowBytes),
        wanted: byBucket.get(bucket) ?? [],
      }
    })
}

function joinNear(buckets: readonly Bucket[]): Bucket[][] {
  const reads: Bucket[][] = []
  for (const bucket of buckets) {
    const read = reads.at(-1)
    const [first, last] = [read?.[0], read?.at(-1)]
    const isNear =
      first !== undefined &&
      last !== undefined &&
      bucket.start - last.end <= gapBytes &&
      bucket.end - first.start <= maxReadBytes
    if (isNear) read?.push(bucket)
    else reads.push([bucket])
  }
  return reads
}

function rankIn(entries: Buffer, id: Buffer): number | null {
  let [low, high] = [0, entries.length / entryBytes]
  while (low < high) {
    const middle = (low + high) >>> 1
    const at = middle * entryBytes
    const order = entries.compare(id, 0, idBytes, at, at + idBytes)
    if (order === 0) return entries[at + idBytes] ?? null
    if (order < 0) low = middle + 1
    else high = middle
  }
  return null
}

/** Sorts entries by id; of entries with one id the last stands. */
export function sortEntries(entries: Buffer): Buffer {
  const count = entries.length / entryBytes
  const order = orderByPrefix(entries, count)
  const sorted = Buffer.allocUnsafe(entries.length)
  let end = 0
  for (let n = 0; n < count; n += 1) {
    const at = (order[n] ?? 0) * entryBytes
    const isRepeat = end > 0 && entries.compare(sorted, end - entryBytes, end - 1, at, at + idBytes) === 0
    if (isRepeat) end -= entryBytes
    end += entries.copy(sorted, end, at, at + entryBytes)
  }
  return sorted.subarray(0, end)
}

/** The ids are hashes: counting them by their first two bytes leaves short stretches to compare. */
function orderByPrefix(entries: Buffer, count: number): Uint32Array {
  const ends = new Uint32Array(65_537)
  for (let n = 0; n < count; n += 1) {
    const next = entries.readUInt16BE(n * entryBytes) + 1
    ends[next] = (ends[next] ?? 0) + 1
  }
  for (let prefix = 1; prefix < ends.length; prefix += 1)
    ends[prefix] = (ends[prefix] ?? 0) + (ends[prefix - 1] ?? 0)
  const order = new Uint32Array(count)
  const free = ends.slice()
  for (let n = 0; n < count; n += 1) {
    const prefix = entries.readUInt16BE(n * entryBytes)
    const place = free[prefix] ?? 0
    order[place] = n
    free[prefix] = place + 1
  }
  const compare = (left: number, right: number) =>
    entries.compare(
      entries,
      right * entryBytes,
      right * entryBytes + idBytes,
      left * entryBytes,
      left * entryBytes + idBytes,
    ) || left - right
  for (let prefix = 0; prefix < 65_536; prefix += 1) {
    const [start, end] = [ends[prefix] ?? 0, ends[prefix + 1] ?? 0]
    if (end - start > 1) order.subarray(start, end).sort(compare)
  }
  return order
}

/** Packs sorted entries with their table and filter; the key is left to the caller. */
export function packIdRun(
  entries: Buffer,
  level: number,
): { head: Omit<IdRunHead, 'key'>; bytes: Uint8Array } {
  const count = entries.length / entryBytes
  const bucketBits = Math.min(24, Math.max(0, Math.round(Math.log2(Math.max(1, count) / entriesPerBucket))))
  const table = buildTable(entries, bucketBits)
  const filter = buildFilter(entries, count)
  const bytes = new Uint8Array(Buffer.concat([table, filter, entries]))
  const head = {
    sha256: sha256Hex(bytes),
    level,
    entries: count,
    bucketBits,
    tableBytes: table.length,
    tableSha256: sha256Hex(table),
    filterBytes: filter.length,
    filterSha256: sha256Hex(filter),
  }
  return { head, bytes }
}

function buildTable(entries: Buffer, bucketBits: number): Buffer {
  const table = Buffer.alloc(2 ** bucketBits * tableRowBytes)
  let end = 0
  for (let bucket = 0; bucket < 2 ** bucketBits; bucket += 1) {
    const start = end
    while (end < entries.length && bucketOf(entries, end, bucketBits) === bucket) end += entryBytes
    table.writeUInt32BE(end / entryBytes, bucket * tableRowBytes)
    sha128(entries.subarray(start, end)).copy(table, bucket * tableRowBytes + 4)
  }
  if (end !== entries.length)
    throw new InvariantError(`the ids of a run are not sorted at entry ${end / entryBytes}`)
  return table
}

function buildFilter(entries: Buffer, count: number): Buffer {
  const filter = Buffer.alloc(Math.max(8, count * filterBytesPerEntry))
  for (let at = 0; at < entries.length; at += entryBytes) {
    const [first, step] = hashesOf(entries, at)
    for (let probe = 0; probe < filterProbes; probe += 1) {
      const bit = (first + probe * step) % (filter.length * 8)
      filter[bit >>> 3] = (filter[bit >>> 3] ?? 0) | (1 << (bit & 7))
    }
  }
  return filter
}

function mayHold(filter: Buffer, id: Buffer): boolean {
  const [first, step] = hashesOf(id, 0)
  for (let probe = 0; probe < filterProbes; probe += 1) {
    const bit = (first + probe * step) % (filter.length * 8)
    if (((filter[bit >>> 3] ?? 0) & (1 << (bit & 7))) === 0) return false
  }
  return true
}

/** Two numbers of 32 bits from an id, which is a hash itself. */
function hashesOf(bytes: Buffer, at: number): readonly [number, number] {
  return [bytes.readUInt32LE(at + 4), (bytes.readUInt32LE(at + 8) | 1) >>> 0]
}

function bucketOf(bytes: Buffer, at: number, bucketBits: number): number {
  return bucketBits === 0 ? 0 : bytes.readUInt32BE(at) >>> (32 - bucketBits)
}

function sha128(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest().subarray(0, idBytes)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function decodeId(id: string): Buffer {
  return Buffer.from(id, 'hex')
}
