// Multipart uploads: parts are kept apart until they are completed into one object. It does not know HTTP.
import { randomUUID } from 'node:crypto'
import { checksumNames, checksumOf, type Payload } from './payload.ts'
import type { Bucket, StoredObject, Upload } from './s3-state.ts'
import { AwsError, hashHex } from './wire.ts'
import { childrenOf, childText, type XmlElement } from './xml.ts'

/** Every part but the last has at least so many bytes; S3's own limit. */
const minPartBytes = 5 * 1024 * 1024
const maxPartNumber = 10_000

/** Opens an upload and returns its id. */
export function createUpload(bucket: Bucket, key: string, headers: Record<string, string>): string {
  const uploadId = randomUUID()
  bucket.uploads.set(uploadId, { key, headers, parts: new Map() })
  return uploadId
}

export function findUpload(bucket: Bucket, key: string, uploadId: string): Upload {
  const upload = bucket.uploads.get(uploadId)
  if (upload === undefined || upload.key !== key)
    throw new AwsError('NoSuchUpload', 'The specified multipart upload does not exist.', 404)
  return upload
}

/** Keeps a part, in place of an earlier one of its number; returns its ETag. */
export function putPart(upload: Upload, partNumber: number, { bytes, checksums }: Payload): string {
  if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > maxPartNumber)
    throw new AwsError(
      'InvalidArgument',
      `Part number must be an integer between 1 and ${maxPartNumber}, inclusive`,
    )
  const etag = `"${hashHex('md5', bytes)}"`
  upload.parts.set(partNumber, { bytes, etag, checksums })
  return etag
}

/** Joins the parts a CompleteMultipartUpload names. Throws AwsError for wrong, small or unordered parts. */
export function joinParts(upload: Upload, root: XmlElement, nowMs: number): StoredObject {
  const named = childrenOf(root, 'Part').map((part) => ({
    number: Number(childText(part, 'PartNumber')),
    etag: (childText(part, 'ETag') ?? '').replaceAll('"', ''),
  }))
  if (named.length === 0) throw new AwsError('MalformedXML', 'You must specify at least one part')
  if (named.some(({ number }, index) => number <= (named[index - 1]?.number ?? 0)))
    throw new AwsError('InvalidPartOrder', 'The list of parts was not in ascending order.')
  const parts = named.map(({ number, etag }, index) => {
    const part = upload.parts.get(number)
    if (part === undefined || part.etag !== `"${etag}"`)
      throw new AwsError('InvalidPart', 'One or more of the specified parts could not be found.')
    if (index < named.length - 1 && part.bytes.length < minPartBytes)
      throw new AwsError('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size')
    return part
  })
  const digests = Buffer.concat(parts.map(({ etag }) => Buffer.from(etag.replaceAll('"', ''), 'hex')))
  const bytes = Buffer.concat(parts.map((part) => part.bytes))
  return {
    bytes,
    etag: `"${hashHex('md5', digests)}-${parts.length}"`,
    modifiedAtMs: nowMs,
    checksums: compositeChecksums(
      parts.map(({ checksums }) => checksums),
      bytes,
    ),
    isWholeChecksum: false,
    headers: upload.headers,
  }
}

/**
 * A checksum that every part has gives one of the whole: the checksum of their bytes in a row, and their number.
 * Only CRC64NVME is always that of the object's own bytes.
 */
function compositeChecksums(parts: Payload['checksums'][], bytes: Buffer): Payload['checksums'] {
  const composite: Payload['checksums'] = {}
  for (const name of checksumNames) {
    const values = parts.flatMap((checksums) => checksums[name] ?? [])
    if (values.length < parts.length) continue
    if (name === 'crc64nvme') {
      composite[name] = checksumOf(name, bytes)
      continue
    }
    const raw = Buffer.concat(values.map((value) => Buffer.from(value, 'base64')))
    composite[name] = `${checksumOf(name, raw)}-${parts.length}`
  }
  return composite
}
