// What every queue refuses before it tries. It does not know how messages are kept.
import { InvariantError, UserError } from '../../schemas/errors.ts'
import { maxBatchMessages, maxLeaseMs, maxMessageBytes } from './work-queue.ts'

/** The longest delay of a message that is sent; the service's own. */
export const maxDelayMs = 15 * 60 * 1000

/** The characters a message may hold: those XML 1.0 may, as the service says. */
const allowedText = /^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]+$/u

/** Throws UserError for a body no queue takes, InvariantError for too many of them or too long a delay. */
export function checkSend(bodies: readonly string[], delayMs: number): void {
  if (bodies.length > maxBatchMessages)
    throw new InvariantError(`${bodies.length} messages in one send; expected at most ${maxBatchMessages}`)
  checkSpan({ name: 'delay', valueMs: delayMs, limitMs: maxDelayMs })
  for (const body of bodies) checkBody(body)
}

/** Throws InvariantError unless the lease is of a length the service has. */
export function checkLeaseMs(leaseMs: number): void {
  checkSpan({ name: 'lease', valueMs: leaseMs, limitMs: maxLeaseMs })
}

function checkSpan({ name, valueMs, limitMs }: { name: string; valueMs: number; limitMs: number }): void {
  if (valueMs >= 0 && valueMs <= limitMs) return
  throw new InvariantError(`a ${name} of ${valueMs} ms; expected 0 to ${limitMs}`)
}

function checkBody(body: string): void {
  const sizeBytes = Buffer.byteLength(body)
  if (sizeBytes > maxMessageBytes)
    throw new UserError(
      `a message of ${sizeBytes} bytes is over the queue's limit of ${maxMessageBytes}; put fewer images into one message`,
    )
  if (!allowedText.test(body))
    throw new UserError(
      `the message ${JSON.stringify(body.slice(0, 80))} is empty or holds characters that queues refuse; send JSON with control characters escaped`,
    )
}
