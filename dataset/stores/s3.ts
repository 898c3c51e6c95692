// An ObjectStore over S3 and what speaks its protocol. Creation is one PUT with `If-None-Match: *`.
// It does not know runs or records, nor that keys below its prefix have siblings.
import { hash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import {
  checkKey,
  defaultPageSize,
  type FetchedObject,
  maxKeyBytes,
  type ObjectHead,
  type ObjectStore,
} from './object-store.ts'
import type { AgedObject, ObjectSweeper } from './object-sweeper.ts'

export type S3StoreOptions = {
  bucket: string
  /** Put before every key, `runs/r1/`; empty or ending in a slash. */
  prefix?: string
  /** Left out, the SDK finds region and credentials where AWS tools keep them. */
  region?: string
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
  /** Another server that speaks S3. */
  endpoint?: string
  /** The bucket stands in the path instead of the host name; servers on loopback need it. */
  forcePathStyle?: boolean
}

/** Tries of the SDK for one request. */
const sdkAttempts = 3

/** Ours around them, for what the SDK does not retry: conflicts and torn bodies. */
const maxAttempts = 4

/** Keys of one DeleteObjects; the limit of S3. */
const maxKeysPerDelete = 1000

/** A connection that says nothing for so long is given up. */
const idleTimeoutMs = 60_000

/** Metadata that tells our own object apart after a response was lost. */
const putIdField = 'put-id'
/** Metadata, not S3's own checksum: of what a KMS key encrypts, that is told only to who may decrypt. */
const sha256Field = 'sha256'

type Context = { client: S3Client; bucket: string; prefix: string }

/**
 * Opens a bucket, or a prefix in one, as a store. Each of its calls throws UserError for a missing bucket or refused
 * credentials and RetryableError when the service stays busy.
 */
export function openS3Store(options: S3StoreOptions): ObjectStore & { close(): void } {
  const context = openContext(options)
  return {
    uri: storeUri(context),
    putIfAbsent: async (key, bytes) => await putIfAbsent(context, key, bytes),
    get: async (key) => (await getObject(context, key))?.bytes ?? null,
    getWithin: async (key, { maxBytes }) => await getObject(context, key, { maxBytes }),
    async getRange(key, { start, end }) {
      if (start < end)
        return (await getObject(context, key, { range: `bytes=${start}-${end - 1}` }))?.bytes ?? null
      return (await head(context, key)) === null ? null : new Uint8Array()
    },
    head: async (key) => await head(context, key),
    async list(page) {
      const { objects, next } = await list(context, page)
      return { objects: objects.map(({ modifiedAtMs: _, ...head }) => head), next }
    },
    close: () => context.client.destroy(),
  }
}

/** Opens the same place for sweeping; throws as the store does. */
export function openS3Sweeper(options: S3StoreOptions): ObjectSweeper & { close(): void } {
  const context = openContext(options)
  return {
    uri: storeUri(context),
    list: async (page) => await list(context, page),
    async remove(keys) {
      for (let at = 0; at < keys.length; at += maxKeysPerDelete)
        await removeBatch(context, keys.slice(at, at + maxKeysPerDelete))
    },
    close: () => context.client.destroy(),
  }
}

function openContext({ bucket, prefix = '', ...connection }: S3StoreOptions): Context {
  if (prefix !== '' && !prefix.endsWith('/'))
    throw new UserError(`the prefix "${prefix}" of bucket ${bucket} does not end in a slash; add one`)
  const client = new S3Client({
    ...connection,
    maxAttempts: sdkAttempts,
    requestHandler: { socketTimeout: idleTimeoutMs, connectionTimeout: 5000 },
  })
  return { client, bucket, prefix }
}

function storeUri({ bucket, prefix }: Context): string {
  return `s3://${bucket}/${prefix}`
}

/** In a bucket with versions the older ones stay until its lifecycle rule takes them. */
async function removeBatch(context: Context, keys: readonly string[]): Promise<void> {
  const Objects = keys.map((key) => ({ Key: fullKey(context, key) }))
  await retried(context, keys[0] ?? '', async () => {
    const { Errors = [] } = await context.client.send(
      new DeleteObjectsCommand({ Bucket: context.bucket, Delete: { Objects, Quiet: true } }),
    )
    const [first] = Errors
    if (first === undefined) return
    throw Object.assign(new Error(`${first.Key}: ${first.Message}; ${Errors.length} keys were not deleted`), {
      name: first.Code ?? 'Error',
    })
  })
}

/**
 * 412 means the key is taken. When an earlier try of ours may have taken it, its answer lost, the object's own
 * metadata says whose it is. 409 is a race that is still open: the same key and bytes again (aws docs, conditional writes).
 */
async function putIfAbsent(context: Context, key: string, bytes: Uint8Array): Promise<'created' | 'exists'> {
  const putId = randomUUID()
  const object = { Bucket: context.bucket, Key: fullKey(context, key) }
  // A Buffer over the same memory: the SDK warns of empty bodies that are not one.
  const Body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const Metadata = { [putIdField]: putId, [sha256Field]: hash('sha256', Body, 'hex') }
  let isUnsure = false
  return await retried(context, key, async () => {
    const command = new PutObjectCommand({ ...object, Body, Metadata, IfNoneMatch: '*' })
    try {
      await context.client.send(command)
      return 'created'
    } catch (error) {
      const wasRetried = isUnsure || attemptsOf(error) > 1
      isUnsure = true
      if (statusOf(error) !== 412) throw error
      if (!wasRetried) return 'exists'
      const { Metadata: found } = await context.client.send(new HeadObjectCommand(object))
      return found?.[putIdField] === putId ? 'created' : 'exists'
    }
  })
}

/** The whole object or a range of it; a body that tears is asked for again. */
async function getObject(
  context: Context,
  key: string,
  { range, maxBytes = Infinity }: { range?: string; maxBytes?: number } = {},
): Promise<FetchedObject | null> {
  const Key = fullKey(context, key)
  const wanted = { Bucket: context.bucket, Key, ...(range === undefined ? {} : { Range: range }) }
  return await retried(context, key, async () => {
    try {
      const { Body, ...found } = await context.client.send(new GetObjectCommand(wanted))
      if ((found.ContentLength ?? 0) > maxBytes) {
        // Not read to its end, so that the connection closes instead of carrying what nobody wants.
        if (Body !== undefined && 'destroy' in Body) Body.destroy()
        return { ...describe(key, found), bytes: null }
      }
      const bytes = new Uint8Array((await Body?.transformToByteArray()) ?? [])
      return { ...describe(key, found), bytes }
    } catch (error) {
      if (isMissing(error)) return null
      // The range begins behind the end: the object is there, and nothing of it is in the range.
      if (statusOf(error) === 416) return { key, sizeBytes: 0, bytes: new Uint8Array() }
      throw error
    }
  })
}

async function head(context: Context, key: string): Promise<ObjectHead | null> {
  const Key = fullKey(context, key)
  return await retried(context, key, async () => {
    try {
      return describe(key, await context.client.send(new HeadObjectCommand({ Bucket: context.bucket, Key })))
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  })
}

type FoundObject = {
  ContentLength?: number | undefined
  VersionId?: string | undefined
  ETag?: string | undefined
  Metadata?: Record<string, string> | undefined
}

function describe(key: string, { ContentLength = 0, VersionId, ETag, Metadata }: FoundObject): ObjectHead {
  const isVersioned = VersionId !== undefined && VersionId !== 'null'
  const sha256 = Metadata?.[sha256Field]
  return {
    key,
    sizeBytes: ContentLength,
    ...(isVersioned ? { versionId: VersionId } : {}),
    ...(ETag === undefined ? {} : { etag: unquoted(ETag) }),
    ...(sha256 === undefined ? {} : { sha256 }),
  }
}

/** Answers carry an ETag in quotes, events carry it without. */
function unquoted(etag: string): string {
  return etag.replace(/^"(.*)"$/, '$1')
}

/**
 * Folder markers (empty objects whose key ends in a slash) are left out, so a page may be shorter than its limit;
 * a page of nothing else is read past, for `next` names its last object.
 */
async function list(
  context: Context,
  { prefix, after, limit = defaultPageSize }: Parameters<ObjectStore['list']>[0],
): ReturnType<ObjectSweeper['list']> {
  let startAfter = after === undefined ? undefined : context.prefix + after
  for (;;) {
    const { keys, isTruncated } = await listPage(context, { prefix, startAfter, limit })
    const objects = keys
      .filter(({ key }) => !key.endsWith('/'))
      .map((object) => ({ ...object, key: object.key.slice(context.prefix.length) }))
    if (!isTruncated) return { objects, next: null }
    startAfter = keys.at(-1)?.key
    if (objects.length > 0) return { objects, next: startAfter?.slice(context.prefix.length) ?? null }
  }
}

type KeyPage = { keys: AgedObject[]; isTruncated: boolean }

/** One page of keys as the bucket has them, with the store's prefix. */
async function listPage(
  context: Context,
  { prefix, startAfter, limit }: { prefix: string; startAfter: string | undefined; limit: number },
): Promise<KeyPage> {
  return await retried(context, prefix, async () => {
    const page = await context.client.send(
      new ListObjectsV2Command({
        Bucket: context.bucket,
        Prefix: context.prefix + prefix,
        MaxKeys: limit,
        // Keys may hold characters that XML has no way to write.
        EncodingType: 'url',
        ...(startAfter === undefined ? {} : { StartAfter: startAfter }),
      }),
    )
    const keys = (page.Contents ?? []).map(({ Key = '', Size = 0, ETag, LastModified }) => ({
      key: decodeListed(Key),
      sizeBytes: Size,
      ...(ETag === undefined ? {} : { etag: unquoted(ETag) }),
      // What has no date counts as new, so nothing is deleted for want of one.
      modifiedAtMs: LastModified?.getTime() ?? Infinity,
    }))
    return { keys, isTruncated: page.IsTruncated === true && keys.length > 0 }
  })
}

function decodeListed(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}

function fullKey({ prefix }: Context, key: string): string {
  checkKey(key)
  const sizeBytes = Buffer.byteLength(prefix + key)
  if (sizeBytes <= maxKeyBytes) return prefix + key
  throw new UserError(
    `the key "${(prefix + key).slice(0, 80)}..." has ${sizeBytes} bytes, S3 takes ${maxKeyBytes}; shorten the prefix`,
  )
}

async function retried<T>(context: Context, key: string, act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await act()
    } catch (error) {
      const explained = explain(error, uriOfKey(context, key))
      if (!(explained instanceof RetryableError) || attempt === maxAttempts) throw explained
      await sleep(2 ** attempt * 25 * (0.5 + Math.random()))
    }
  }
}

