// Images of this machine go up into a bucket, each once, under a prefix. It does not know runs or plans.
import { UserError } from '../schemas/errors.ts'
import type { ImageSource } from './ingest.ts'
import { maxKeyBytes, type ObjectStore } from './stores/object-store.ts'

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
 * Uploads what is not there yet. Throws UserError for a file that is there with another size: what was uploaded is
 * never replaced.
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
  const standing = await to.head(target)
  if (standing === null) {
    const bytes = await from.get(key)
    if (bytes === null) return 'not found'
    if ((await to.putIfAbsent(target, bytes)) === 'created') return 'created'
  }
  const sizeBytes = (standing ?? (await to.head(target)))?.sizeBytes
  if (sizeBytes === head.sizeBytes) return 'exists'
  throw new UserError(
    `${from.uri}${key} has ${head.sizeBytes} bytes, what was uploaded before has ${sizeBytes}; ` +
      'what a run labels is never replaced, submit another run with --run NAME',
  )
}
