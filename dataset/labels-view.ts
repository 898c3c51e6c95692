// labels.jsonl: the sealed records as one sorted file for people and scripts, rewritten whole. A view, never a source.
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { RecordHead } from '../schemas/part.ts'
import type { StatusCounts } from '../schemas/sealed-manifest.ts'
import { readRecordLines } from './read.ts'
import { explainWriteError } from './stores/fs.ts'
import { compareKeys, type ObjectStore } from './stores/object-store.ts'

export const labelsViewName = 'labels.jsonl'

/** Text that is sorted in memory at once; more goes through sorted files that are then merged. */
const defaultMaxSortedBytes = 16 * 1024 * 1024

const ViewHead = RecordHead.extend({
  createdAt: z.string(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
})
type ViewRow = { head: z.infer<typeof ViewHead>; line: string }

export type FailedRow = { key: string; task: string; code: string; message: string }
export type LabelsView = {
  path: string
  images: number
  records: number
  byTask: Record<string, StatusCounts>
  byErrorCode: Record<string, number>
  /** The first few failed records, in the order of the file. */
  failed: FailedRow[]
}

const maxFailedShown = 5

/**
 * Writes FOLDER/labels.jsonl, sorted by key, task and ordinal, and counts what it wrote. An image that was
 * replaced between two runs has records of both contents in the sealed data; the view shows the newest.
 */
export async function writeLabelsView(
  store: ObjectStore,
  folder: string,
  { maxSortedBytes = defaultMaxSortedBytes }: { maxSortedBytes?: number } = {},
): Promise<LabelsView> {
  const temps = join(folder, '.tmp')
  const aside = join(temps, `labels-${process.pid}.jsonl`)
  const path = join(folder, labelsViewName)
  const sortedFiles: string[] = []
  await mkdir(temps, { recursive: true })
  try {
    const inMemory = await sortIntoFiles(store, { sortedFiles, prefix: `${aside}.sort-`, maxSortedBytes })
    const sources = [...sortedFiles.map(readSortedFile), fromArray(inMemory)]
    const view = await writeRows(newestRows(mergeSorted(sources)), { aside, path })
    await rename(aside, path)
    return view
  } catch (error) {
    throw explainWriteError(error, { path })
  } finally {
    for (const file of [...sortedFiles, aside]) await rm(file, { force: true })
  }
}

/** Sorts the run's lines; whole sorted batches go to files, the last batch is returned. */
async function sortIntoFiles(
  store: ObjectStore,
  { sortedFiles, prefix, maxSortedBytes }: { sortedFiles: string[]; prefix: string; maxSortedBytes: number },
): Promise<ViewRow[]> {
  let rows: ViewRow[] = []
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

function parseRow(line: string): ViewRow {
  return { head: ViewHead.parse(JSON.parse(line)), line }
}

/** Key, task, ordinal; of one image and task the newest first. */
function compareRows({ head: left }: ViewRow, { head: right }: ViewRow): number {
  return (
    comparePlaces(left, right) ||
    compareKeys(right.createdAt, left.createdAt) ||
    compareKeys(left.recordId, right.recordId)
  )
}

function comparePlaces(left: ViewRow['head'], right: ViewRow['head']): number {
  return (
    compareKeys(left.source.key, right.source.key) ||
    compareKeys(left.task, right.task) ||
    left.ordinal - right.ordinal
  )
}

async function* fromArray(rows: readonly ViewRow[]): AsyncGenerator<ViewRow> {
  yield* rows
}

async function* readSortedFile(path: string): AsyncGenerator<ViewRow> {
  for await (const line of createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Infinity }))
    yield parseRow(line)
}

/** Merges sorted sources; there are few (one for each 16 MB), so the smallest head is found by looking at all. */
async function* mergeSorted(sources: readonly AsyncGenerator<ViewRow>[]): AsyncGenerator<ViewRow> {
  const heads = await Promise.all(sources.map(async (source) => ({ source, next: await source.next() })))
  for (;;) {
    let smallest: { source: AsyncGenerator<ViewRow>; row: ViewRow; slot: (typeof heads)[number] } | null =
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

async function* newestRows(rows: AsyncGenerator<ViewRow>): AsyncGenerator<ViewRow> {
  let last: ViewRow | null = null
  for await (const row of rows) {
    if (last === null || comparePlaces(last.head, row.head) !== 0) yield row
    last = row
  }
}

async function writeRows(
  rows: AsyncGenerator<ViewRow>,
  { aside, path }: { aside: string; path: string },
): Promise<LabelsView> {
  const view: LabelsView = { path, images: 0, records: 0, byTask: {}, byErrorCode: {}, failed: [] }
  let lastKey: string | null = null
  await writeLines(aside, rows, ({ head }) => {
    view.records += 1
    if (head.source.key !== lastKey) view.images += 1
    lastKey = head.source.key
    countRow(view, head)
  })
  return view
}

function countRow(view: LabelsView, { task, status, source, error }: ViewRow['head']): void {
  const counts = (view.byTask[task] ??= { ok: 0, filtered: 0, failed: 0 })
  counts[status] += 1
  if (error === null) return
  view.byErrorCode[error.code] = (view.byErrorCode[error.code] ?? 0) + 1
  if (view.failed.length < maxFailedShown) view.failed.push({ key: source.key, task, ...error })
}

async function writeLines(
  path: string,
  rows: AsyncIterable<ViewRow> | Iterable<ViewRow>,
  each: (row: ViewRow) => void = () => {},
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
  rows: AsyncIterable<ViewRow> | Iterable<ViewRow>,
  each: (row: ViewRow) => void,
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
