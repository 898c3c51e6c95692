// Buckets and what is in them, as data. It does not know HTTP.
import type { Payload } from './payload.ts'
import { AwsError } from './wire.ts'

export type StoredObject = {
  bytes: Buffer
  /** With its quotes. */
  etag: string
  modifiedAtMs: number
  checksums: Payload['checksums']
  /** Whether `checksums` are of all bytes, not of the parts' checksums. */
  isWholeChecksum: boolean
  /** What the uploader said and gets back: content-type and its like, x-amz-meta-*. */
  headers: Record<string, string>
}

export type UploadPart = Pick<StoredObject, 'bytes' | 'etag' | 'checksums'>
export type Upload = { key: string; headers: Record<string, string>; parts: Map<number, UploadPart> }

export type NotificationRule = {
  id: string
  queueArn: string
  /** `s3:ObjectCreated:*`, `s3:ObjectCreated:Put` and their like. */
  events: string[]
  prefix: string
  suffix: string
}

export type Bucket = {
  name: string
  createdAtMs: number
  objects: Map<string, StoredObject>
  /** The objects' keys in order of their UTF-8 bytes. */
  sortedKeys: Buffer[]
  uploads: Map<string, Upload>
  rules: NotificationRule[]
}

export type S3State = {
  buckets: Map<string, Bucket>
  /** Grows with every change; orders events of one key. */ sequencer: number
}

export function newBucket(name: string, createdAtMs: number): Bucket {
  return { name, createdAtMs, objects: new Map(), sortedKeys: [], uploads: new Map(), rules: [] }
}

export function findBucket(state: S3State, name: string): Bucket {
  const bucket = state.buckets.get(name)
  if (bucket === undefined) throw new AwsError('NoSuchBucket', 'The specified bucket does not exist', 404)
  return bucket
}

export function findObject(bucket: Bucket, key: string): StoredObject {
  const object = bucket.objects.get(key)
  if (object === undefined) throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404)
  return object
}

export function putObject(bucket: Bucket, key: string, object: StoredObject): void {
  if (!bucket.objects.has(key))
    bucket.sortedKeys.splice(firstAtLeast(bucket, Buffer.from(key)), 0, Buffer.from(key))
  bucket.objects.set(key, object)
}

/** Whether there was one. */
export function deleteObject(bucket: Bucket, key: string): boolean {
  if (!bucket.objects.delete(key)) return false
  bucket.sortedKeys.splice(firstAtLeast(bucket, Buffer.from(key)), 1)
  return true
}

/** Keys from the first that is not before `from`, in order. */
export function* keysFrom(bucket: Bucket, from: Buffer): Generator<string> {
  for (let at = firstAtLeast(bucket, from); at < bucket.sortedKeys.length; at += 1)
    yield bucket.sortedKeys[at]?.toString() ?? ''
}

/** Index of the first key that is not before `key` in byte order. */
function firstAtLeast({ sortedKeys }: Bucket, key: Buffer): number {
  let low = 0
  let high = sortedKeys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const found = sortedKeys[middle]
    if (found !== undefined && Buffer.compare(found, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
