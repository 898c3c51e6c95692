// A compiled model goes up: its files in pieces, create-only, the lock file last. It does not know how a model is
// compiled or run. Pieces, not one object a file: so a push that was killed goes on where it was on every store, and
// nothing half-done is left that a bucket would charge for.
import { createReadStream } from 'node:fs'
import { createHash } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../schemas/errors.ts'
import { manifestFileName, type ModelManifest } from '../schemas/model-manifest.ts'
import {
  type LockedFile,
  piecesOf,
  WeightsLock,
  weightsLockKey,
  weightsLockVersion,
} from '../schemas/weights-lock.ts'
import { sha256Hex } from './canonical-json.ts'
import { inParallel } from './in-parallel.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type PushLimits = { pieceBytes: number; piecesInFlight: number }

/** 256 MiB of memory at most; a request a second at half a gigabit. */
const defaultPushLimits: PushLimits = { pieceBytes: 64 * 1024 * 1024, piecesInFlight: 4 }

export type PushModel = {
  /** Of the compiled model. */
  folder: string
  manifest: ModelManifest
  /** The model goes under `<digest>/` of it. */
  store: ObjectStore
  limits?: PushLimits
  signal?: AbortSignal
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void
}

/**
 * Uploads what is not there yet. Throws UserError when a file is not what the manifest says, or another manifest of
 * the same files is there already.
 */
export async function pushModel(options: PushModel): Promise<{ uri: string; sentBytes: number }> {
  const { folder, manifest, store, limits = defaultPushLimits, signal, onProgress = () => {} } = options
  const lock = await lockOf(options)
  const uri = `${store.uri}${manifest.digest}/`
  const lockKey = `${manifest.digest}/${weightsLockKey}`
  const there = await store.get(lockKey)
  if (there !== null) {
    checkSameLock(there, { lock, uri })
    return { uri, sentBytes: 0 }
  }
  for (const file of lock.files) await checkFile(folder, file)
  const totalBytes = lock.files.reduce((sum, { bytes }) => sum + bytes, 0)
  let [doneBytes, sentBytes] = [0, 0]
  const pieces = lock.files.flatMap((file) =>
    piecesOf(file, lock.pieceBytes).map((piece) => ({ ...piece, path: join(folder, file.name) })),
  )
  await inParallel(pieces, { max: limits.piecesInFlight, signal }, async ({ key, path, start, end }) => {
    const pieceKey = `${manifest.digest}/${key}`
    if ((await store.head(pieceKey)) === null) {
      await store.putIfAbsent(pieceKey, await readPiece(path, { start, end }))
      sentBytes += end - start
    }
    doneBytes += end - start
    onProgress({ doneBytes, totalBytes })
  })
  const text = new TextEncoder().encode(`${JSON.stringify(lock, null, 2)}\n`)
  const result = await store.putIfAbsent(lockKey, text)
  if (result === 'exists') checkSameLock((await store.get(lockKey)) ?? text, { lock, uri })
  return { uri, sentBytes }
}

async function lockOf({ folder, manifest, limits = defaultPushLimits }: PushModel): Promise<WeightsLock> {
  const bytes = await readFile(join(folder, manifestFileName))
  const itself = { name: manifestFileName, bytes: bytes.length, sha256: sha256Hex(bytes) }
  return {
    v: weightsLockVersion,
    digest: manifest.digest,
    name: manifest.name,
    pieceBytes: limits.pieceBytes,
    files: [...manifest.files, itself],
  }
}

/** The digest is of the files but the manifest: the same files may have been compiled to say something else. */
function checkSameLock(bytes: Uint8Array, { lock, uri }: { lock: WeightsLock; uri: string }): void {
  const there = readLock(bytes, uri)
  if (JSON.stringify(there.files) === JSON.stringify(lock.files)) return
  throw new UserError(
    `${uri} holds the same files with another ${manifestFileName} (other capabilities, name or template); use that model, or remove it there first`,
  )
}

/** Parses a lock file. Throws UserError for one that is damaged or of a newer version. */
export function readLock(bytes: Uint8Array, uri: string): WeightsLock {
  try {
    return WeightsLock.parse(JSON.parse(new TextDecoder().decode(bytes)))
  } catch (cause) {
    throw new UserError(
      `${uri}${weightsLockKey} is no lock file of version ${weightsLockVersion}; push the model again with this coglabel, under another place`,
      { cause },
    )
  }
}

/** Every byte is read: what is pushed damaged would be fetched damaged by every worker. */
async function checkFile(folder: string, { name, bytes, sha256 }: LockedFile): Promise<void> {
  const path = join(folder, name)
  const hash = createHash('sha256')
  let seenBytes = 0
  for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) {
    // No encoding is set, so chunks are buffers.
    const part = chunk as Buffer
    hash.update(part)
    seenBytes += part.length
  }
  const seen = hash.digest('hex')
  if (seen === sha256 && seenBytes === bytes) return
  throw new UserError(
    `${path} has ${seenBytes} bytes and the digest ${seen.slice(0, 12)}…, its manifest says ${bytes} and ${sha256.slice(0, 12)}…: it was changed or damaged; compile the model again`,
  )
}

async function readPiece(path: string, { start, end }: { start: number; end: number }): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(end - start), 0, end - start, start)
    if (bytesRead === end - start) return buffer
    throw new UserError(`${path} became shorter while it was pushed; leave the folder alone and push again`)
  } finally {
    await file.close()
  }
}
