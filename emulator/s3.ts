// The S3 operations we use, over a wire request. It does not know sockets, signatures or queues.
import type { Clock } from '../dataset/queues/clock.ts'
import type { FaultTarget } from './faults.ts'
import { readPayload } from './payload.ts'
import { matchingRules, objectEvent, readRules, testEvent, writeRules } from './s3-events.ts'
import { listObjects } from './s3-list.ts'
import { createUpload, findUpload, joinParts, putPart } from './s3-multipart.ts'
import {
  deleteObject,
  findBucket,
  findObject,
  newBucket,
  putObject,
  type Bucket,
  type S3State,
  type StoredObject,
} from './s3-state.ts'
import { AwsError, decodePercent, hashHex, queryValue, type WireRequest, type WireResponse } from './wire.ts'
import { childrenOf, childText, parseXml, writeXml } from './xml.ts'

export type S3Context = {
  state: S3State
  clock: Clock
  region: string
  /** Hands an event to a queue; throws AwsError where there is none. */
  notify: (event: { queueArn: string; body: string; name: string; bucket: string; key: string }) => void
  /** Throws AwsError unless a notification can go there. */
  checkTarget: (queueArn: string) => void
}

export type S3Call = Omit<FaultTarget, 'service' | 'sequence'>
type Operation = (context: S3Context, request: WireRequest, call: S3Call) => WireResponse

const maxKeyBytes = 1024

/** Headers of an upload that come back with the object. */
const keptHeaders =
  /^(content-type|content-encoding|content-disposition|content-language|cache-control|x-amz-meta-.*)$/

/** Which operation a request is, by its path, method and query. */
export function readS3Call(request: WireRequest): S3Call {
  const [, bucket = '', rest = ''] = /^\/([^/]*)\/?(.*)$/s.exec(request.rawPath) ?? []
  const name = decodePercent(bucket)
  const key = decodePercent(rest)
  if (Buffer.byteLength(key) > maxKeyBytes) throw new AwsError('KeyTooLongError', 'Your key is too long')
  const level = name === '' ? 'service' : key === '' ? 'bucket' : 'object'
  const has = (parameter: string) => queryValue(request, parameter) !== undefined
  const route = routes.find(
    ({ on, method, query }) => on === level && method === request.method && query.every(has),
  )
  if (route === undefined || 'x-amz-copy-source' in request.headers)
    throw new AwsError('NotImplemented', `${request.method} of that is not implemented by the emulator.`, 501)
  const prefix = queryValue(request, 'prefix')
  const ifNoneMatch = request.headers['if-none-match']
  return {
    operation: route.operation,
    name,
    key,
    ...(prefix === undefined ? {} : { prefix }),
    ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
  }
}

/** Does what the call says. Throws AwsError. */
export function callS3(context: S3Context, request: WireRequest, call: S3Call): WireResponse {
  const operation = operations[call.operation]
  if (operation === undefined) throw new AwsError('NotImplemented', call.operation, 501)
  return operation(context, request, call)
}

type Route = { operation: string; on: 'service' | 'bucket' | 'object'; method: string; query: string[] }

