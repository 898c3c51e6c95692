// The SQS operations we use, in its JSON protocol. It does not know sockets, signatures or S3.
import { z } from 'zod'
import type { Clock } from '../dataset/queues/clock.ts'
import type { Fault, FaultTarget } from './faults.ts'
import {
  addMessage,
  changeVisibility,
  countMessages,
  deleteMessage,
  newQueue,
  secondsOf,
  takeMessages,
  untilVisible,
  type Queue,
  type QueueMessage,
} from './sqs-queue.ts'
import { AwsError, hashHex, type WireRequest, type WireResponse } from './wire.ts'

export type SqsState = { queues: Map<string, Queue>; region: string }
export type SqsContext = { state: SqsState; clock: Clock; fault: Fault; signal: AbortSignal; host: string }

export const accountId = '000000000000'
const maxMessageBytes = 1024 * 1024
const allowedText = /^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]+$/u

const names = z.array(z.string()).optional()
const entryId = z.string().regex(/^[\w-]{1,80}$/)
const message = {
  MessageBody: z.string(),
  DelaySeconds: z.int().min(0).max(900).optional(),
  MessageGroupId: z.string().min(1).max(128).optional(),
}
const visibility = { ReceiptHandle: z.string(), VisibilityTimeout: z.int().min(0).max(43200) }
const toQueue = { QueueUrl: z.string() }

/** What each operation takes. Strict: a parameter that is not implemented is refused, not ignored. */
const inputs = {
  CreateQueue: z.strictObject({
    QueueName: z.string().regex(/^[\w-]{1,80}$/),
    Attributes: z.record(z.string(), z.string()).optional(),
  }),
  DeleteQueue: z.strictObject(toQueue),
  PurgeQueue: z.strictObject(toQueue),
  GetQueueUrl: z.strictObject({ QueueName: z.string() }),
  GetQueueAttributes: z.strictObject({ ...toQueue, AttributeNames: names }),
  SetQueueAttributes: z.strictObject({ ...toQueue, Attributes: z.record(z.string(), z.string()) }),
  SendMessage: z.strictObject({ ...toQueue, ...message }),
  SendMessageBatch: z.strictObject({
    ...toQueue,
    Entries: z.array(z.strictObject({ Id: z.string(), ...message })),
  }),
  ReceiveMessage: z.strictObject({
    ...toQueue,
    MaxNumberOfMessages: z.int().min(1).max(10).optional(),
    WaitTimeSeconds: z.int().min(0).max(20).optional(),
    VisibilityTimeout: z.int().min(0).max(43200).optional(),
    AttributeNames: names,
    MessageSystemAttributeNames: names,
  }),
  DeleteMessage: z.strictObject({ ...toQueue, ReceiptHandle: z.string() }),
  DeleteMessageBatch: z.strictObject({
    ...toQueue,
    Entries: z.array(z.strictObject({ Id: z.string(), ReceiptHandle: z.string() })),
  }),
  ChangeMessageVisibility: z.strictObject({ ...toQueue, ...visibility }),
  ChangeMessageVisibilityBatch: z.strictObject({
    ...toQueue,
    Entries: z.array(z.strictObject({ Id: z.string(), ...visibility })),
  }),
}

type Name = keyof typeof inputs
type Input<N extends Name> = z.infer<(typeof inputs)[N]>

/** The operation a request names and the queue it is about. */
export function readSqsCall(request: WireRequest): Pick<FaultTarget, 'operation' | 'name'> {
  const operation = (request.headers['x-amz-target'] ?? '').replace('AmazonSQS.', '')
  const body = readJson(request)
  const named = z
    .object({ QueueName: z.string().optional(), QueueUrl: z.string().optional() })
    .safeParse(body)
  const { QueueName, QueueUrl = '' } = named.data ?? {}
  return { operation, name: QueueName ?? QueueUrl.split('/').at(-1) ?? '' }
}

