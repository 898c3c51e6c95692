// The run's newest records sorted by key, source, task and ordinal: sorted files that are merged, so memory stays flat.
// It does not know what the rows are for.
import { createReadStream } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'
import { z } from 'zod'
import type { LabelRecord } from '../schemas/label-record.ts'
import { RecordHead } from '../schemas/part.ts'
import { type ContentOf, currentSha256 } from './current-content.ts'
import { readRecordLines } from './read.ts'
import { compareKeys, type ObjectStore } from './stores/object-store.ts'

/** Text that is sorted in memory at once; more goes through sorted files that are then merged. */
export const defaultMaxSortedBytes = 16 * 1024 * 1024

/** Of one sorted file while it is merged. */
const mergeBlockBytes = 64 * 1024

const SortedHead = RecordHead.extend({
  source: z.object({
    key: z.string(),
    uri: z.string(),
    sha256: z.string().nullable(),
    unread: z.boolean().optional(),
  }),
  createdAt: z.string(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  // Only what did not pass: rows are many, and most of their checks did.
  checks: z
    .array(z.object({ name: z.string(), pass: z.boolean(), evidence: z.string() }))
    .transform((checks) => checks.filter(({ pass }) => !pass)),
})
export type SortedRow = { head: z.infer<typeof SortedHead>; line: string }

type Sorting = {
  /** Names of sorted files begin so; they are gone when the generator ends. */
  prefix: string
  maxSortedBytes?: number
  /** Of an image that the run has several contents of. */
  contentOf?: ContentOf
}

/**
 * The rows of the run in order of key, source, task and ordinal: of each image those of the content that counts, of one
 * task and ordinal the newest that was read.
 */
export async function* sortedRows(
  store: ObjectStore,
  { prefix, maxSortedBytes = defaultMaxSortedBytes, contentOf }: Sorting,
): AsyncGenerator<SortedRow> {
  const sortedFiles: string[] = []
  try {
    const inMemory = await sortIntoFiles(store, { sortedFiles, prefix, maxSortedBytes })
    const sorted = mergeSorted([...sortedFiles.map(readSortedFile), fromArray(inMemory)])
    for await (const image of imagesOf(sorted)) yield* await currentRows(image, contentOf)
  } finally {
    for (const file of sortedFiles) await rm(file, { force: true })
  }
}

/** Sorts the run's lines; whole sorted batches go to files, the last batch is returned. */
async function sortIntoFiles(
  store: ObjectStore,
  { sortedFiles, prefix, maxSortedBytes }: { sortedFiles: string[]; prefix: string; maxSortedBytes: number },
): Promise<SortedRow[]> {
  let rows: SortedRow[] = []
  let bytes = 0
  for await (const line of readRecordLines(store)) {
    rows.push(parseRow(line))
    bytes += line.length
    if (bytes < maxSortedBytes) continue
    const file = `${prefix}${sortedFiles.length}`
    sortedFiles.push(file)
    await writeLines(file, rows.toSorted(compareRows))
    rows = []
    bytes = 0
  }
  return rows.toSorted(compareRows)
}

function parseRow(line: string): SortedRow {
  return { head: SortedHead.parse(JSON.parse(line)), line }
}

/**
 * Key, task, ordinal; of one image and task the newest first. That its bytes could not be read later on, because it was
 * deleted meanwhile, takes no label away.
 */
function compareRows({ head: left }: SortedRow, { head: right }: SortedRow): number {
  return (
    comparePlaces(left, right) ||
    Number(left.source.unread ?? false) - Number(right.source.unread ?? false) ||
    compareKeys(right.createdAt, left.createdAt) ||
    compareKeys(left.recordId, right.recordId)
  )
}

function comparePlaces(left: SortedRow['head'], right: SortedRow['head']): number {
  return compareImages(left, right) || compareKeys(left.task, right.task) || left.ordinal - right.ordinal
}

function compareImages({ source: left }: SortedRow['head'], { source: right }: SortedRow['head']): number {
  return compareKeys(left.key, right.key) || compareKeys(left.uri, right.uri)
}

async function* fromArray(rows: readonly SortedRow[]): AsyncGenerator<SortedRow> {
  yield* rows
}

/** Block by block: many of these files are open at once, and readline would hold a thousand lines of each. */
async function* readSortedFile(path: string): AsyncGenerator<SortedRow> {
  let rest = ''
  for await (const block of createReadStream(path, { encoding: 'utf8', highWaterMark: mergeBlockBytes })) {
    const lines = (rest + String(block)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) yield parseRow(line)
  }
}

/** Merges sorted sources; there are few (one for each 16 MB), so the smallest head is found by looking at all. */
async function* mergeSorted(sources: readonly AsyncGenerator<SortedRow>[]): AsyncGenerator<SortedRow> {
  const heads = await Promise.all(sources.map(async (source) => ({ source, next: await source.next() })))
  for (;;) {
    let smallest: { source: AsyncGenerator<SortedRow>; row: SortedRow; slot: (typeof heads)[number] } | null =
      null
    for (const slot of heads) {
      if (slot.next.done === true) continue
      if (smallest === null || compareRows(slot.next.value, smallest.row) < 0) {
        smallest = { source: slot.source, row: slot.next.value, slot }
      }
    }
    if (smallest === null) return
    yield smallest.row
    smallest.slot.next = await smallest.source.next()
  }
}

/** The rows of one image after the other. */
async function* imagesOf(rows: AsyncGenerator<SortedRow>): AsyncGenerator<SortedRow[]> {
  let image: SortedRow[] = []
  for await (const row of rows) {
    const [first] = image
    if (first !== undefined && compareImages(first.head, row.head) !== 0) {
      yield image
      image = []
    }
    image.push(row)
  }
  if (image.length > 0) yield image
}

/** A row whose image could not be read stands where there is no other of its task. */
async function currentRows(image: readonly SortedRow[], contentOf?: ContentOf): Promise<SortedRow[]> {
  const sha256 = await currentSha256(
    image.map(({ head }) => head),
    contentOf,
  )
  const current = image.filter(({ head }) => head.source.sha256 === sha256 || head.source.sha256 === null)
  return current.filter((row, index) => {
    const before = current[index - 1]
    return before === undefined || comparePlaces(before.head, row.head) !== 0
  })
}

/** Of the rows of one image those whose bytes were read, or all where none was. */
export function readContent<T>(
  rows: readonly T[],
  recordOf: (row: T) => Pick<LabelRecord, 'source'>,
): readonly T[] {
  const read = rows.filter((row) => recordOf(row).source.sha256 !== null)
  return read.length === 0 ? rows : read
}

/** Writes rows to a new file, durably, in blocks. */
export async function writeLines(
  path: string,
  rows: AsyncIterable<SortedRow> | Iterable<SortedRow>,
  each: (row: SortedRow) => void = () => {},
): Promise<void> {
  const file = await open(path, 'w')
  try {
    await writeInBlocks(file, rows, each)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function writeInBlocks(
  file: FileHandle,
  rows: AsyncIterable<SortedRow> | Iterable<SortedRow>,
  each: (row: SortedRow) => void,
): Promise<void> {
  const blockChars = 1024 * 1024
  let block = ''
  for await (const row of rows) {
    each(row)
    block += `${row.line}\n`
    if (block.length < blockChars) continue
    await file.appendFile(block)
    block = ''
  }
  await file.appendFile(block)
}
