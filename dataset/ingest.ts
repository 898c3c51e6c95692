// Finding the images: a folder, one image or a JSONL manifest becomes an ordered stream of work items.
// It does not know tasks or records, and reads no image.
import { createReadStream } from 'node:fs'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, extname, isAbsolute, join, posix, relative, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { systemCode } from '../schemas/system-error.ts'
import type { RunSource } from '../schemas/run-config.ts'
import type { Brings, WorkItem } from '../schemas/work-item.ts'
import { sha256Hex } from './canonical-json.ts'
import { IdIndex } from './id-index.ts'
import { hasImageExtension, type SkipReason, skipReason } from './image-keys.ts'
import { readOwnFields, refuseOversized } from './own-fields.ts'
import { openFsStore } from './stores/fs.ts'
import { keyProblem, listAll, type ObjectStore } from './stores/object-store.ts'
import { splitLines } from './text-lines.ts'

export type SourceScan = {
  images: number
  skipped: Partial<Record<SkipReason, number>>
  /** Lines with a field that looks like questions or phrases and is kept as any other; absent where there are none. */
  unasked?: Record<string, number>
  /** Absent where no image has any. */
  brings?: Brings
}

export type ImageSource = {
  source: RunSource
  /** Where the items' keys lead. */
  store: ObjectStore
  /** Counts without reading images. Throws UserError for the first bad line of a manifest. */
  scan(): Promise<SourceScan>
  /** The images in order: by the UTF-8 bytes of the key, or as the manifest has them. */
  items(): AsyncGenerator<WorkItem>
}

const maxManifestLineChars = 1024 * 1024

type Tell = (reason: SkipReason) => void

const whatSourcesAre = 'give a folder of images, one image or a .jsonl manifest'

/** Files that people list or pack images in, and that hold no image themselves. */
const listExtensions = new Set([
  '.txt',
  '.csv',
  '.tsv',
  '.json',
  '.parquet',
  '.md',
  '.yaml',
  '.xml',
  '.zip',
  '.tar',
  '.gz',
])

export type OpenSource = {
  /** A folder inside the source that holds labels, not images. */
  exclude?: string
  /** Refuse lines of a manifest that no message can carry. */
  forMessages?: boolean
}

/** Opens SRC. Throws UserError when there is no such path or it cannot be a source. */
export async function openSource(
  path: string,
  { exclude, forMessages = false }: OpenSource = {},
): Promise<ImageSource> {
  const real = await realpath(path).catch(() => null)
  if (real === null) throw new UserError(`there is no file or folder "${path}"; ${whereElse(path)}`)
  const stats = await stat(real)
  if (stats.isDirectory()) return await folderSource(real, exclude)
  if (!stats.isFile()) throw new UserError(`"${path}" is neither a file nor a folder; ${whatSourcesAre}`)
  const extension = extname(real).toLowerCase()
  if (['.jsonl', '.ndjson'].includes(extension)) return manifestSource(real, forMessages)
  if (listExtensions.has(extension))
    throw new UserError(
      `"${path}" is no image and no manifest; a manifest ends in .jsonl and has a line {"image": "relative/path.jpg"} for each image`,
    )
  return imageSource(real)
}

/** What to do about a source that is on no disk of this machine. */
function whereElse(path: string): string {
  if (/^s3:\/\//i.test(path))
    return 'images of a bucket are labelled by workers (coglabel submit), or here once they are copied here'
  return /^https?:\/\//i.test(path) ? 'download the images first' : whatSourcesAre
}

async function folderSource(folder: string, exclude: string | undefined): Promise<ImageSource> {
  const excludedPrefix = exclude === undefined ? null : await prefixWithin(folder, exclude)
  const store = openFsStore(folder, { skipsClosed: true })
  return {
    source: { kind: 'folder', uri: pathToFileURL(folder + sep).href },
    store,
    async scan() {
      const scan = await countItems((tell) => folderItems(store, { excludedPrefix, tell }))
      await countUnlisted(folder, (reason) => countSkipped(scan, reason))
      return scan
    },
    items: () => folderItems(store, { excludedPrefix, tell: () => {} }),
  }
}

/** Where a folder lies in the source; null when it lies elsewhere. */
async function prefixWithin(folder: string, exclude: string): Promise<string | null> {
  const outside = relative(folder, await realpath(exclude).catch(() => resolve(exclude)))
  if (outside === '')
    throw new UserError(`"${folder}" is both the source and the run folder; give another folder to --out`)
  return outside === '..' || outside.startsWith(`..${sep}`) || isAbsolute(outside)
    ? null
    : `${outside.split(sep).join('/')}/`
}

async function* folderItems(
  store: ObjectStore,
  { excludedPrefix, tell }: { excludedPrefix: string | null; tell: Tell },
): AsyncGenerator<WorkItem> {
  for await (const { key } of listAll(store, { prefix: '', pageSize: 10_000 })) {
    if (excludedPrefix !== null && key.startsWith(excludedPrefix)) continue
    const reason = skipReason(key)
    if (reason === null) yield { key }
    else tell(reason)
  }
}

/**
 * Tells what the store does not list: links, folders that are closed to this user, and images and folders whose names Node
 * cannot write as they are.
 */
async function countUnlisted(folder: string, tell: Tell): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (!['EACCES', 'EPERM'].includes(systemCode(error))) throw error
    tell('folder that may not be listed')
    return []
  })
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue
    const path = join(folder, entry.name)
    const isGarbled = entry.name.includes('\u{fffd}') && (await lstat(path).catch(() => null)) === null
    if (entry.isSymbolicLink()) tell('symbolic link')
    else if (isGarbled && (entry.isDirectory() || hasImageExtension(entry.name))) tell('unusable name')
    else if (entry.isDirectory()) await countUnlisted(path, tell)
  }
}

