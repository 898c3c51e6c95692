// A WorkQueue over SQS: batches, partial failures and long polls of the AWS SDK. It does not know what a message says.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
  type BatchResultErrorEntry,
  type Message,
} from '@aws-sdk/client-sqs'
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import { checkLeaseMs, checkSend } from './limits.ts'
import {
  maxBatchMessages,
  maxMessageBytes,
  type LeasedMessage,
  type LeaseOutcome,
  type QueueStats,
  type WorkQueue,
} from './work-queue.ts'

export type SqsQueueOptions = {
  queueUrl: string
  /** Left out, the SDK finds region and credentials where AWS tools keep them. */
  region?: string
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
  /** Another server that speaks SQS. */
  endpoint?: string
  /** Messages of one group share the queue fairly with other groups; the run's id. */
  messageGroupId?: string
}

/** The service's limit on one long poll. */
const maxWaitSeconds = 20

/** Tries of the SDK for a request, and ours for entries that the service failed on inside a batch. */
const maxAttempts = 4

/** A response is given up after the longest poll and as much again. */
const requestTimeoutMs = 40_000

/** Codes that say the lease is over: run out, taken by another delivery, or the message is gone. */
const lostCodes = ['MessageNotInflight', 'ReceiptHandleIsInvalid', 'InvalidParameterValue']

/**
 * Opens a queue by its URL. SQS answers a late delete with success even if another delivery holds the message, so
 * `ack` cannot always say `lost`. Throws UserError for a missing queue or refused credentials, RetryableError else.
 */
export function openSqsQueue({
  queueUrl,
  messageGroupId,
  ...connection
}: SqsQueueOptions): WorkQueue & { close(): void } {
  const client = new SQSClient({
    ...connection,
    maxAttempts,
    requestHandler: {
      requestTimeout: requestTimeoutMs,
      connectionTimeout: 5000,
      throwOnRequestTimeout: true,
    },
  })
  const context = { client, queueUrl }
  return {
    async send(bodies, { delayMs = 0 } = {}) {
      checkSend(bodies, delayMs)
      return await send(context, bodies, { delayMs, messageGroupId })
    },
    async receive(want) {
      checkLeaseMs(want.leaseMs)
      return await receive(context, want)
    },
    async extend(leases, leaseMs) {
      checkLeaseMs(leaseMs)
      return await changeVisibility(context, leases, leaseMs)
    },
    async release(leases, delayMs) {
      checkLeaseMs(delayMs)
      return await changeVisibility(context, leases, delayMs)
    },
    ack: async (leases) => await ack(context, leases),
    stats: async () => await stats(context),
    close: () => client.destroy(),
  }
}

type Context = { client: SQSClient; queueUrl: string }

async function send(
  { client, queueUrl: QueueUrl }: Context,
  bodies: readonly string[],
  { delayMs, messageGroupId }: { delayMs: number; messageGroupId: string | undefined },
): Promise<boolean[]> {
  const outcomes: LeaseOutcome[] = []
  for (const batch of batchesWithin(bodies)) {
    const sent = await inBatch(QueueUrl, batch, async (entries) => {
      const Entries = entries.map(({ Id, value }) => ({
        Id,
        MessageBody: value,
        DelaySeconds: seconds(delayMs),
        ...(messageGroupId === undefined ? {} : { MessageGroupId: messageGroupId }),
      }))
      return await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }))
    })
    outcomes.push(...sent)
  }
  return outcomes.map((outcome) => outcome === 'done')
}

async function receive(
  { client, queueUrl }: Context,
  { max, waitMs, leaseMs, signal }: Parameters<WorkQueue['receive']>[0],
): Promise<LeasedMessage[]> {
  const command = new ReceiveMessageCommand({
    QueueUrl: queueUrl,
    MaxNumberOfMessages: Math.min(max, maxBatchMessages),
    WaitTimeSeconds: Math.min(maxWaitSeconds, seconds(waitMs)),
    VisibilityTimeout: seconds(leaseMs),
    MessageSystemAttributeNames: ['ApproximateReceiveCount', 'SentTimestamp'],
  })
  try {
    const { Messages = [] } = await client.send(command, signal === undefined ? {} : { abortSignal: signal })
    return Messages.map(toLeased)
  } catch (error) {
    if (signal?.aborted === true) return []
    throw explain(error, queueUrl)
  }
}

function toLeased({ MessageId, ReceiptHandle, Body, Attributes }: Message): LeasedMessage {
  if (MessageId === undefined || ReceiptHandle === undefined || Body === undefined)
    throw new InvariantError('the queue delivered a message without id, receipt handle or body')
  return {
    messageId: MessageId,
    lease: ReceiptHandle,
    body: Body,
    receiveCount: Number(Attributes?.ApproximateReceiveCount ?? 1),
    sentAtMs: Number(Attributes?.SentTimestamp ?? 0),
  }
}

async function changeVisibility(
  { client, queueUrl: QueueUrl }: Context,
  leases: readonly string[],
  leftMs: number,
): Promise<LeaseOutcome[]> {
  const VisibilityTimeout = seconds(leftMs)
  return await inBatches(QueueUrl, leases, async (entries) => {
    const Entries = entries.map(({ Id, value }) => ({ Id, ReceiptHandle: value, VisibilityTimeout }))
    return await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }))
  })
}