/** The first that fits; those with more query parameters stand first. */
const routes: readonly Route[] = [
  { operation: 'ListBuckets', on: 'service', method: 'GET', query: [] },
  { operation: 'PutBucketNotificationConfiguration', on: 'bucket', method: 'PUT', query: ['notification'] },
  { operation: 'GetBucketNotificationConfiguration', on: 'bucket', method: 'GET', query: ['notification'] },
  { operation: 'ListObjectsV2', on: 'bucket', method: 'GET', query: ['list-type'] },
  { operation: 'DeleteObjects', on: 'bucket', method: 'POST', query: ['delete'] },
  { operation: 'CreateBucket', on: 'bucket', method: 'PUT', query: [] },
  { operation: 'HeadBucket', on: 'bucket', method: 'HEAD', query: [] },
  { operation: 'DeleteBucket', on: 'bucket', method: 'DELETE', query: [] },
  { operation: 'CreateMultipartUpload', on: 'object', method: 'POST', query: ['uploads'] },
  { operation: 'UploadPart', on: 'object', method: 'PUT', query: ['partNumber', 'uploadId'] },
  { operation: 'CompleteMultipartUpload', on: 'object', method: 'POST', query: ['uploadId'] },
  { operation: 'AbortMultipartUpload', on: 'object', method: 'DELETE', query: ['uploadId'] },
  { operation: 'PutObject', on: 'object', method: 'PUT', query: [] },
  { operation: 'GetObject', on: 'object', method: 'GET', query: [] },
  { operation: 'HeadObject', on: 'object', method: 'HEAD', query: [] },
  { operation: 'DeleteObject', on: 'object', method: 'DELETE', query: [] },
]

const operations: Readonly<Record<string, Operation>> = {
  ListBuckets: ({ state }) => {
    const Bucket = [...state.buckets.values()].map(({ name, createdAtMs }) => ({
      Name: name,
      CreationDate: new Date(createdAtMs).toISOString(),
    }))
    return xml('ListAllMyBucketsResult', { Buckets: { Bucket } })
  },
  CreateBucket: ({ state, clock }, _request, { name }) => {
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name))
      throw new AwsError('InvalidBucketName', 'The specified bucket is not valid.')
    if (state.buckets.has(name))
      throw new AwsError('BucketAlreadyOwnedByYou', 'Your previous request to create it succeeded.', 409)
    state.buckets.set(name, newBucket(name, clock.nowMs()))
    return { status: 200, headers: { location: `/${name}` } }
  },
  HeadBucket: ({ state, region }, _request, { name }) => {
    findBucket(state, name)
    return { status: 200, headers: { 'x-amz-bucket-region': region } }
  },
  DeleteBucket: ({ state }, _request, { name }) => {
    if (findBucket(state, name).objects.size > 0)
      throw new AwsError('BucketNotEmpty', 'The bucket you tried to delete is not empty', 409)
    state.buckets.delete(name)
    return { status: 204 }
  },
  PutBucketNotificationConfiguration: putNotification,
  GetBucketNotificationConfiguration: ({ state }, _request, { name }) =>
    xml('NotificationConfiguration', writeRules(findBucket(state, name).rules)),
  ListObjectsV2: ({ state }, request, { name }) =>
    xml('ListBucketResult', listObjects(findBucket(state, name), request)),
  DeleteObjects: deleteObjects,
  PutObject: putWhole,
  GetObject: getObject,
  HeadObject: getObject,
  DeleteObject: (context, _request, { name, key }) => {
    removeObject(context, findBucket(context.state, name), key)
    return { status: 204 }
  },
  CreateMultipartUpload: ({ state }, request, { name, key }) => {
    const uploadId = createUpload(findBucket(state, name), key, keptOf(request))
    return xml('InitiateMultipartUploadResult', { Bucket: name, Key: key, UploadId: uploadId })
  },
  UploadPart: ({ state }, request, { name, key }) => {
    const upload = findUpload(findBucket(state, name), key, queryValue(request, 'uploadId') ?? '')
    const payload = readPayload(request)
    const etag = putPart(upload, Number(queryValue(request, 'partNumber')), payload)
    return { status: 200, headers: { etag, ...checksumHeaders(payload.checksums) } }
  },
  CompleteMultipartUpload: completeUpload,
  AbortMultipartUpload: ({ state }, request, { name, key }) => {
    const bucket = findBucket(state, name)
    const uploadId = queryValue(request, 'uploadId') ?? ''
    findUpload(bucket, key, uploadId)
    bucket.uploads.delete(uploadId)
    return { status: 204 }
  },
}