/** Does what the request says. Throws AwsError. */
export async function callSqs(
  context: SqsContext,
  operation: string,
  request: WireRequest,
): Promise<WireResponse> {
  const body = readJson(request)
  const result = await dispatch(context, operation, body)
  return {
    status: 200,
    headers: { 'content-type': 'application/x-amz-json-1.0' },
    body: JSON.stringify(result),
  }
}

async function dispatch(context: SqsContext, operation: string, body: unknown): Promise<unknown> {
  const { state, clock } = context
  const nowMs = clock.nowMs()
  const queueOf = ({ QueueUrl }: { QueueUrl: string }) => findQueue(state, QueueUrl.split('/').at(-1) ?? '')
  switch (operation) {
    case 'CreateQueue':
      return createQueue(context, parse('CreateQueue', body))
    case 'DeleteQueue':
      state.queues.delete(queueOf(parse('DeleteQueue', body)).name)
      return {}
    case 'PurgeQueue':
      queueOf(parse('PurgeQueue', body)).messages.clear()
      return {}
    case 'GetQueueUrl':
      return { QueueUrl: urlOf(context, findQueue(state, parse('GetQueueUrl', body).QueueName)) }
    case 'GetQueueAttributes': {
      const input = parse('GetQueueAttributes', body)
      return { Attributes: readAttributes(queueOf(input), input.AttributeNames ?? [], nowMs) }
    }
    case 'SetQueueAttributes': {
      const input = parse('SetQueueAttributes', body)
      checkAttributes(state, input.Attributes)
      Object.assign(queueOf(input).attributes, input.Attributes)
      return {}
    }
    case 'SendMessage': {
      const input = parse('SendMessage', body)
      return sendOne(queueOf(input), input, nowMs)
    }
    case 'SendMessageBatch': {
      const input = parse('SendMessageBatch', body)
      const queue = queueOf(input)
      checkBatchBytes(input.Entries.map(({ MessageBody }) => MessageBody))
      return inBatch(context, input.Entries, (entry) => sendOne(queue, entry, nowMs))
    }
    case 'ReceiveMessage': {
      const input = parse('ReceiveMessage', body)
      return await receive(context, queueOf(input), input)
    }
    case 'DeleteMessage': {
      const input = parse('DeleteMessage', body)
      deleteMessage(queueOf(input), input.ReceiptHandle)
      return {}
    }
    case 'DeleteMessageBatch': {
      const input = parse('DeleteMessageBatch', body)
      const queue = queueOf(input)
      return inBatch(context, input.Entries, ({ ReceiptHandle }) => deleteMessage(queue, ReceiptHandle))
    }
    case 'ChangeMessageVisibility': {
      const input = parse('ChangeMessageVisibility', body)
      return changeOne(queueOf(input), input, nowMs)
    }
    case 'ChangeMessageVisibilityBatch': {
      const input = parse('ChangeMessageVisibilityBatch', body)
      const queue = queueOf(input)
      return inBatch(context, input.Entries, (entry) => changeOne(queue, entry, nowMs))
    }
    default:
      throw new AwsError('UnsupportedOperation', `${operation} is not implemented by the emulator.`)
  }
}

/** The queue of an ARN; throws AwsError where there is none. */
function queueByArn(state: SqsState, arn: string): Queue {
  return findQueue(state, arn.split(':').at(-1) ?? '')
}

function createQueue(context: SqsContext, { QueueName, Attributes = {} }: Input<'CreateQueue'>): unknown {
  const { state, clock } = context
  checkAttributes(state, Attributes)
  const existing = state.queues.get(QueueName)
  if (existing !== undefined) {
    if (Object.entries(Attributes).some(([name, value]) => existing.attributes[name] !== value))
      throw new AwsError(
        'QueueNameExists',
        'A queue already exists with the same name and different attributes.',
      )
    return { QueueUrl: urlOf(context, existing) }
  }
  const arn = `arn:aws:sqs:${state.region}:${accountId}:${QueueName}`
  const queue = newQueue({ name: QueueName, arn, attributes: Attributes, nowMs: clock.nowMs() })
  state.queues.set(QueueName, queue)
  return { QueueUrl: urlOf(context, queue) }
}