/** Percent-encoded, so that whoever leaves URIs out of a log finds where this one ends. */
function uriOfKey({ bucket, prefix }: Context, key: string): string {
  return `s3://${bucket}/${(prefix + key).toWellFormed().split('/').map(encodeURIComponent).join('/')}`
}

function isMissing(error: unknown): boolean {
  // Not by status alone: a missing bucket is 404 too, and the user should hear of it.
  return error instanceof Error && (error.name === 'NoSuchKey' || error.name === 'NotFound')
}

/** Names of ours for what S3 has many of, or one name with something else. */
const refusedByKms = 'KMS.*'
const deniedByKms = 'AccessDenied by KMS'

/** S3 puts `KMS.` before what KMS says of the key. These pass, and are asked for again. */
const passingOfKms = /^KMS\..*(Throttling|LimitExceeded|Internal|Unavailable|Timeout)/

/** Whose sentence does not say it all. */
const quotedNames = new Set(['InvalidRequest', refusedByKms])

const mending: Readonly<Record<string, string>> = {
  NoSuchBucket: 'the bucket does not exist; check its name and region',
  AccessDenied: 'access is denied; where listing is not permitted a missing key reads the same',
  Forbidden: 'access is denied; check the credentials and the role',
  InvalidAccessKeyId: 'the access key is not known; check the credentials',
  SignatureDoesNotMatch: 'the signature is wrong; check the secret key',
  ExpiredToken: 'the credentials have expired; renew them',
  PermanentRedirect: 'the bucket is in another region; name its region',
  AuthorizationHeaderMalformed: "the region is not the bucket's; name its region",
  KeyTooLongError: 'the key is too long; shorten it',
  InvalidObjectState: 'the object is archived; restore it, or copy it to a class that can be read at once',
  InvalidRequest:
    'the request is refused; an object that is encrypted with a key of its owner (SSE-C) cannot be read, copy it to another encryption',
  [refusedByKms]:
    'its KMS key cannot be used; enable or restore the key, or copy the object to another encryption',
  [deniedByKms]:
    'decrypting with its KMS key (kms:Decrypt) is denied; allow it to the role, by kmsKeyArn of the source and the policy of the key',
  EntityTooLarge: 'the object is too large for one request; make smaller parts',
  CredentialsProviderError: 'no credentials were found; configure them as for the AWS CLI',
}