function putWhole(context: S3Context, request: WireRequest, { name, key }: S3Call): WireResponse {
  const bucket = findBucket(context.state, name)
  const { bytes, checksums } = readPayload(request)
  checkWriteConditions(bucket, key, request)
  const object: StoredObject = {
    bytes,
    etag: `"${hashHex('md5', bytes)}"`,
    modifiedAtMs: context.clock.nowMs(),
    checksums,
    isWholeChecksum: true,
    headers: keptOf(request),
  }
  storeObject(context, { bucket, key, object, event: 'ObjectCreated:Put' })
  return { status: 200, headers: { etag: object.etag, ...checksumHeaders(checksums) } }
}

function completeUpload(context: S3Context, request: WireRequest, { name, key }: S3Call): WireResponse {
  const bucket = findBucket(context.state, name)
  const uploadId = queryValue(request, 'uploadId') ?? ''
  const upload = findUpload(bucket, key, uploadId)
  checkWriteConditions(bucket, key, request)
  const object = joinParts(upload, parseXml(readPayload(request).bytes.toString()), context.clock.nowMs())
  bucket.uploads.delete(uploadId)
  storeObject(context, { bucket, key, object, event: 'ObjectCreated:CompleteMultipartUpload' })
  return xml('CompleteMultipartUploadResult', { Bucket: name, Key: key, ETag: object.etag })
}

/** GET and HEAD; the caller drops the body of a HEAD. */
function getObject({ state }: S3Context, request: WireRequest, { name, key }: S3Call): WireResponse {
  const object = findObject(findBucket(state, name), key)
  const base = {
    ...object.headers,
    'etag': object.etag,
    'last-modified': new Date(object.modifiedAtMs).toUTCString(),
    'accept-ranges': 'bytes',
  }
  const ifMatch = request.headers['if-match']
  if (ifMatch !== undefined && !namesEtag(ifMatch, object.etag)) throw preconditionFailed()
  const ifNoneMatch = request.headers['if-none-match']
  if (ifNoneMatch !== undefined && namesEtag(ifNoneMatch, object.etag)) return { status: 304, headers: base }
  const range = readRange(request.headers['range'], object.bytes.length)
  if (range === null) {
    const wantsChecksum = request.headers['x-amz-checksum-mode']?.toUpperCase() === 'ENABLED'
    return {
      status: 200,
      headers: {
        ...base,
        ...(wantsChecksum ? checksumHeaders(object.checksums, object.isWholeChecksum) : {}),
      },
      body: object.bytes,
    }
  }
  const { start, end } = range
  return {
    status: 206,
    headers: { ...base, 'content-range': `bytes ${start}-${end - 1}/${object.bytes.length}` },
    body: object.bytes.subarray(start, end),
  }
}

function deleteObjects(context: S3Context, request: WireRequest, { name }: S3Call): WireResponse {
  const bucket = findBucket(context.state, name)
  const { bytes, checksums } = readPayload(request)
  if (Object.keys(checksums).length === 0 && request.headers['content-md5'] === undefined)
    throw new AwsError('InvalidRequest', 'Missing required header for this request: Content-MD5')
  const root = parseXml(bytes.toString())
  const keys = childrenOf(root, 'Object').map((object) => childText(object, 'Key') ?? '')
  if (keys.length === 0 || keys.length > 1000) throw new AwsError('MalformedXML', 'Name 1 to 1000 objects.')
  for (const key of keys) removeObject(context, bucket, key)
  const isQuiet = childText(root, 'Quiet') === 'true'
  return xml('DeleteResult', { Deleted: isQuiet ? [] : keys.map((key) => ({ Key: key })) })
}

function putNotification(context: S3Context, request: WireRequest, { name }: S3Call): WireResponse {
  const bucket = findBucket(context.state, name)
  const rules = readRules(parseXml(readPayload(request).bytes.toString()))
  for (const { queueArn } of rules) context.checkTarget(queueArn)
  bucket.rules = rules
  const body = testEvent(bucket, context.clock.nowMs())
  for (const queueArn of new Set(rules.map((rule) => rule.queueArn)))
    context.notify({ queueArn, body, name: 's3:TestEvent', bucket: name, key: '' })
  return { status: 200 }
}