/** A long poll ends with the first message, with its time, or with the client. */
async function receive(context: SqsContext, queue: Queue, input: Input<'ReceiveMessage'>): Promise<unknown> {
  const { state, clock, fault, signal } = context
  const waitSeconds = input.WaitTimeSeconds ?? secondsOf(queue, 'ReceiveMessageWaitTimeSeconds')
  const endMs = clock.nowMs() + waitSeconds * 1000
  for (;;) {
    // A message handed to a client that hung up would only be seen again after its visibility ran out.
    if (signal.aborted) return {}
    const nowMs = clock.nowMs()
    const taken = takeMessages(queue, {
      nowMs,
      max: input.MaxNumberOfMessages ?? 1,
      visibilitySeconds: input.VisibilityTimeout ?? secondsOf(queue, 'VisibilityTimeout'),
      isDuplicate: fault.duplicate === true,
      isReordered: fault.reorder === true,
      findDeadLetters: (arn) => state.queues.get(arn.split(':').at(-1) ?? ''),
    })
    const wanted = [...(input.AttributeNames ?? []), ...(input.MessageSystemAttributeNames ?? [])]
    if (taken.length > 0) return { Messages: taken.map((found) => delivered(found, wanted)) }
    if (nowMs >= endMs) return {}
    const waitMs = Math.min(endMs - nowMs, untilVisible(queue, nowMs))
    await clock.sleep(waitMs, AbortSignal.any([signal, queue.changed.signal]))
  }
}

function delivered(found: QueueMessage, wanted: string[]): unknown {
  const all: Record<string, string | undefined> = {
    ApproximateReceiveCount: String(found.receiveCount),
    SentTimestamp: String(found.sentAtMs),
    ApproximateFirstReceiveTimestamp: String(found.firstReceivedAtMs),
    SenderId: 'EMULATOR',
    MessageGroupId: found.groupId,
  }
  const attributes = Object.entries(all).filter(
    ([name, value]) => value !== undefined && (wanted.includes('All') || wanted.includes(name)),
  )
  return {
    MessageId: found.messageId,
    ReceiptHandle: found.receipt,
    Body: found.body,
    MD5OfBody: hashHex('md5', found.body),
    ...(attributes.length === 0 ? {} : { Attributes: Object.fromEntries(attributes) }),
  }
}

function sendOne(
  queue: Queue,
  input: Omit<Input<'SendMessage'>, 'QueueUrl'>,
  nowMs: number,
): Record<string, unknown> {
  const { MessageBody, DelaySeconds, MessageGroupId } = input
  const limit = Math.min(maxMessageBytes, secondsOf(queue, 'MaximumMessageSize'))
  if (MessageBody === '')
    throw new AwsError('MissingParameter', 'The request must contain the parameter MessageBody.')
  if (Buffer.byteLength(MessageBody) > limit)
    throw new AwsError(
      'InvalidParameterValue',
      `One or more parameters are invalid. Reason: Message must be shorter than ${limit} bytes.`,
    )
  if (!allowedText.test(MessageBody))
    throw new AwsError('InvalidMessageContents', 'Invalid characters found in the message.')
  const delaySeconds = DelaySeconds ?? secondsOf(queue, 'DelaySeconds')
  const messageId = addMessage(queue, { body: MessageBody, delaySeconds, groupId: MessageGroupId, nowMs })
  return { MessageId: messageId, MD5OfMessageBody: hashHex('md5', MessageBody) }
}

type VisibilityChange = { ReceiptHandle: string; VisibilityTimeout: number }

function changeOne(
  queue: Queue,
  { ReceiptHandle, VisibilityTimeout }: VisibilityChange,
  nowMs: number,
): object {
  changeVisibility(queue, { receipt: ReceiptHandle, visibilitySeconds: VisibilityTimeout, nowMs })
  return {}
}

