// A run as a list of images for a page to walk: built once into a folder of its own, then read from there. The lines of
// the records stay on disk; what filters and sorting ask for is held. It does not know pages, verdicts or pictures.
import { createHash } from 'node:crypto'
import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
  type FileHandle,
} from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readChain } from '../dataset/chain.ts'
import { type ContentOf, localContent } from '../dataset/current-content.ts'
import { nearGroups } from '../dataset/exports/core/split.ts'
import { parseRecord } from '../dataset/read.ts'
import { sortedRows } from '../dataset/sorted-rows.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { UserError } from '../schemas/errors.ts'
import { LabelRecord } from '../schemas/label-record.ts'
import { systemCode } from '../schemas/system-error.ts'
import { type IndexedImage, imageEntry, IndexLine } from './index-entry.ts'

export type RunIndex = {
  readonly images: readonly IndexedImage[]
  readonly recordCount: number
  /** Where each record is: its image, and its place among the image's records. */
  find(recordId: string): { image: number; record: number } | null
  /** All records of an image, whole. */
  readRecords(image: IndexedImage): Promise<LabelRecord[]>
  /** Every record, image by image; for conditions that the held fields cannot answer. */
  readAll(): AsyncGenerator<{ image: number; records: LabelRecord[] }>
  readonly how: 'built' | 'read'
  readonly tookMs: number
  close(): Promise<void>
}

/** Held in memory, about a kilobyte each. */
const maxRecords = 1_000_000

/** Raised when what is held of a record changes: older folders are built anew. */
const indexVersion = 4

const recordsName = 'records.jsonl'
const imagesName = 'images.jsonl'
/** What was there of images that the run has several contents of, by URI: where that changed, others count. */
const contentsName = 'contents.json'
const Contents = z.record(z.string(), z.string().nullable())
const readBlockBytes = 4 * 1024 * 1024

/** Opens the index of the sealed run, building it below `folder` when the one there is of another state of the run. */
export async function openRunIndex(store: ObjectStore, folder: string): Promise<RunIndex> {
  const startMs = performance.now()
  const here = join(folder, await stateOf(store))
  const known = await readBuilt(here)
  const { images, file } = known ?? (await buildIndex(store, { folder, here }))
  markNear(images)
  return openIndex({ images, file, how: known === null ? 'built' : 'read', startMs })
}

function openIndex({
  images,
  file,
  how,
  startMs,
}: {
  images: IndexedImage[]
  file: FileHandle
  how: RunIndex['how']
  startMs: number
}): RunIndex {
  const places = new Map<string, { image: number; record: number }>()
  for (const [image, { records }] of images.entries())
    for (const [record, { recordId }] of records.entries()) places.set(recordId, { image, record })
  return {
    images,
    recordCount: places.size,
    find: (recordId) => places.get(recordId) ?? null,
    readRecords: async (image) => await readLines(file, image),
    readAll: () => readBatches(file, images),
    how,
    tookMs: Math.round(performance.now() - startMs),
    close: async () => await file.close(),
  }
}

/** One name for one state of the sealed run. */
export async function stateOf(store: ObjectStore): Promise<string> {
  let head = 'nothing sealed'
  for await (const { sha256 } of readChain(store)) head = sha256
  return createHash('sha256').update(`${indexVersion} ${store.uri} ${head}`).digest('hex').slice(0, 24)
}

type Built = { images: IndexedImage[]; file: FileHandle }

/**
 * Writes the lines and the entries aside, then moves them into place whole; folders of other states go. Another process
 * may do the same at the same time: each reads what it opened, wherever the folder is by then.
 */
async function buildIndex(
  store: ObjectStore,
  { folder, here }: { folder: string; here: string },
): Promise<Built> {
  await mkdir(folder, { recursive: true })
  const aside = await mkdtemp(`${here}.partial-`)
  try {
    const contents: z.infer<typeof Contents> = {}
    const images = await writeRecords(store, aside, async (uri) => (contents[uri] = await localContent(uri)))
    await writeFile(join(aside, contentsName), JSON.stringify(contents))
    const lines = images.map((image) => `${JSON.stringify(image)}\n`)
    const file = await open(join(aside, imagesName), 'w')
    for (let at = 0; at < lines.length; at += 1000) await file.appendFile(lines.slice(at, at + 1000).join(''))
    await file.close()
    for (const name of await readdir(folder)) {
      const path = join(folder, name)
      const isOld = /^[0-9a-f]{24}$/.test(name) || (name.includes('.partial-') && (await isStale(path)))
      if (isOld) await rm(path, { recursive: true, force: true })
    }
    const records = await open(join(aside, recordsName), 'r')
    await rename(aside, here).catch(async (error: unknown) => {
      if (['ENOTEMPTY', 'EEXIST'].includes(systemCode(error))) return
      await records.close()
      throw error
    })
    return { images, file: records }
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}

/** Nobody builds for so long: whoever did was killed. */
const staleMs = 24 * 3_600_000

async function isStale(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => null)
  return stats !== null && Date.now() - stats.mtimeMs > staleMs
}

