// What a worker says of itself, as lines of JSON: never a caption, a prompt or an image's key. It does not know where
// the lines go.
import { createHash } from 'node:crypto'
import type { WorkerEvent } from '../pipeline/worker-loop.ts'

export type Log = (fields: { event: string; [field: string]: unknown }) => void

/** Each call writes one line. */
export function openLog(write: (line: string) => void): Log {
  return (fields) => write(JSON.stringify({ at: new Date().toISOString(), ...fields }))
}

/** One line for each part and each message that did not end well; none for an image. */
export function logEvent(log: Log, event: WorkerEvent): void {
  switch (event.kind) {
    case 'part':
      return log({ event: 'part', runId: event.runId, part: event.key, records: event.records })
    case 'released':
      return log({
        event: 'released',
        message: hashed(event.messageId),
        reason: event.reason,
        runId: event.runId,
        delayMs: event.delayMs,
      })
    case 'renewed':
      return log({ event: 'renewed', message: hashed(event.messageId), delayMs: event.delayMs })
    case 'cancelled':
      return log({
        event: 'cancelled',
        message: hashed(event.messageId),
        images: event.images,
        runIds: event.runIds,
      })
    case 'split':
      return log({ event: 'split', message: hashed(event.messageId), into: event.into })
    case 'lease-lost':
    case 'ack-failed':
      return log({ event: event.kind, message: hashed(event.messageId), heldMs: event.heldMs })
    case 'queue-error':
      return log({ event: 'queue-error', error: describeError(event.error) })
    case 'acked':
    case 'image':
    case 'received':
      return undefined
  }
}

/** An error's message without the keys that URIs and paths in it would give away. */
export function describeError(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return text
    .replaceAll(
      /\b(s3|file|memory):\/\/[^\s"]+/g,
      (uri) => `${uri.slice(0, uri.indexOf(':'))}:#${hashed(uri)}`,
    )
    .replaceAll(/(['"])\/.*\1/gs, (path) => `path:#${hashed(path)}`)
}

function hashed(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}