type Change = { bucket: Bucket; key: string; object: StoredObject | undefined; event: string }

function storeObject(context: S3Context, change: Change & { object: StoredObject }): void {
  putObject(change.bucket, change.key, change.object)
  sendEvents(context, change)
}

function removeObject(context: S3Context, bucket: Bucket, key: string): void {
  if (deleteObject(bucket, key))
    sendEvents(context, { bucket, key, object: undefined, event: 'ObjectRemoved:Delete' })
}

function sendEvents({ state, clock, region, notify }: S3Context, change: Change): void {
  const { bucket, key, event } = change
  state.sequencer += 1
  for (const rule of matchingRules(bucket.rules, { event, key })) {
    const body = objectEvent({ ...change, rule, sequencer: state.sequencer, nowMs: clock.nowMs(), region })
    notify({ queueArn: rule.queueArn, body, name: event, bucket: bucket.name, key })
  }
}

/** `If-None-Match: *` asks for a free key, `If-Match` for these very bytes; nothing else is permitted on writes. */
function checkWriteConditions(bucket: Bucket, key: string, request: WireRequest): void {
  const ifNoneMatch = request.headers['if-none-match']
  const ifMatch = request.headers['if-match']
  if (ifNoneMatch !== undefined && ifNoneMatch !== '*')
    throw new AwsError(
      'NotImplemented',
      'A header you provided implies functionality that is not implemented',
      501,
    )
  if (ifNoneMatch === '*' && bucket.objects.has(key)) throw preconditionFailed()
  if (ifMatch !== undefined && !namesEtag(ifMatch, findObject(bucket, key).etag)) throw preconditionFailed()
}

function namesEtag(header: string, etag: string): boolean {
  return (
    header === '*' ||
    header.split(',').some((text) => text.trim().replaceAll('"', '') === etag.replaceAll('"', ''))
  )
}

function preconditionFailed(): AwsError {
  return new AwsError(
    'PreconditionFailed',
    'At least one of the pre-conditions you specified did not hold',
    412,
  )
}

/** [start, end), or null where all bytes are wanted: no header, or one that S3 ignores. */
function readRange(header: string | undefined, sizeBytes: number): { start: number; end: number } | null {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return null
  const start = first === '' ? Math.max(0, sizeBytes - Number(last)) : Number(first)
  const end = first === '' || last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1)
  if (first !== '' && last !== '' && Number(last) < start) return null
  if (start >= sizeBytes) throw new AwsError('InvalidRange', 'The requested range is not satisfiable', 416)
  return { start, end }
}

function keptOf(request: WireRequest): Record<string, string> {
  const kept = Object.entries(request.headers).filter(([name]) => keptHeaders.test(name))
  const headers = Object.fromEntries(kept)
  // aws-chunked is how the body came, not what the object is.
  const encoding = (headers['content-encoding'] ?? '')
    .split(',')
    .filter((name) => name.trim() !== 'aws-chunked')
  delete headers['content-encoding']
  return encoding.join('') === '' ? headers : { ...headers, 'content-encoding': encoding.join(',') }
}

function checksumHeaders(checksums: StoredObject['checksums'], isWhole = true): Record<string, string> {
  const entries = Object.entries(checksums).map(([name, value]) => [`x-amz-checksum-${name}`, value])
  if (entries.length === 0) return {}
  return { ...Object.fromEntries(entries), 'x-amz-checksum-type': isWhole ? 'FULL_OBJECT' : 'COMPOSITE' }
}

function xml(root: string, tree: Parameters<typeof writeXml>[1]): WireResponse {
  return { status: 200, headers: { 'content-type': 'application/xml' }, body: writeXml(root, tree) }
}
