// What a queue's message says: our envelope, an event of S3 or EventBridge, S3's test, or nothing we know.
// It does not know queues or stores, needs no SDK, and never throws for what a body holds.
import { posix } from 'node:path'
import { z } from 'zod'
import {
  BucketName,
  maxImagesPerMessage,
  maxWorkMessageBytes,
  messageText,
  ObjectKey,
  olderWorkMessageSchemas,
  RunId,
  type WorkImage,
  WorkMessage,
  workMessageSchema,
} from '../schemas/work-message.ts'
import type { TaskRole } from '../schemas/task-spec.ts'
import { skipReason } from './image-keys.ts'
import { parseJson } from './parse-json.ts'

/** One image that a run shall label. */
export type WorkRequest = WorkImage & {
  runId: string
  tasks?: readonly string[]
  role?: TaskRole
  stage?: number
}

export type QueueEvent =
  /**
   * `skipped` counts what an event tells us and we have nothing to do for: deletions, folders, our own output, and what
   * lies beside images, which a listing passes over too.
   */
  | { kind: 'work'; items: WorkRequest[]; skipped: number }
  | { kind: 'test' }
  | { kind: 'unknown'; reason: string }

/** EventBridge's own limit; no service sends us more. */
export const maxEventBytes = 256 * 1024

/** Images that an upload puts under `incoming/<runId>/` belong to that run. */
export const incomingPrefix = 'incoming/'
/**
 * Images whose run has a list that says what is asked of each lie here, under `<runId>/`: an event would ask for them
 * without it, so no event is work.
 */
export const listedPrefix = 'listed-uploads/'
/** Where runs are kept: an event about it is about our own output, and labelling that would never end. */
export const runsPrefix = 'runs/'

/** Reads any body of a queue. What cannot be understood comes back as `unknown` with the reason in a sentence. */
export function readQueueBody(body: string): QueueEvent {
  const sizeBytes = Buffer.byteLength(body)
  if (sizeBytes > maxEventBytes)
    return unknown(`the message has ${sizeBytes} bytes; at most ${maxEventBytes} are read`)
  const value = parseJson(body)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return unknown('the message is not a JSON object')
  if (Object.hasOwn(value, 'schema')) return readEnvelope(value, sizeBytes)
  if (TestEvent.safeParse(value).success) return { kind: 'test' }
  if (Object.hasOwn(value, 'Records')) return readNotification(value)
  if (Object.hasOwn(value, 'detail-type')) return readEventBridge(value)
  return unknown(`the message is neither ${workMessageSchema} nor an event of S3 or EventBridge`)
}

/** The bodies that ask for these images of one run and one set of tasks, each within its limits. */
export function writeWorkMessages(
  images: readonly WorkImage[],
  { runId, tasks, role, stage, planShard }: Omit<WorkMessage, 'schema' | 'items'>,
): string[] {
  const wrap = (items: readonly WorkImage[]) =>
    messageText({ schema: workMessageSchema, runId, items, tasks, role, stage, planShard })
  const frameBytes = Buffer.byteLength(wrap([]))
  const bodies: string[] = []
  let held: WorkImage[] = []
  let heldBytes = frameBytes
  for (const image of images) {
    const sizeBytes = Buffer.byteLength(messageText(image)) + 1
    const isFull = held.length === maxImagesPerMessage || heldBytes + sizeBytes > maxWorkMessageBytes
    if (isFull && held.length > 0) {
      bodies.push(wrap(held))
      held = []
      heldBytes = frameBytes
    }
    held.push(image)
    heldBytes += sizeBytes
  }
  if (held.length > 0) bodies.push(wrap(held))
  return bodies
}

function readEnvelope(value: object, sizeBytes: number): QueueEvent {
  if (sizeBytes > maxWorkMessageBytes)
    return unknown(`the message has ${sizeBytes} bytes; ours have at most ${maxWorkMessageBytes}`)
  const known: readonly unknown[] = [workMessageSchema, ...olderWorkMessageSchemas]
  if (!('schema' in value) || !known.includes(value.schema))
    return unknown(
      `the message's schema is ${show('schema' in value ? value.schema : null)}, expected ${workMessageSchema}`,
    )
  const parsed = WorkMessage.safeParse(value)
  if (!parsed.success)
    return unknown(`the message is no valid ${workMessageSchema}: ${firstIssue(parsed.error)}`)
  const { runId, items, tasks, role, stage } = parsed.data
  const asked = {
    ...(tasks === undefined ? {} : { tasks }),
    ...(role === undefined ? {} : { role }),
    ...(stage === undefined ? {} : { stage }),
  }
  return { kind: 'work', items: items.map((image) => ({ ...image, runId, ...asked })), skipped: 0 }
}

const TestEvent = z.object({ Event: z.literal('s3:TestEvent') })

const OptionalText = z.string().nullish()
const Notification = z.object({
  Records: z
    .array(
      z.object({
        eventSource: z.string(),
        eventVersion: z.string(),
        eventName: z.string(),
        s3: z.object({
          bucket: z.object({ name: BucketName }),
          object: z.object({
            key: z.string().min(1),
            size: z.number().nullish(),
            eTag: OptionalText,
            versionId: OptionalText,
          }),
        }),
      }),
    )
    .min(1),
})

