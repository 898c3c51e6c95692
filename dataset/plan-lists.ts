// Lists of keys that lie in a bucket: JSON lines, CSV, or the files of an S3 Inventory; any of them gzipped. They are
// streamed, so their size costs no memory. It does not know runs or queues.
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import type { Brings, OwnFields } from '../schemas/work-item.ts'
import { sha256Hex } from './canonical-json.ts'
import { decodeEventKey } from './events.ts'
import { IdIndex } from './id-index.ts'
import { readOwnFields, refuseOversized } from './own-fields.ts'
import { parseJson } from './parse-json.ts'
import type { ObjectStore } from './stores/object-store.ts'
import { splitLines } from './text-lines.ts'

/** What a line names; `bucket` when it says one. Lines of JSON may have more for their image. */
export type ListedKey = { bucket?: string; key: string; versionId?: string; sizeBytes?: number } & OwnFields

/** A file of keys. `columns` are those of its CSV, where they are known beforehand. */
export type KeyList = { key: string; columns?: readonly string[] }

const chunkBytes = 4 * 1024 * 1024
const maxLineChars = 1024 * 1024
const maxInventoryFiles = 100_000

/** Whether a key names a list, by how it ends: in small letters, as policies of a cloud say which keys are lists. */
export function isListKey(key: string): boolean {
  return isInventory(key) || /\.(jsonl|ndjson|csv)(\.gz)?$/.test(key)
}

function isInventory(key: string): boolean {
  return posix.basename(key) === 'manifest.json'
}

/** As much of an S3 Inventory's manifest.json as says where its files are. */
const InventoryManifest = z.object({
  fileFormat: z.string(),
  fileSchema: z.string(),
  files: z.array(z.object({ key: z.string().min(1) })).max(maxInventoryFiles),
})

/**
 * The files behind a key: itself, which is only looked for when it is read, for a plan that is complete needs no list any
 * more; or those of the inventory it describes. Throws UserError for a list of another kind.
 */
export async function openLists(storeOf: () => ObjectStore, key: string): Promise<KeyList[]> {
  if (!isInventory(key)) return [{ key }]
  const store = storeOf()
  const bytes = await store.get(key)
  const parsed = InventoryManifest.safeParse(parseJson(bytes))
  if (!parsed.success)
    throw new UserError(
      `${store.uri}${key} is no manifest of an S3 Inventory: ${z.prettifyError(parsed.error)}`,
    )
  const { fileFormat, fileSchema, files } = parsed.data
  if (fileFormat !== 'CSV')
    throw new UserError(`${store.uri}${key} is an inventory in ${fileFormat}; make one in CSV`)
  const columns = fileSchema.split(',').map(columnName)
  if (!columns.includes('key')) throw new UserError(`${store.uri}${key} lists columns without Key`)
  return files.map((file) => ({ key: file.key, columns }))
}

/** Lines behind `afterLine`, numbered from 1; null for a line that is no image any more. Throws UserError for a bad one. */
export async function* readList(
  store: ObjectStore,
  list: KeyList,
  afterLine: number,
): AsyncGenerator<{ line: number; listed: ListedKey | null }> {
  const hasRows = isCsv(list)
  const name = store.uri + list.key
  let columns = list.columns
  let line = 0
  for await (const text of splitLines(unzipped(store, list.key), { name, maxChars: maxLineChars })) {
    line += 1
    const where = `line ${line} of ${name}`
    if (hasRows && line === 1 && columns === undefined) {
      columns = headerOf(text, where)
      if (columns !== undefined) continue
    }
    if (line <= afterLine || text.trim() === '') continue
    yield {
      line,
      listed: hasRows ? parseRow(text, { columns, where }) : parseJsonLine(text, { list, where }),
    }
  }
}

function isCsv({ key, columns }: KeyList): boolean {
  return /\.csv(\.gz)?$/i.test(key) || columns !== undefined
}

/** What other tools call the column of keys. */
const keysElsewhere = new Set(['image', 'path', 'file', 'filename', 'filepath', 'url', 'uri', 'objectkey'])

/** Columns that a first row names, or undefined when it is a row like the others. Throws UserError for others' names. */
function headerOf(text: string, where: string): string[] | undefined {
  const names = splitRow(text)?.map(columnName) ?? []
  if (names.includes('key')) return names
  if (!names.some((name) => keysElsewhere.has(name))) return undefined
  throw new UserError(
    `${where} names the columns ${text.slice(0, 200)}, none of them key; name the one that holds whole keys so`,
  )
}

function columnName(text: string): string {
  return text
    .trim()
    .toLowerCase()
    .replaceAll(/[\s_-]/g, '')
}

/**
 * Whether lines of a list have questions or phrases for their images; null when none has. Throws UserError for a bad
 * line, and where such a list names an image twice: which of the two lines says what is asked?
 */
export async function scanList(
  store: ObjectStore,
  { key, bucket: ownBucket }: { key: string; bucket: string },
): Promise<Brings | null> {
  const brings: Brings = { questions: false, phrases: false }
  const seen = new IdIndex()
  let twice: string | null = null
  for (const list of await openLists(() => store, key)) {
    if (isCsv(list)) {
      if ((await store.head(list.key)) === null) throw noList(store, list.key)
      continue
    }
    for await (const { line, listed } of readList(store, list, 0)) {
      if (listed === null) continue
      brings.questions ||= listed.questions !== undefined
      brings.phrases ||= listed.phrases !== undefined
      const { bucket = ownBucket, versionId = null } = listed
      const id = sha256Hex(JSON.stringify([bucket, listed.key, versionId])).slice(0, 32)
      if (seen.has(id)) twice ??= `line ${line} of ${store.uri}${list.key} names ${listed.key} again`
      else seen.set(id, 0)
    }
  }
  if (!brings.questions && !brings.phrases) return null
  if (twice === null) return brings
  throw new UserError(`${twice}; a list with questions or phrases names each image once`)
}

