// One standard queue of SQS as data: visibility, receipts, dead letters. It does not know JSON or HTTP.
import { randomUUID } from 'node:crypto'
import { AwsError } from './wire.ts'

export type QueueMessage = {
  messageId: string
  body: string
  groupId: string | undefined
  sentAtMs: number
  firstReceivedAtMs: number | undefined
  /** When the current delivery began; its visibility ends at most 12 hours later. */
  receivedAtMs: number
  visibleAtMs: number
  receiveCount: number
  /** The newest delivery's handle. */
  receipt: string | undefined
}

export type Queue = {
  name: string
  arn: string
  /** As CreateQueue and SetQueueAttributes give them. */
  attributes: Record<string, string>
  createdAtMs: number
  messages: Map<string, QueueMessage>
  /** Fires when a message may have become visible before its time. */
  changed: AbortController
}

const maxVisibilityMs = 12 * 60 * 60 * 1000

const defaultAttributes: Readonly<Record<string, string>> = {
  VisibilityTimeout: '30',
  DelaySeconds: '0',
  ReceiveMessageWaitTimeSeconds: '0',
  MessageRetentionPeriod: '345600',
  MaximumMessageSize: '1048576',
}

export function newQueue({
  name,
  arn,
  attributes,
  nowMs,
}: Pick<Queue, 'name' | 'arn' | 'attributes'> & { nowMs: number }): Queue {
  return {
    name,
    arn,
    attributes: { ...defaultAttributes, ...attributes },
    createdAtMs: nowMs,
    messages: new Map(),
    changed: new AbortController(),
  }
}

/** An attribute that is a number of seconds. */
export function secondsOf(queue: Queue, name: string): number {
  return Number(queue.attributes[name] ?? 0)
}

export function addMessage(
  queue: Queue,
  {
    body,
    delaySeconds,
    groupId,
    nowMs,
  }: { body: string; delaySeconds: number; groupId?: string | undefined; nowMs: number },
): string {
  const messageId = randomUUID()
  queue.messages.set(messageId, {
    messageId,
    body,
    groupId,
    sentAtMs: nowMs,
    firstReceivedAtMs: undefined,
    receivedAtMs: 0,
    visibleAtMs: nowMs + delaySeconds * 1000,
    receiveCount: 0,
    receipt: undefined,
  })
  wakeReceivers(queue)
  return messageId
}

export type Take = {
  nowMs: number
  max: number
  visibilitySeconds: number
  /** Fault: what is handed out stays visible. */
  isDuplicate?: boolean
  /** Fault: the newest first. */
  isReordered?: boolean
  findDeadLetters: (arn: string) => Queue | undefined
}

/** Hands out visible messages; those received often enough go to the dead letters instead. */
export function takeMessages(queue: Queue, take: Take): QueueMessage[] {
  const { nowMs, max, visibilitySeconds, isDuplicate = false, isReordered = false } = take
  const redrive = readRedrivePolicy(queue)
  const retentionMs = secondsOf(queue, 'MessageRetentionPeriod') * 1000
  const taken: QueueMessage[] = []
  for (const message of isReordered ? [...queue.messages.values()].toReversed() : queue.messages.values()) {
    if (taken.length === max) break
    if (message.visibleAtMs > nowMs) continue
    if (nowMs - message.sentAtMs > retentionMs) {
      queue.messages.delete(message.messageId)
      continue
    }
    const deadLetters = redrive === null ? undefined : take.findDeadLetters(redrive.arn)
    if (redrive !== null && deadLetters !== undefined && message.receiveCount >= redrive.maxReceives) {
      bury(queue, message, deadLetters)
      continue
    }
    message.receiveCount += 1
    message.firstReceivedAtMs ??= nowMs
    message.receivedAtMs = nowMs
    message.visibleAtMs = isDuplicate ? nowMs : nowMs + visibilitySeconds * 1000
    message.receipt = Buffer.from(`${message.messageId} ${randomUUID()}`).toString('base64')
    taken.push({ ...message })
  }
  return taken
}

/** A late handle deletes while nobody else has the message; afterwards it succeeds and deletes nothing (SQS docs). */
export function deleteMessage(queue: Queue, receipt: string): void {
  const message = queue.messages.get(messageIdOf(receipt))
  if (message?.receipt === receipt) queue.messages.delete(message.messageId)
}

export function changeVisibility(
  queue: Queue,
  { receipt, visibilitySeconds, nowMs }: { receipt: string; visibilitySeconds: number; nowMs: number },
): void {
  const message = queue.messages.get(messageIdOf(receipt))
  if (message === undefined)
    throw invalidReceipt(receipt, 'Message does not exist or is not available for visibility timeout change')
  if (message.visibleAtMs <= nowMs)
    throw new AwsError('MessageNotInflight', `${receipt.slice(0, 20)} does not refer to a message in flight.`)
  if (message.receipt !== receipt) throw invalidReceipt(receipt, 'The receipt handle has expired')
  const visibleAtMs = nowMs + visibilitySeconds * 1000
  if (visibleAtMs > message.receivedAtMs + maxVisibilityMs)
    throw new AwsError(
      'InvalidParameterValue',
      'Total VisibilityTimeout for the message is beyond the limit [43200 seconds]',
    )
  message.visibleAtMs = visibleAtMs
  wakeReceivers(queue)
}

export function countMessages(
  queue: Queue,
  nowMs: number,
): { visible: number; inFlight: number; delayed: number } {
  const counts = { visible: 0, inFlight: 0, delayed: 0 }
  for (const { visibleAtMs, receiveCount } of queue.messages.values()) {
    if (visibleAtMs <= nowMs) counts.visible += 1
    else if (receiveCount > 0) counts.inFlight += 1
    else counts.delayed += 1
  }
  return counts
}

/** Milliseconds until the next message becomes visible. */
export function untilVisible(queue: Queue, nowMs: number): number {
  let leastMs = Infinity
  for (const { visibleAtMs } of queue.messages.values()) leastMs = Math.min(leastMs, visibleAtMs - nowMs)
  return Math.max(1, leastMs)
}

function readRedrivePolicy(queue: Queue): { arn: string; maxReceives: number } | null {
  const text = queue.attributes['RedrivePolicy']
  if (text === undefined || text === '') return null
  // Checked when it was set.
  const policy = JSON.parse(text) as { deadLetterTargetArn: string; maxReceiveCount: number | string }
  return { arn: policy.deadLetterTargetArn, maxReceives: Number(policy.maxReceiveCount) }
}

function bury(queue: Queue, message: QueueMessage, deadLetters: Queue): void {
  queue.messages.delete(message.messageId)
  deadLetters.messages.set(message.messageId, { ...message, receipt: undefined })
  wakeReceivers(deadLetters)
}

function messageIdOf(receipt: string): string {
  const [messageId = '', nonce] = Buffer.from(receipt, 'base64').toString().split(' ')
  if (nonce === undefined || !/^[0-9a-f-]{36}$/.test(messageId))
    throw new AwsError('ReceiptHandleIsInvalid', 'The input receipt handle is invalid.')
  return messageId
}

function invalidReceipt(receipt: string, reason: string): AwsError {
  return new AwsError(
    'InvalidParameterValue',
    `Value ${receipt.slice(0, 20)} for parameter ReceiptHandle is invalid. Reason: ${reason}.`,
  )
}

function wakeReceivers(queue: Queue): void {
  queue.changed.abort()
  queue.changed = new AbortController()
}
