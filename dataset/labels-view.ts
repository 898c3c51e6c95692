// labels.jsonl: the sealed records as one sorted file for people and scripts, rewritten whole. A view, never a source.
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { StatusCounts } from '../schemas/sealed-manifest.ts'
import { defaultMaxSortedBytes, sortedRows, type SortedRow, writeLines } from './sorted-rows.ts'
import { explainWriteError } from './stores/fs.ts'
import type { ObjectStore } from './stores/object-store.ts'

export const labelsViewName = 'labels.jsonl'

export type FailedRow = { key: string; task: string; code: string; message: string }
export type FilteredRow = { key: string; task: string; check: string; evidence: string }
export type LabelsView = {
  path: string
  images: number
  records: number
  byTask: Record<string, StatusCounts>
  byErrorCode: Record<string, number>
  /** Checks that did not pass: of filtered records, and of those that were kept all the same. */
  byCheck: Record<string, { filtered: number; noted: number }>
  /** The first few filtered records. */
  filtered: FilteredRow[]
  /** The first few failed records, in the order of the file. */
  failed: FailedRow[]
}

const maxShown = 5

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
  await mkdir(temps, { recursive: true })
  try {
    const view = await writeRows(sortedRows(store, { prefix: `${aside}.sort-`, maxSortedBytes }), {
      aside,
      path,
    })
    await rename(aside, path)
    return view
  } catch (error) {
    throw explainWriteError(error, { path })
  } finally {
    await rm(aside, { force: true })
  }
}

async function writeRows(
  rows: AsyncGenerator<SortedRow>,
  { aside, path }: { aside: string; path: string },
): Promise<LabelsView> {
  const view: LabelsView = {
    path,
    images: 0,
    records: 0,
    byTask: {},
    byErrorCode: {},
    byCheck: {},
    filtered: [],
    failed: [],
  }
  let lastKey: string | null = null
  await writeLines(aside, rows, ({ head }) => {
    view.records += 1
    if (head.source.key !== lastKey) view.images += 1
    lastKey = head.source.key
    countRow(view, head)
  })
  return view
}

function countRow(view: LabelsView, { task, status, source, error, checks }: SortedRow['head']): void {
  for (const { name } of checks) {
    const found = (view.byCheck[name] ??= { filtered: 0, noted: 0 })
    found[status === 'filtered' ? 'filtered' : 'noted'] += 1
  }
  const [first] = checks
  if (status === 'filtered' && first !== undefined && view.filtered.length < maxShown)
    view.filtered.push({ key: source.key, task, check: first.name, evidence: first.evidence })
  const counts = (view.byTask[task] ??= { ok: 0, filtered: 0, failed: 0 })
  counts[status] += 1
  if (error === null) return
  view.byErrorCode[error.code] = (view.byErrorCode[error.code] ?? 0) + 1
  if (view.failed.length < maxShown) view.failed.push({ key: source.key, task, ...error })
}