/** S3's own lists have no header and their keys are form-url-encoded; a list with a header has keys as they are. */
function parseRow(
  text: string,
  { columns, where }: { columns: readonly string[] | undefined; where: string },
): ListedKey | null {
  const cells = splitRow(text)
  if (cells === null)
    throw new UserError(
      `${where} has a quote that does not end, or not at the edge of its cell; one row is one line`,
    )
  const isOfS3 = columns === undefined ? cells.length > 1 : columns.includes('bucket')
  const names = columns ?? (cells.length === 1 ? ['key'] : ['bucket', 'key', 'versionid'])
  const cell = (name: string) => cells[names.indexOf(name)] ?? ''
  if (cell('islatest') === 'false' || cell('isdeletemarker') === 'true') return null
  const key = isOfS3 ? decodeEventKey(cell('key')) : cell('key')
  if (key === null || key === '')
    throw new UserError(`${where} names no key: ${JSON.stringify(text.slice(0, 200))}`)
  const [bucket, versionId, size] = [cell('bucket'), cell('versionid'), cell('size')]
  return {
    key,
    ...(bucket === '' ? {} : { bucket }),
    ...(versionId === '' ? {} : { versionId }),
    ...(/^\d{1,15}$/.test(size) ? { sizeBytes: Number(size) } : {}),
  }
}

/** The cells of one row of CSV, or null when a quote stays open. */
function splitRow(text: string): string[] | null {
  const cells: string[] = []
  let rest = text
  for (;;) {
    const quoted = /^"((?:[^"]|"")*)"(,|$)/.exec(rest)
    const plain = quoted ?? /^([^,"]*)(,|$)/.exec(rest)
    if (plain === null) return null
    const [all, value = '', end] = plain
    cells.push(quoted === null ? value : value.replaceAll('""', '"'))
    rest = rest.slice(all.length)
    if (end === '') return cells
  }
}

/** Null where a table has no value. */
const Name = z.string().min(1).nullish()
const KeyLine = z.looseObject({ key: z.string().min(1), bucket: Name, versionId: Name })
const BesideLine = z.looseObject({ image: Name, path: Name, file: Name })

/** `key` is whole; `image`, `path` and `file` are relative to the list, as in a manifest on a disk. */
function parseJsonLine(text: string, { list, where }: { list: KeyList; where: string }): ListedKey {
  const line = parseJson(text)
  if (typeof line === 'string' && line !== '') return { key: line }
  const { named, others } = parseNames(line, { list, where }) ?? {}
  if (named === undefined || others === undefined)
    throw new UserError(
      `${where} is ${JSON.stringify(text.slice(0, 100))}; expected {"key": "folder/image.jpg"} or {"image": "beside/this/list.jpg"}`,
    )
  const own = readOwnFields(others, where)
  refuseOversized(own, where)
  return { ...named, ...own }
}

/** Parts what names an image from what is its own; null when nothing names it. */
function parseNames(
  line: unknown,
  { list, where }: { list: KeyList; where: string },
): { named: ListedKey; others: Record<string, unknown> } | null {
  const keyed = KeyLine.safeParse(line).data
  if (keyed !== undefined) {
    const { key, bucket, versionId, ...others } = keyed
    const place = {
      ...(bucket == null ? {} : { bucket }),
      ...(versionId == null ? {} : { versionId }),
    }
    return { named: { key, ...place }, others }
  }
  const { image, path, file, ...others } = BesideLine.safeParse(line).data ?? {}
  const beside = image ?? path ?? file
  return beside == null ? null : { named: { key: keyBeside(beside, { list, where }) }, others }
}

function keyBeside(named: string, { list, where }: { list: KeyList; where: string }): string {
  const key = posix.join(posix.dirname(list.key), named)
  if (!/^\.\.?(?:\/|$)/.test(key) && !named.startsWith('/')) return key
  throw new UserError(`${where} names ${JSON.stringify(named.slice(0, 200))}, outside the bucket`)
}

/** The bytes of an object, unzipped when its name says so. */
async function* unzipped(store: ObjectStore, key: string): AsyncGenerator<Uint8Array> {
  const chunks = readChunks(store, key)
  if (!key.toLowerCase().endsWith('.gz')) {
    yield* chunks
    return
  }
  const gunzip = createGunzip()
  const source = Readable.from(chunks)
  // A failure of the source has to reach whoever reads the unzipped side.
  source.once('error', (error) => gunzip.destroy(error))
  try {
    // The stream carries no encoding, so its chunks are buffers.
    for await (const bytes of source.pipe(gunzip)) yield bytes as Buffer
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || !String(error.code).startsWith('Z_')) throw error
    throw new UserError(`${store.uri}${key} is not readable gzip: ${error.message}`, { cause: error })
  } finally {
    source.destroy()
  }
}

async function* readChunks(store: ObjectStore, key: string): AsyncGenerator<Uint8Array> {
  for (let start = 0; ; start += chunkBytes) {
    const bytes = await store.getRange(key, { start, end: start + chunkBytes })
    if (bytes === null) throw noList(store, key)
    if (bytes.length > 0) yield bytes
    if (bytes.length < chunkBytes) return
  }
}

function noList(store: ObjectStore, key: string): UserError {
  return new UserError(`there is no list ${store.uri}${key}; give one that is there, or put it back`)
}