/** Runs every entry on its own: some may fail while others are done. */
function inBatch<Entry extends { Id: string }>(
  { fault }: SqsContext,
  entries: Entry[],
  act: (entry: Entry) => object | void,
): unknown {
  const ids = entries.map(({ Id }) => Id)
  if (ids.length === 0)
    throw new AwsError('EmptyBatchRequest', 'There should be at least one entry in the request.')
  if (ids.length > 10)
    throw new AwsError('TooManyEntriesInBatchRequest', `At most 10 entries, not ${ids.length}.`)
  if (new Set(ids).size < ids.length)
    throw new AwsError('BatchEntryIdsNotDistinct', 'Two entries have one Id.')
  if (ids.some((id) => !entryId.safeParse(id).success))
    throw new AwsError('InvalidBatchEntryId', 'An Id holds other characters than letters, digits, _ and -.')
  const Successful: object[] = []
  const Failed: object[] = []
  for (const [index, entry] of entries.entries()) {
    try {
      if (fault.failEntry?.(index) === true)
        throw new AwsError('InternalError', 'Injected by the fault plan.', 500)
      Successful.push({ Id: entry.Id, ...act(entry) })
    } catch (error) {
      if (!(error instanceof AwsError)) throw error
      const { code: Code, message: Message, status } = error
      Failed.push({ Id: entry.Id, Code, Message, SenderFault: status < 500 })
    }
  }
  return { Successful, Failed }
}

function checkBatchBytes(bodies: string[]): void {
  const total = bodies.reduce((sum, body) => sum + Buffer.byteLength(body), 0)
  if (total > maxMessageBytes)
    throw new AwsError(
      'BatchRequestTooLong',
      `Batch requests cannot be longer than ${maxMessageBytes} bytes.`,
    )
}

function readAttributes(queue: Queue, wanted: string[], nowMs: number): Record<string, string> {
  const { visible, inFlight, delayed } = countMessages(queue, nowMs)
  const all: Record<string, string> = {
    ...queue.attributes,
    QueueArn: queue.arn,
    CreatedTimestamp: String(Math.floor(queue.createdAtMs / 1000)),
    ApproximateNumberOfMessages: String(visible),
    ApproximateNumberOfMessagesNotVisible: String(inFlight),
    ApproximateNumberOfMessagesDelayed: String(delayed),
  }
  return Object.fromEntries(
    Object.entries(all).filter(([name]) => wanted.includes('All') || wanted.includes(name)),
  )
}

const redrivePolicy = z.object({
  deadLetterTargetArn: z.string(),
  maxReceiveCount: z.coerce.number().int().min(1).max(1000),
})

function checkAttributes(state: SqsState, attributes: Record<string, string>): void {
  const policy = attributes['RedrivePolicy']
  if (policy === undefined || policy === '') return
  const parsed = redrivePolicy.safeParse(tryJson(policy))
  if (!parsed.success)
    throw new AwsError('InvalidAttributeValue', 'Invalid value for the parameter RedrivePolicy.')
  queueByArn(state, parsed.data.deadLetterTargetArn)
}

function findQueue(state: SqsState, name: string): Queue {
  const queue = state.queues.get(name)
  if (queue === undefined) throw new AwsError('QueueDoesNotExist', 'The specified queue does not exist.')
  return queue
}

function urlOf({ host }: SqsContext, queue: Queue): string {
  return `http://${host}/${accountId}/${queue.name}`
}

function parse<N extends Name>(operation: N, body: unknown): Input<N> {
  const parsed = inputs[operation].safeParse(body)
  if (!parsed.success)
    throw new AwsError('InvalidParameterValue', `${operation}: ${z.prettifyError(parsed.error)}`)
  // TypeScript does not tie the schema that was looked up to its type.
  return parsed.data as Input<N>
}

function readJson(request: WireRequest): Record<string, unknown> {
  const parsed = z.record(z.string(), z.unknown()).safeParse(tryJson(request.body.toString()))
  if (!parsed.success) throw new AwsError('SerializationException', 'The body is not a JSON object.')
  return parsed.data
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