function readNotification(value: object): QueueEvent {
  const parsed = Notification.safeParse(value)
  if (!parsed.success) return unknown(`the message is no event of S3: ${firstIssue(parsed.error)}`)
  const found: ObjectEvent[] = []
  for (const { eventSource, eventVersion, eventName, s3 } of parsed.data.Records) {
    if (eventSource !== 'aws:s3') return unknown(`the event is of ${show(eventSource)}, expected aws:s3`)
    if (!/^2\.\d+$/.test(eventVersion))
      return unknown(`the event is of version ${show(eventVersion)}, expected 2.x`)
    const key = decodeEventKey(s3.object.key)
    if (key === null)
      return unknown(`the key ${show(s3.object.key)} is not form-url-encoded UTF-8, as S3 writes keys`)
    const { size, eTag: etag, versionId } = s3.object
    found.push({
      isCreation: /^(s3:)?ObjectCreated:/.test(eventName),
      bucket: s3.bucket.name,
      key,
      sizeBytes: size,
      etag,
      versionId,
    })
  }
  return workOf(found)
}

/** S3 writes a space as `+` and everything else percent-encoded, so `+` goes first. Null when it is neither. */
export function decodeEventKey(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded.replaceAll('+', ' '))
  } catch {
    return null
  }
}

const EventBridgeEvent = z.object({
  'source': z.literal('aws.s3'),
  'detail-type': z.string(),
  'detail': z.object({
    bucket: z.object({ name: BucketName }),
    object: z.object({
      'key': z.string().min(1),
      'size': z.number().nullish(),
      'etag': OptionalText,
      'version-id': OptionalText,
    }),
  }),
})

/** EventBridge gives the key as it is, unlike S3's own notifications. */
function readEventBridge(value: object): QueueEvent {
  const parsed = EventBridgeEvent.safeParse(value)
  if (!parsed.success)
    return unknown(`the message is no event of S3 by EventBridge: ${firstIssue(parsed.error)}`)
  const { bucket, object } = parsed.data.detail
  const { key, size, etag, 'version-id': versionId } = object
  const isCreation = parsed.data['detail-type'] === 'Object Created'
  return workOf([{ isCreation, bucket: bucket.name, key, sizeBytes: size, etag, versionId }])
}

type ObjectEvent = {
  isCreation: boolean
  bucket: string
  key: string
  sizeBytes: number | null | undefined
  etag: string | null | undefined
  versionId: string | null | undefined
}

function workOf(found: readonly ObjectEvent[]): QueueEvent {
  const items: WorkRequest[] = []
  for (const event of found) {
    const { key } = event
    if (!event.isCreation || key.endsWith('/')) continue
    if (key.startsWith(runsPrefix) || key.startsWith(listedPrefix)) continue
    const problem = ObjectKey.safeParse(key).error
    if (problem !== undefined) return unknown(`the key ${show(key)} cannot be used: ${firstIssue(problem)}`)
    const runId = runOfKey(key)
    if (runId === null)
      return unknown(`the key ${show(key)} belongs to no run; expected ${incomingPrefix}<run>/<image>`)
    if (uploadSkipReason(key.slice(incomingPrefix.length + runId.length + 1)) !== null) continue
    items.push({ runId, bucket: event.bucket, key, ...versionOf(event) })
  }
  return { kind: 'work', items, skipped: found.length - items.length }
}

/**
 * Why an object put among a run's uploads is no work, by its key there; null when it is. Captions, notes and what file
 * managers leave are passed over, by the rule of listings. But a name without an extension may be an image: somebody put
 * just this object here, so its bytes decide.
 */
export function uploadSkipReason(key: string): 'hidden' | 'not an image by its extension' | null {
  const reason = skipReason(key)
  if (reason === 'hidden') return reason
  return reason === 'not an image by its extension' && posix.extname(key) !== '' ? reason : null
}

/** The run that an uploaded key names, or null. */
export function runOfKey(key: string): string | null {
  if (!key.startsWith(incomingPrefix)) return null
  const end = key.indexOf('/', incomingPrefix.length)
  const runId = RunId.safeParse(key.slice(incomingPrefix.length, Math.max(end, 0)))
  return runId.success && end < key.length - 1 ? runId.data : null
}

function versionOf({ sizeBytes, etag, versionId }: ObjectEvent): Partial<WorkImage> {
  return {
    ...(Number.isSafeInteger(sizeBytes) && (sizeBytes ?? -1) >= 0 ? { sizeBytes: sizeBytes ?? 0 } : {}),
    ...(etag ? { etag: etag.replace(/^"(.*)"$/, '$1') } : {}),
    // S3 says "null" for objects from before versions were switched on.
    ...(versionId && versionId !== 'null' ? { versionId } : {}),
  }
}

function unknown(reason: string): QueueEvent {
  return { kind: 'unknown', reason }
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]
  return `${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'invalid'}`.slice(0, 300)
}

/** Foreign text for a message: quoted, so that nothing in it can act, and short. */
function show(value: unknown): string {
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 100) : typeof value)
}
