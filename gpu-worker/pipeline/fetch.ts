// Reading one image's bytes from its source; what goes wrong is a value. It does not know formats or models.
import { type ImageIdentity, unreadIdentity } from '../../dataset/identity.ts'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import {
  keyProblem,
  type ObjectHead,
  objectUri,
  type ObjectStore,
} from '../../dataset/stores/object-store.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import type { Failure } from '../../schemas/failure.ts'

/** What whoever asked for the image knows of it. */
export type KnownVersion = { versionId?: string | undefined; etag?: string | undefined }

export type FetchedImage = {
  uri: string
  identity: ImageIdentity
  sizeBytes: number | null
  versionId?: string
  fetchMs: number
} & ({ ok: true; bytes: Buffer } | { ok: false; failure: Failure })

/**
 * Reads and hashes an image. Bytes that cannot be read, or that are too many to be read, get an identity
 * from where they should have been. Throws RetryableError, and UserError for what is wrong with the whole store.
 */
export async function fetchImage(
  store: ObjectStore,
  { key, maxBytes, known = {} }: { key: string; maxBytes: number; known?: KnownVersion },
): Promise<FetchedImage> {
  const startMs = performance.now()
  const uri = objectUri(store, key)
  const unread = (failure: Failure, head?: ObjectHead): FetchedImage => ({
    ok: false,
    failure,
    uri,
    identity: unreadIdentity({
      uri,
      versionId: head?.versionId ?? known.versionId,
      etag: head?.etag ?? known.etag,
      sizeBytes: head?.sizeBytes,
    }),
    sizeBytes: head?.sizeBytes ?? null,
    fetchMs: performance.now() - startMs,
  })
  const problem = keyProblem(key)
  if (problem !== null) return unread({ code: 'source-unreadable', message: `the key ${problem}` })
  try {
    const found = await store.getWithin(key, { maxBytes })
    if (found === null)
      return unread({
        code: 'source-not-found',
        message: `there is no file ${key} in the source; it was removed or is a link that leads out of it`,
      })
    const { bytes, sizeBytes, versionId } = found
    if (bytes === null) {
      const message = `the file has ${sizeBytes} bytes; at most ${maxBytes} are read`
      return unread({ code: 'image-too-large', message }, found)
    }
    return {
      ok: true,
      bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      uri,
      identity: { sha256: sha256Hex(bytes) },
      sizeBytes: bytes.length,
      ...(versionId === undefined ? {} : { versionId }),
      fetchMs: performance.now() - startMs,
    }
  } catch (error) {
    const failure = describeReadError(error)
    // A missing bucket or expired credentials say nothing of this image, and would fail every other one as well.
    if ((error instanceof UserError && !isAboutOneObject(error)) || error instanceof RetryableError)
      throw error
    return unread(failure)
  }
}

/** What disks and S3 say when one file or object may not be read. */
const denials = /^(EACCES|EPERM|AccessDenied|AllAccessDisabled|Forbidden|KMS\.AccessDeniedException)$/

/**
 * What S3 says of an object that lies in an archive, as Glacier; that is encrypted with a key of its owner; or whose KMS
 * key is disabled or gone. Others of its bucket need not.
 */
const unreadable = /^(InvalidObjectState|InvalidRequest|KMS\..+)$/

/** Whether an error says only that this one object cannot be read, as it may be for no other of its store. */
export function isAboutOneObject(error: unknown): boolean {
  return isNamed(denials, error) || isNamed(unreadable, error)
}

function isNamed(pattern: RegExp, error: unknown): boolean {
  const cause = error instanceof UserError ? error.cause : error
  if (!(cause instanceof Error)) return false
  return pattern.test(cause.name) || ('code' in cause && pattern.test(String(cause.code)))
}

function describeReadError(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error)
  if (isNamed(denials, error))
    return { code: 'source-denied', message: `reading is not permitted: ${message}` }
  return { code: 'source-unreadable', message: `reading failed: ${message}` }
}