function imageSource(path: string): ImageSource {
  const key = basename(path)
  const problem = keyProblem(key)
  if (problem !== null) throw new UserError(`the name ${JSON.stringify(key)} ${problem}; rename the file`)
  return {
    source: { kind: 'image', uri: pathToFileURL(path).href },
    store: openFsStore(dirname(path)),
    scan: async () => ({ images: 1, skipped: {} }),
    async *items() {
      yield { key }
    },
  }
}

function manifestSource(path: string, forMessages: boolean): ImageSource {
  return {
    source: { kind: 'manifest', uri: pathToFileURL(path).href },
    store: openFsStore(dirname(path)),
    scan: async () => await countItems((tell) => manifestItems(path, { tell, forMessages })),
    items: () => manifestItems(path, { tell: () => {}, forMessages }),
  }
}

async function countItems(start: (tell: Tell) => AsyncGenerator<WorkItem>): Promise<SourceScan> {
  const brings = { questions: false, phrases: false }
  const scan: SourceScan = { images: 0, skipped: {} }
  const items = start((reason) => countSkipped(scan, reason))
  const unasked: Record<string, number> = {}
  for await (const item of items) {
    scan.images += 1
    brings.questions ||= item.questions !== undefined
    brings.phrases ||= item.phrases !== undefined
    for (const field of unaskedFields(item)) unasked[field] = (unasked[field] ?? 0) + 1
  }
  if (Object.keys(unasked).length > 0) scan.unasked = unasked
  if (brings.questions || brings.phrases) scan.brings = brings
  return scan
}

function countSkipped({ skipped }: SourceScan, reason: SkipReason): void {
  skipped[reason] = (skipped[reason] ?? 0) + 1
}

/** Fields that a writer of manifests may take for questions or phrases, and that ask nothing. */
function unaskedFields({ meta = {} }: WorkItem): string[] {
  return ['questions', 'question', 'phrases', 'phrase'].filter((field) => Object.hasOwn(meta, field))
}

/** A line names its image by one of three fields, null where a table has no value; the others are the image's own. */
const ManifestLine = z.looseObject({
  image: z.string().nullish(),
  path: z.string().nullish(),
  file: z.string().nullish(),
  id: z.union([z.string(), z.number()]).nullish(),
})

async function* manifestItems(
  path: string,
  { tell, forMessages }: { tell: Tell; forMessages: boolean },
): AsyncGenerator<WorkItem> {
  const seen = new IdIndex()
  let lineNumber = 0
  const lines = splitLines(createReadStream(path), { name: path, maxChars: maxManifestLineChars })
  for await (const text of lines) {
    lineNumber += 1
    const line = text.trim()
    if (line === '') continue
    const where = `line ${lineNumber} of ${path}`
    const item = parseManifestLine(line, { where, folder: dirname(path) })
    if (forMessages) refuseOversized(item, where)
    const id = sha256Hex(item.key).slice(0, 32)
    if (seen.has(id)) {
      if (item.questions !== undefined || item.phrases !== undefined)
        throw new UserError(
          `${where} names ${item.key} again, with more to ask; put all questions and phrases of an image into one line`,
        )
      tell('named twice')
      continue
    }
    seen.set(id, 0)
    yield item
  }
}

function parseManifestLine(line: string, { where, folder }: { where: string; folder: string }): WorkItem {
  const parsed = ManifestLine.safeParse(readJsonOfLine(line, where))
  if (!parsed.success)
    throw new UserError(`${where} is not {"image": "relative/path.jpg", …}: ${z.prettifyError(parsed.error)}`)
  const { image, path, file, ...others } = parsed.data
  const named = image ?? path ?? file
  if (named == null)
    throw new UserError(`${where} names no image; expected a field "image", "path" or "file"`)
  return { key: manifestKeyOf(named, { where, folder }), ...readOwnFields(others, where) }
}

function readJsonOfLine(line: string, where: string): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    const hint = line.includes('\0')
      ? 'it looks like UTF-16, save it as UTF-8; '
      : /[:,[]\s*(?:NaN|-?Infinity)\b/.test(line)
        ? 'JSON has no NaN and no Infinity, write null; '
        : ''
    throw new UserError(
      `${where} is not JSON: ${JSON.stringify(line.slice(0, 80))}; ${hint}expected {"image": "relative/path.jpg"}`,
      { cause: error },
    )
  }
}

/** The key of a manifest's image: a path in the manifest's own folder, whatever way it is written. */
function manifestKeyOf(named: string, { where, folder }: { where: string; folder: string }): string {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(named)) {
    throw new UserError(
      `${where} names ${named.slice(0, 200)}; only files beside the manifest are read, download it first`,
    )
  }
  const key = posix.normalize(isAbsolute(named) ? relative(folder, named) : named)
  if (key === '..' || key.startsWith('../') || isAbsolute(key)) {
    throw new UserError(
      `${where} names "${named.slice(0, 200)}", outside the manifest's folder ${folder}; put the manifest in a folder above all its images`,
    )
  }
  const problem = keyProblem(key)
  if (problem !== null)
    throw new UserError(`${where}: the path ${JSON.stringify(named.slice(0, 200))} ${problem}`)
  return key
}
