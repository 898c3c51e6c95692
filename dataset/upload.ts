// Images of this machine go up into a bucket, each once, under a prefix. It does not know runs or plans.
import { hash } from 'node:crypto'
import { UserError } from '../schemas/errors.ts'
import { sha256Hex } from './canonical-json.ts'
import type { ImageSource } from './ingest.ts'
import { maxKeyBytes, type ObjectHead, type ObjectStore } from './stores/object-store.ts'

/** Larger files are left out: nobody labels them, and each is in memory while it goes up. */
const maxUploadBytes = 256 * 1024 * 1024

const uploadsInFlight = 8

export type UploadTally = {
  images: number
  /** Of those: what was there already. */
  known: number
  /** Files that are not uploaded, by reason. */
  skipped: Record<string, number>
}

export type Upload = {
  source: Pick<ImageSource, 'store' | 'items'>
  store: ObjectStore
  /** Ends in a slash. */
  prefix: string
  onProgress?: (tally: UploadTally) => void
  /** Begin no further image. */
  stop?: AbortSignal
}

/**
 * Uploads what is not there yet. Throws UserError for a file that is there with other bytes: what was uploaded is never
 * replaced.
 */
export async function uploadImages({
  source,
  store,
  prefix,
  onProgress,
  stop,
}: Upload): Promise<UploadTally> {
  const tally: UploadTally = { images: 0, known: 0, skipped: {} }
  const failed = new AbortController()
  const underWay = new Set<Promise<void>>()
  for await (const { key } of source.items()) {
    if (failed.signal.aborted || stop?.aborted === true) break
    const one = uploadOne({ from: source.store, key, to: store, target: prefix + key })
      .then((outcome) => {
        if (outcome === 'created' || outcome === 'exists') tally.images += 1
        else tally.skipped[outcome] = (tally.skipped[outcome] ?? 0) + 1
        if (outcome === 'exists') tally.known += 1
        onProgress?.(tally)
      })
      .catch((error: unknown) => failed.abort(error))
      .finally(() => underWay.delete(one))
    underWay.add(one)
    if (underWay.size >= uploadsInFlight) await Promise.race(underWay)
  }
  await Promise.all(underWay)
  failed.signal.throwIfAborted()
  return tally
}

type One = { from: ObjectStore; key: string; to: ObjectStore; target: string }

async function uploadOne({ from, key, to, target }: One): Promise<string> {
  if (Buffer.byteLength(target) > maxKeyBytes) return 'name too long'
  const head = await from.head(key)
  if (head === null) return 'not found'
  if (head.sizeBytes > maxUploadBytes) return `larger than ${maxUploadBytes / 1024 / 1024} MiB`
  // Asked first: a second upload of a large folder then sends names, not images.
  let standing = await to.head(target)
  if (standing !== null && standing.sizeBytes !== head.sizeBytes) throw changed(from, key)
  const bytes = await from.get(key)
  if (bytes === null) return 'not found'
  if (standing === null) {
    if ((await to.putIfAbsent(target, bytes)) === 'created') return 'created'
    standing = await to.head(target)
  }
  if (standing !== null && (await holds(to, standing, bytes))) return 'exists'
  throw changed(from, key)
}

/** Whether an object is these bytes; it is read only where the store has no word for what it holds. */
async function holds(
  store: ObjectStore,
  { key, sizeBytes, sha256, etag }: ObjectHead,
  bytes: Uint8Array,
): Promise<boolean> {
  if (sizeBytes !== bytes.length) return false
  if (sha256 !== undefined) return sha256 === sha256Hex(bytes)
  // The ETag of an object that was sent whole, unless a KMS key encrypts it.
  if (etag === hash('md5', bytes)) return true
  const there = await store.get(key)
  return there !== null && Buffer.compare(there, bytes) === 0
}

function changed({ uri }: ObjectStore, key: string): UserError {
  return new UserError(
    `${uri}${key} has changed since it was uploaded; what a run labels is never replaced, submit another run with --run NAME`,
  )
}