async function ack(
  { client, queueUrl: QueueUrl }: Context,
  leases: readonly string[],
): Promise<LeaseOutcome[]> {
  return await inBatches(QueueUrl, leases, async (entries) => {
    const Entries = entries.map(({ Id, value }) => ({ Id, ReceiptHandle: value }))
    return await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))
  })
}

async function stats({ client, queueUrl: QueueUrl }: Context): Promise<QueueStats> {
  const names = {
    visible: 'ApproximateNumberOfMessages',
    inFlight: 'ApproximateNumberOfMessagesNotVisible',
    delayed: 'ApproximateNumberOfMessagesDelayed',
  } as const
  try {
    const AttributeNames = Object.values(names)
    const { Attributes = {} } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames }))
    return {
      visible: Number(Attributes[names.visible] ?? 0),
      inFlight: Number(Attributes[names.inFlight] ?? 0),
      delayed: Number(Attributes[names.delayed] ?? 0),
    }
  } catch (error) {
    throw explain(error, QueueUrl)
  }
}

type Entry = { Id: string; value: string }
type BatchResult = {
  Successful?: { Id?: string | undefined }[] | undefined
  Failed?: BatchResultErrorEntry[] | undefined
}
type BatchCall = (entries: Entry[]) => Promise<BatchResult>

async function inBatches(
  queueUrl: string,
  values: readonly string[],
  call: BatchCall,
): Promise<LeaseOutcome[]> {
  const outcomes: LeaseOutcome[] = []
  for (let at = 0; at < values.length; at += maxBatchMessages)
    outcomes.push(...(await inBatch(queueUrl, values.slice(at, at + maxBatchMessages), call)))
  return outcomes
}

/** One outcome a value. Entries the service failed on are tried again; what the sender got wrong is not. */
async function inBatch(
  queueUrl: string,
  values: readonly string[],
  call: BatchCall,
): Promise<LeaseOutcome[]> {
  const outcomes = values.map((): LeaseOutcome => 'failed')
  let open = values.map((value, index) => ({ Id: String(index), value }))
  for (let attempt = 1; open.length > 0 && attempt <= maxAttempts; attempt += 1) {
    if (attempt > 1) await sleep(2 ** attempt * 25 * (0.5 + Math.random()))
    const { Successful = [], Failed = [] } = await callExplained(queueUrl, open, call)
    const done = new Set(Successful.map(({ Id }) => Id))
    const failed = new Map(Failed.map((entry) => [entry.Id, entry]))
    for (const { Id } of open) {
      const error = failed.get(Id)
      if (done.has(Id)) outcomes[Number(Id)] = 'done'
      else if (error !== undefined && isLost(error)) outcomes[Number(Id)] = 'lost'
    }
    open = open.filter(({ Id }) => outcomes[Number(Id)] === 'failed' && failed.get(Id)?.SenderFault !== true)
  }
  return outcomes
}

async function callExplained(queueUrl: string, entries: Entry[], call: BatchCall): Promise<BatchResult> {
  try {
    return await call(entries)
  } catch (error) {
    throw explain(error, queueUrl)
  }
}

function isLost({ Code = '' }: BatchResultErrorEntry): boolean {
  return lostCodes.includes(Code.replace('AWS.SimpleQueueService.', ''))
}

/** Splits bodies so that each batch stays under the limit on its bytes, which is that of a single message. */
function batchesWithin(bodies: readonly string[]): string[][] {
  const batches: string[][] = []
  let leftBytes = 0
  for (const body of bodies) {
    const sizeBytes = Buffer.byteLength(body)
    const last = batches.at(-1)
    if (last === undefined || sizeBytes > leftBytes) {
      batches.push([body])
      leftBytes = maxMessageBytes - sizeBytes
    } else {
      last.push(body)
      leftBytes -= sizeBytes
    }
  }
  return batches
}

/** SQS counts whole seconds; a lease is never shorter than asked. */
function seconds(durationMs: number): number {
  return Math.ceil(durationMs / 1000)
}

const mending: Readonly<Record<string, string>> = {
  QueueDoesNotExist: 'the queue does not exist; check its URL and region',
  InvalidAddress: 'the queue address is not valid; check its URL',
  AccessDenied: 'access is denied; the role needs sqs actions on this queue',
  AccessDeniedException: 'access is denied; the role needs sqs actions on this queue',
  InvalidClientTokenId: 'the access key is not known; check the credentials',
  UnrecognizedClientException: 'the access key is not known; check the credentials',
  SignatureDoesNotMatch: 'the signature is wrong; check the secret key',
  ExpiredToken: 'the credentials have expired; renew them',
  ExpiredTokenException: 'the credentials have expired; renew them',
  CredentialsProviderError: 'no credentials were found; configure them as for the AWS CLI',
}

/** Turns an SDK error into one of ours. */
function explain(error: unknown, queueUrl: string): Error {
  if (!(error instanceof Error)) return new InvariantError(`the SDK threw ${String(error)}`)
  const sentence = mending[error.name]
  if (sentence !== undefined) return new UserError(`queue ${queueUrl}: ${sentence}`, { cause: error })
  return new RetryableError(`queue ${queueUrl}: ${error.name}: ${error.message}`, { cause: error })
}