async function writeRecords(
  store: ObjectStore,
  aside: string,
  contentOf: ContentOf,
): Promise<IndexedImage[]> {
  const images: IndexedImage[] = []
  const file = await open(join(aside, recordsName), 'w')
  let [offset, count, block] = [0, 0, '']
  let group: { record: LabelRecord; at: number; bytes: number }[] = []
  const close = () => {
    const [first, ...others] = group
    if (first !== undefined) images.push(imageEntry([first, ...others]))
    group = []
  }
  try {
    for await (const { line } of sortedRows(store, { prefix: join(aside, 'sort-'), contentOf })) {
      const record = parseRecord(line, store)
      const last = group[0]?.record.source
      if (last !== undefined && (last.key !== record.source.key || last.uri !== record.source.uri)) close()
      const bytes = Buffer.byteLength(line)
      group.push({ record, at: offset, bytes })
      offset += bytes + 1
      count += 1
      if (count > maxRecords)
        throw new UserError(
          `${store.uri} has more than ${maxRecords} records, more than a review holds; review a part of it as a run of its own`,
        )
      block += `${line}\n`
      if (block.length > readBlockBytes) {
        await file.appendFile(block)
        block = ''
      }
    }
    close()
    await file.appendFile(block)
  } finally {
    await file.close()
  }
  return images
}

/** A folder that was built before, or null where there is none that can be read. */
async function readBuilt(here: string): Promise<Built | null> {
  const file = await open(join(here, recordsName), 'r').catch(() => null)
  if (file === null) return null
  const images = (await isCurrent(here)) ? await readImages(here) : null
  if (images === null) await file.close()
  return images === null ? null : { images, file }
}

async function isCurrent(here: string): Promise<boolean> {
  const text = await readFile(join(here, contentsName), 'utf8').catch(() => null)
  if (text === null) return false
  for (const [uri, sha256] of Object.entries(Contents.parse(JSON.parse(text))))
    if ((await localContent(uri)) !== sha256) return false
  return true
}

async function readImages(here: string): Promise<IndexedImage[] | null> {
  const text = await readFile(join(here, imagesName), 'utf8').catch(() => null)
  if (text === null) return null
  const images: IndexedImage[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    const entry = IndexLine.safeParse(JSON.parse(line))
    if (!entry.success) return null
    images.push(entry.data)
  }
  return images
}

/** The lines of an image lie one after the other. */
async function readLines(file: FileHandle, image: IndexedImage): Promise<LabelRecord[]> {
  const [start, end] = spanOf(image)
  return recordsIn(await readSpan(file, start, end), { start, image }).map((record) =>
    LabelRecord.parse(record),
  )
}

/** Images in the order of the file, several with one read. Our own lines, checked when they were written, are not again. */
async function* readBatches(
  file: FileHandle,
  images: readonly IndexedImage[],
): AsyncGenerator<{ image: number; records: LabelRecord[] }> {
  for (let from = 0; from < images.length;) {
    const start = spanOf(images[from])[0]
    let upTo = from + 1
    while (upTo < images.length && spanOf(images[upTo])[1] - start <= readBlockBytes) upTo += 1
    const bytes = await readSpan(file, start, spanOf(images[upTo - 1])[1])
    for (const [at, image] of images.slice(from, upTo).entries())
      yield { image: from + at, records: recordsIn(bytes, { start, image }) }
    from = upTo
  }
}

/** Bytes [start, end) that the lines of an image lie in. */
function spanOf(image: IndexedImage | undefined): [number, number] {
  const [first, last] = [image?.records[0], image?.records.at(-1)]
  return first === undefined || last === undefined ? [0, 0] : [first.at, last.at + last.bytes]
}

async function readSpan(file: FileHandle, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start)
  await file.read(bytes, 0, bytes.length, start)
  return bytes
}

function recordsIn(bytes: Buffer, { start, image }: { start: number; image: IndexedImage }): LabelRecord[] {
  return image.records.map(({ at, bytes: length }) => {
    // Written by `writeRecords` from records that were parsed.
    return JSON.parse(bytes.toString('utf8', at - start, at - start + length)) as LabelRecord
  })
}

/** Tells each image which others look alike, by the group's first. */
function markNear(images: IndexedImage[]): void {
  const groups = nearGroups(images)
  const sizes = new Map<number, number>()
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1)
  for (const [index, image] of images.entries()) {
    image.group = groups[index] ?? index
    image.groupSize = sizes.get(image.group) ?? 1
  }
}
