// An ObjectStore over a folder. Creation is atomic and durable: temp file, fsync, link(2), fsync of the folder.
// It does not know runs or records. Symbolic links are never followed out of the folder.
import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, open as openDescriptor, read as readDescriptor } from 'node:fs'
import { link, lstat, open, readdir, realpath, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { UserError } from '../../schemas/errors.ts'
import { diskSentences, systemCode } from '../../schemas/system-error.ts'
import { makeFolder } from './make-folder.ts'
import { checkKey, compareKeys, defaultPageSize, type ObjectHead, type ObjectStore } from './object-store.ts'

/** Half-written files live here, on the same disk, and under no key. */
const tempFolder = '.tmp'

/** A temp file this old belongs to a process that was killed. */
const staleTempMs = 60 * 60 * 1000

export type FsStoreOptions = {
  /** Lists nothing of folders below that may not be listed, as somebody else's on the same disk; else they are an error. */
  skipsClosed?: boolean
}

/**
 * Opens a folder as a store; the folder is made on the first put.
 * Throws UserError when the disk is full, the file would be too large or writing is not permitted.
 */
export function openFsStore(folder: string, { skipsClosed = false }: FsStoreOptions = {}): ObjectStore {
  const root = resolve(folder)
  return {
    uri: pathToFileURL(root + sep).href,
    async putIfAbsent(key, bytes) {
      checkKey(key)
      refuseTemp(key)
      try {
        return await createFile({ root, key, bytes })
      } catch (error) {
        throw explainWriteError(error, { path: join(root, key), sizeBytes: bytes.length })
      }
    },
    async get(key) {
      return await withFile({ root, key }, async (file, sizeBytes) => await readSpan(file, 0, sizeBytes))
    },
    async getWithin(key, { maxBytes }) {
      return await withFile({ root, key }, async (file, sizeBytes) => {
        const bytes = sizeBytes > maxBytes ? null : await readSpan(file, 0, sizeBytes)
        return { key, sizeBytes: bytes?.length ?? sizeBytes, bytes }
      })
    },
    async getRange(key, { start, end }) {
      return await withFile(
        { root, key },
        async (file, sizeBytes) => await readSpan(file, start, Math.min(end, sizeBytes)),
      )
    },
    async head(key) {
      return await withFile({ root, key }, async (_file, sizeBytes) => ({ key, sizeBytes }))
    },
    async list({ prefix, after, limit = defaultPageSize }) {
      const objects: ObjectHead[] = []
      for await (const object of walk({ root, folder: '', prefix, after, skipsClosed })) {
        if (objects.length === limit) return { objects, next: objects.at(-1)?.key ?? null }
        objects.push(object)
      }
      return { objects, next: null }
    },
  }
}

/** Removes half-written files that killed processes left in a store's folder. */
export async function sweepStaleTemps(folder: string, nowMs: number): Promise<void> {
  const temps = join(resolve(folder), tempFolder)
  for (const name of await readdir(temps).catch(() => [])) {
    const path = join(temps, name)
    const stats = await stat(path).catch(() => null)
    if (stats !== null && nowMs - stats.mtimeMs > staleTempMs) await rm(path, { force: true })
  }
}

type CreateFile = { root: string; key: string; bytes: Uint8Array }

async function createFile({ root, key, bytes }: CreateFile): Promise<'created' | 'exists'> {
  const path = join(root, key)
  const temps = join(root, tempFolder)
  await makeFolder(temps)
  await makeFolderDurably(root, dirname(path))
  await refuseOutside(root, dirname(path))
  const temp = join(temps, `${process.pid}-${randomBytes(8).toString('hex')}`)
  try {
    const file = await open(temp, 'wx')
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(temp, path)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return 'exists'
    throw error
  } finally {
    await rm(temp, { force: true })
  }
  await syncFolder(dirname(path))
  return 'created'
}

/** Makes a folder below the root and fsyncs each parent that gained an entry. */
async function makeFolderDurably(root: string, folder: string): Promise<void> {
  const made = await makeFolder(folder)
  if (made === undefined) return
  for (let parent = dirname(folder); parent.length >= root.length; parent = dirname(parent))
    await syncFolder(parent)
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

type Place = { root: string; key: string }

/**
 * Opens a regular file below the root and hands it to `use`; null where there is none or it lies outside. The steps
 * that may wait for a disk are three: finding the path, opening it, reading. What asks an open file for its size or
 * closes it does not, and is done at once: a hand-over to another thread costs more (LOG.md).
 */
async function withFile<T>(
  { root, key }: Place,
  use: (file: number, sizeBytes: number) => Promise<T>,
): Promise<T | null> {
  checkKey(key)
  const file = await openInside({ root, key })
  if (file === null) return null
  try {
    const stats = fstatSync(file)
    return stats.isFile() ? await use(file, stats.size) : null
  } finally {
    closeSync(file)
  }
}

const openFile = promisify(openDescriptor)
const readFile = promisify(readDescriptor)

async function openInside({ root, key }: Place): Promise<number | null> {
  if (key.startsWith(`${tempFolder}/`)) return null
  try {
    const real = await realpath(join(root, key))
    // A root that is no link itself is the common case, and then nothing else needs to be looked up.
    if (!isInside(root, real) && !isInside(await realpath(root), real)) return null
    // Never blocks on a pipe, and never follows a link that appeared since.
    return await openFile(real, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(systemCode(error))) return null
    throw error
  }
}

/** Bytes [start, end) of an open file, fewer when it has become shorter. */
async function readSpan(file: number, start: number, end: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.max(0, end - start))
  let length = 0
  while (length < bytes.length) {
    const { bytesRead } = await readFile(file, bytes, length, bytes.length - length, start + length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return bytes.subarray(0, length)
}

async function refuseOutside(root: string, folder: string): Promise<void> {
  const [realRoot, real] = await Promise.all([realpath(root), realpath(folder)])
  if (isInside(realRoot, real)) return
  throw new UserError(`${folder} is a link to ${real}, outside ${root}; nothing was written, remove the link`)
}

function isInside(realRoot: string, real: string): boolean {
  return real === realRoot || real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)
}

function refuseTemp(key: string): void {
  if (key.startsWith(`${tempFolder}/`))
    throw new UserError(`keys under ${tempFolder}/ are the store's own; "${key}" cannot be written`)
}

type Walk = {
  root: string
  folder: string
  prefix: string
  after: string | undefined
  skipsClosed: boolean
}

/** Files of one folder whose sizes are asked for together. */
const sizesAtOnce = 64

/** Regular files in key order. Folders sort as their name with a slash, which is where their keys belong. */
async function* walk({ folder, ...walking }: Walk): AsyncGenerator<ObjectHead> {
  const { root, prefix, after, skipsClosed } = walking
  const isWanted = ({ key, isFolder }: Entry) => {
    if (key === `${tempFolder}/`) return false
    if (!isFolder) return key.startsWith(prefix) && (after === undefined || compareKeys(key, after) > 0)
    const mayMatch = key.startsWith(prefix) || prefix.startsWith(key)
    return mayMatch && (after === undefined || after.startsWith(key) || compareKeys(key, after) > 0)
  }
  const entries = (await readFolder(root, folder, skipsClosed && folder !== '')).filter(isWanted)
  for (let from = 0; from < entries.length; from += sizesAtOnce) {
    const some = entries.slice(from, from + sizesAtOnce)
    const heads = await Promise.all(some.map(async (entry) => await headOf(root, entry)))
    for (const [index, { key, isFolder }] of some.entries()) {
      const head = heads[index]
      if (isFolder) yield* walk({ ...walking, folder: key })
      else if (head !== null && head !== undefined) yield head
    }
  }
}

type Entry = { key: string; isFolder: boolean }

async function headOf(root: string, { key, isFolder }: Entry): Promise<ObjectHead | null> {
  if (isFolder) return null
  const stats = await lstat(join(root, key)).catch(() => null)
  return stats === null ? null : { key, sizeBytes: stats.size }
}

async function readFolder(root: string, folder: string, skipsClosed: boolean): Promise<Entry[]> {
  const path = join(root, folder)
  const entries = await readdir(path, { withFileTypes: true }).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error))) return []
    if (!['EACCES', 'EPERM'].includes(systemCode(error))) throw error
    if (skipsClosed) return []
    throw new UserError(`the folder ${path} may not be listed; permit it or move it away`, { cause: error })
  })
  return entries
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry) => ({
      key: folder + (entry.isDirectory() ? `${entry.name}/` : entry.name),
      isFolder: entry.isDirectory(),
    }))
    .toSorted((left, right) => compareKeys(left.key, right.key))
}

/** Turns what a user can mend into a UserError; passes the rest on. */
export function explainWriteError(
  error: unknown,
  { path, sizeBytes }: { path: string; sizeBytes?: number },
): unknown {
  const sentences: Readonly<Record<string, string>> = {
    ...diskSentences,
    EFBIG: 'the file would pass the limit on file sizes (ulimit -f)',
    EACCES: 'writing there is not permitted',
    EPERM: 'writing there is not permitted, or the disk has no hard links',
    ENOTDIR: 'a part of the path is a file, not a folder',
    EEXIST: 'a part of the path is a file, not a folder',
    ENAMETOOLONG: 'the path is too long for this disk',
  }
  const sentence = sentences[systemCode(error)]
  if (sentence === undefined) return error
  return new UserError(
    `could not write ${sizeBytes === undefined ? '' : `${sizeBytes} bytes to `}${path}: ${sentence}; nothing half-written was left, mend it and run the same command again`,
    { cause: error },
  )
}
