// A pushed model comes down: ranges in parallel into a file of its size, each file under its name only when its digest
// is right. It does not know how a model is run. Many processes may fetch into one scratch folder; each is right.
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { RetryableError, UserError } from '../schemas/errors.ts'
import { type LockedFile, piecesOf, type WeightsLock, weightsLockKey } from '../schemas/weights-lock.ts'
import { sha256Hex } from './canonical-json.ts'
import { inParallel } from './in-parallel.ts'
import { readLock } from './push-weights.ts'
import { explainWriteError } from './stores/fs.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type FetchLimits = {
  rangeBytes: number
  rangesInFlight: number
  /** A file under way that nobody has written to for so long belongs to a process that was killed. */
  staleMs: number
}

/** Sixteen ranges of 16 MiB fill a fast network and take 256 MiB of memory. */
export const defaultFetchLimits: FetchLimits = {
  rangeBytes: 16 * 1024 * 1024,
  rangesInFlight: 16,
  staleMs: 5 * 60_000,
}

export type FetchWeights = {
  /** Where the model was pushed to: the lock file lies at its top. */
  store: ObjectStore
  /** On a local disk; every model gets a folder in it. */
  scratchFolder: string
  limits?: FetchLimits
  signal?: AbortSignal
}

type Fetch = Required<Omit<FetchWeights, 'signal'>> & {
  signal: AbortSignal | undefined
  lock: WeightsLock
  folder: string
}

/** Files under way, by process. */
const underWayFolder = '.fetching'
const completeName = '.complete'

/**
 * Makes the pushed model a folder on this disk and returns it. Complete files of an earlier try are kept, after their
 * digest was looked at again. Throws UserError when there is no such model, a digest is wrong or the disk is full.
 */
export async function fetchWeights({
  store,
  scratchFolder,
  limits = defaultFetchLimits,
  signal,
}: FetchWeights): Promise<{ folder: string; fetchedBytes: number }> {
  const text = await store.get(weightsLockKey)
  if (text === null)
    throw new UserError(
      `${store.uri} has no ${weightsLockKey}: no model was pushed there, or its push has not ended; run \`coglabel push-model\` and use the URI it prints`,
    )
  const lock = readLock(text, store.uri)
  const lockHash = sha256Hex(text)
  const folder = join(scratchFolder, `${lock.digest.slice(0, 16)}-${lockHash.slice(0, 16)}`)
  const fetch = { store, scratchFolder, limits, signal, lock, folder }
  if (await isComplete(fetch, lockHash)) return { folder, fetchedBytes: 0 }
  const temps = join(folder, underWayFolder)
  await mkdir(temps, { recursive: true }).catch((error: unknown) => {
    throw explainWriteError(error, { path: temps })
  })
  await sweep(temps, limits.staleMs)
  const missing: LockedFile[] = []
  for (const file of lock.files)
    if ((await sha256OfFile(join(folder, file.name))) !== file.sha256) missing.push(file)
  const fetchedBytes = missing.reduce((sum, { bytes }) => sum + bytes, 0)
  await checkRoom(fetch, fetchedBytes)
  for (const file of missing) await fetchFile(file, fetch)
  await inPlace(fetch, completeName, async (handle) => await handle.writeFile(lockHash))
  return { folder, fetchedBytes }
}

async function isComplete({ folder, lock }: Fetch, lockHash: string): Promise<boolean> {
  const said = await readFile(join(folder, completeName), 'utf8').catch(() => null)
  if (said !== lockHash) return false
  const sizes = await Promise.all(
    lock.files.map(
      async ({ name }) =>
        await stat(join(folder, name)).then(
          ({ size }) => size,
          () => null,
        ),
    ),
  )
  return lock.files.every(({ bytes }, index) => sizes[index] === bytes)
}

/** Said before anything is fetched: a full disk would show only after minutes. */
async function checkRoom({ folder, store, scratchFolder }: Fetch, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (neededBytes <= bavail * bsize) return
  throw new UserError(
    `the model at ${store.uri} needs ${neededBytes} bytes more, the disk of ${scratchFolder} has ${bavail * bsize} free; free some or name another folder`,
  )
}

async function fetchFile(file: LockedFile, fetch: Fetch): Promise<void> {
  await inPlace(fetch, file.name, async (handle) => {
    await handle.truncate(file.bytes)
    const seen = await writeRanges(handle, file, fetch)
    if (seen !== file.sha256)
      throw new UserError(
        `${file.name} of ${fetch.store.uri} came with the digest ${seen.slice(0, 12)}…, ${weightsLockKey} says ${file.sha256.slice(0, 12)}…: it was damaged or changed there; remove that folder and push the model again`,
      )
  })
}

/** Writes a file durably under another name, then gives it its own, at once and whole. */
async function inPlace(
  { folder, store }: Fetch,
  name: string,
  write: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  const temp = join(folder, underWayFolder, `${name}.${process.pid}-${randomBytes(6).toString('hex')}`)
  try {
    const handle = await open(temp, 'wx')
    try {
      await write(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temp, join(folder, name))
  } catch (error) {
    await rm(temp, { force: true })
    if (error instanceof UserError || error instanceof RetryableError) throw error
    throw explainWriteError(error, { path: `${join(folder, name)} (from ${store.uri})` })
  }
}

/** Fetches all ranges of a file; returns the sha256 of its bytes, taken in order while later ranges are under way. */
async function writeRanges(
  handle: FileHandle,
  file: LockedFile,
  { store, lock, limits, signal }: Fetch,
): Promise<string> {
  const hash = createHash('sha256')
  let lastHashed = Promise.resolve()
  const { rangesInFlight: max, rangeBytes } = limits
  await inParallel(rangesOf(file, lock, rangeBytes), { max, signal }, async ({ key, start, end, at }) => {
    // Jobs begin in order, so each finds the range before its own here.
    const turn = lastHashed
    const { promise, resolve } = Promise.withResolvers<void>()
    lastHashed = promise
    try {
      const bytes = await store.getRange(key, { start, end })
      if (bytes?.length !== end - start)
        throw new UserError(
          `${key} of ${store.uri} ${bytes === null ? 'is missing' : 'is too short'}: the model there was damaged; remove that folder and push the model again`,
        )
      await writeAll(handle, bytes, at)
      await turn
      hash.update(bytes)
    } finally {
      resolve()
    }
  })
  return hash.digest('hex')
}

type Range = { key: string; start: number; end: number; at: number }

/** Ranges of the objects, in order, with the place of each in the file. */
function* rangesOf(file: LockedFile, { pieceBytes }: WeightsLock, rangeBytes: number): Generator<Range> {
  for (const piece of piecesOf(file, pieceBytes))
    for (let at = piece.start; at < piece.end; at += rangeBytes)
      yield {
        key: piece.key,
        start: at - piece.start,
        end: Math.min(piece.end, at + rangeBytes) - piece.start,
        at,
      }
}

/** A write(2) may take less than it is given. */
async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

async function sha256OfFile(path: string): Promise<string | null> {
  if ((await stat(path).catch(() => null)) === null) return null
  const hash = createHash('sha256')
  // No encoding is set, so chunks are buffers.
  for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Removes what killed processes left: one that still writes has touched its file a moment ago. */
async function sweep(temps: string, staleMs: number): Promise<void> {
  for (const name of await readdir(temps)) {
    const path = join(temps, name)
    const stats = await stat(path).catch(() => null)
    if (stats !== null && Date.now() - stats.mtimeMs > staleMs) await rm(path, { force: true })
  }
}