/** Turns an SDK error into one of ours. */
function explain(error: unknown, uri: string): Error {
  if (!(error instanceof Error)) return new InvariantError(`the SDK threw ${String(error)}`)
  if (error instanceof UserError || error instanceof InvariantError) return error
  const name = nameOf(error)
  const sentence = mending[name]
  const quote = quotedNames.has(name) ? `; S3 says ${error.name}: ${error.message}` : ''
  if (sentence !== undefined) return new UserError(`${uri}: ${sentence}${quote}`, { cause: error })
  return new RetryableError(`${uri}: ${error.name}: ${error.message}`, { cause: error })
}

/** What `mending` knows the error by. */
function nameOf(error: Error): string {
  const { name, message } = error
  if (passingOfKms.test(name)) return name
  if (name === 'KMS.AccessDeniedException' || (name === 'AccessDenied' && message.includes('kms:')))
    return deniedByKms
  if (name.startsWith('KMS.')) return refusedByKms
  // A HEAD has no body to name its error in; the SDK then names it by status, or not at all.
  return statusOf(error) === 403 && mending[name] === undefined ? 'Forbidden' : name
}

type SdkMetadata = { httpStatusCode?: unknown; attempts?: unknown }

function metadataOf(error: unknown): SdkMetadata {
  if (!(error instanceof Error) || !('$metadata' in error)) return {}
  const metadata = error.$metadata
  return typeof metadata === 'object' && metadata !== null ? metadata : {}
}

function statusOf(error: unknown): number {
  return Number(metadataOf(error).httpStatusCode ?? 0)
}

function attemptsOf(error: unknown): number {
  return Number(metadataOf(error).attempts ?? 1)
}
