// S3 and SQS on loopback, for the real AWS SDK: one HTTP server, signatures checked, faults and time under control.
// It keeps everything in memory and does not know what objects and messages mean.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { systemClock, type Clock } from '../dataset/queues/clock.ts'
import { noFaults, type Fault, type FaultPlan, type FaultTarget } from './faults.ts'
import { provision, type Deployment, type ProvisionedQueues } from './provision.ts'
import { callS3, readS3Call, type S3Context } from './s3.ts'
import { verifySignature, type Credentials } from './sigv4.ts'
import { addMessage } from './sqs-queue.ts'
import { callSqs, readSqsCall, type SqsState } from './sqs.ts'
import { AwsError, splitTarget, type WireRequest, type WireResponse } from './wire.ts'
import { writeXml } from './xml.ts'

export type EmulatorOptions = {
  /** 0 takes a free one. */
  port?: number
  region?: string
  credentials?: Credentials
  /** Rules visibility, delays, long polls, dates and slow answers; signatures are checked against the machine's time. */
  clock?: Clock
  faults?: FaultPlan
  /** Told of each request that was understood, after its work is done. */
  onAnswer?: (answered: Answered) => void
}

/** A request as the emulator saw it, with the status of its answer, which may not have reached the client. */
export type Answered = Omit<FaultTarget, 'sequence'> & { status: number }

export type Emulator = {
  endpoint: string
  region: string
  credentials: Credentials
  /** Requests answered so far, by operation. */
  counts: ReadonlyMap<string, number>
  setFaults(plan: FaultPlan): void
  /** Makes what a deployment has, without requests. */
  provision(wanted: Deployment): ProvisionedQueues
  close(): Promise<void>
}

/** A request body beyond this is refused; all of it is held in memory. */
const maxBodyBytes = 512 * 1024 * 1024

type State = {
  s3: S3Context
  sqs: SqsState
  clock: Clock
  credentials: Credentials
  faults: FaultPlan
  onAnswer: (answered: Answered) => void
  sequence: number
  counts: Map<string, number>
  /** Fires when the emulator closes: what is late is dropped. */
  closed: AbortController
}

/** Starts an empty emulator on 127.0.0.1. */
export async function startEmulator(options: EmulatorOptions = {}): Promise<Emulator> {
  const region = options.region ?? 'us-east-1'
  const state = newState(options, region)
  const server = createServer((request, response) => void serve(state, request, response))
  // The SDK keeps connections open; closing them under it would look like faults nobody planned.
  server.keepAliveTimeout = 60_000
  await listen(server, options.port ?? 0)
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    endpoint: `http://127.0.0.1:${port}`,
    region,
    credentials: state.credentials,
    counts: state.counts,
    setFaults(plan) {
      state.faults = plan
    },
    provision: (wanted) => provision({ ...state, endpoint: `http://127.0.0.1:${port}` }, wanted),
    async close() {
      state.closed.abort()
      server.closeAllConnections()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}

function newState(options: EmulatorOptions, region: string): State {
  const clock = options.clock ?? systemClock
  const sqs: SqsState = { queues: new Map(), region }
  const state: State = {
    s3: {
      state: { buckets: new Map(), sequencer: 0 },
      clock,
      region,
      notify: (event) => notify(state, event),
      checkTarget(arn) {
        const message = 'Unable to validate the following destination configurations'
        if (!sqs.queues.has(arn.split(':').at(-1) ?? '')) throw new AwsError('InvalidArgument', message)
      },
    },
    sqs,
    clock,
    credentials: options.credentials ?? { accessKeyId: 'emulator', secretAccessKey: 'emulator-secret' },
    faults: options.faults ?? noFaults,
    onAnswer: options.onAnswer ?? (() => {}),
    sequence: 0,
    counts: new Map(),
    closed: new AbortController(),
  }
  return state
}

async function serve(state: State, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const hangUp = new AbortController()
  outgoing.once('close', () => hangUp.abort())
  const isSqs = 'x-amz-target' in incoming.headers
  const service = isSqs ? 'sqs' : 's3'
  let fault: Fault = {}
  let call: Omit<FaultTarget, 'sequence'> | undefined
  try {
    const request = await readRequest(incoming, hangUp.signal)
    verifySignature(request, { credentials: state.credentials, service })
    call = { service, ...(isSqs ? { ...readSqsCall(request), key: '' } : readS3Call(request)) }
    fault = nextFault(state, call)
    if (fault.delayMs !== undefined) await state.clock.sleep(fault.delayMs, hangUp.signal)
    if (fault.refuseWith !== undefined) {
      const { code, status, message = 'Injected by the fault plan.' } = fault.refuseWith
      throw new AwsError(code, message, status)
    }
    const host = incoming.headers.host ?? ''
    const context = { state: state.sqs, clock: state.clock, fault, signal: hangUp.signal, host }
    const response = isSqs ? await callSqs(context, call.operation, request) : callS3(state.s3, request, call)
    state.onAnswer({ ...call, status: response.status })
    answer(outgoing, response, { fault, isHead: request.method === 'HEAD' })
  } catch (error) {
    const response = errorResponse(error, service)
    if (call !== undefined) state.onAnswer({ ...call, status: response.status })
    answer(outgoing, response, { fault: {}, isHead: incoming.method === 'HEAD' })
  }
}

function nextFault(state: State, target: Omit<FaultTarget, 'sequence'>): Fault {
  state.counts.set(target.operation, (state.counts.get(target.operation) ?? 0) + 1)
  const sequence = state.sequence
  state.sequence += 1
  return state.faults({ ...target, sequence })
}

/** Brings an event to its queue: late, more than once or out of order when the plan says so. */
function notify(state: State, event: Parameters<S3Context['notify']>[0]): void {
  const { sqs, clock } = state
  const { queueArn, body, name: operation, bucket: name, key } = event
  const { deliverAfterMs = [0] } = nextFault(state, { service: 'event', operation, name, key })
  const deliver = () => {
    // The queue may be gone by now; S3 drops the event then.
    const queue = sqs.queues.get(queueArn.split(':').at(-1) ?? '')
    if (queue !== undefined) addMessage(queue, { body, delaySeconds: 0, nowMs: clock.nowMs() })
  }
  for (const afterMs of deliverAfterMs) {
    if (afterMs <= 0) deliver()
    else void clock.sleep(afterMs, state.closed.signal).then(deliver)
  }
}

async function readRequest(incoming: IncomingMessage, signal: AbortSignal): Promise<WireRequest> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of incoming) {
    // No encoding is set on the stream, so its chunks are buffers.
    const bytes = chunk as Buffer
    sizeBytes += bytes.length
    if (sizeBytes > maxBodyBytes)
      throw new AwsError('EntityTooLarge', `The emulator takes bodies up to ${maxBodyBytes} bytes.`)
    chunks.push(bytes)
  }
  const headers = Object.entries(incoming.headers).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.join(',') : (value ?? ''),
  ])
  return {
    method: incoming.method ?? 'GET',
    ...splitTarget(incoming.url ?? '/'),
    headers: Object.fromEntries(headers) as Record<string, string>,
    body: Buffer.concat(chunks),
    signal,
  }
}

function answer(
  outgoing: ServerResponse,
  { status, headers = {}, body = '' }: WireResponse,
  { fault, isHead }: { fault: Fault; isHead: boolean },
): void {
  if (fault.loseResponse === true) {
    outgoing.destroy()
    return
  }
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const sized = status === 204 || status === 304 ? {} : { 'content-length': String(bytes.length) }
  outgoing.writeHead(status, { ...headers, ...sized, 'x-amz-request-id': '0000000000000000' })
  if (fault.cutBody === true && bytes.length > 1) {
    outgoing.write(bytes.subarray(0, bytes.length >> 1), () => outgoing.destroy())
    return
  }
  outgoing.end(isHead || status === 304 ? undefined : bytes)
}

/** S3 answers with XML, SQS with JSON and the name its older protocol had in a header. */
function errorResponse(error: unknown, service: 's3' | 'sqs'): WireResponse {
  const known = error instanceof AwsError ? error : new AwsError('InternalError', String(error), 500)
  const { code, message, status } = known
  if (service === 's3') {
    const body = writeXml('Error', { Code: code, Message: message, RequestId: '0000000000000000' })
    return { status, headers: { 'content-type': 'application/xml' }, body }
  }
  const legacy: Record<string, string> = {
    QueueDoesNotExist: 'AWS.SimpleQueueService.NonExistentQueue',
    MessageNotInflight: 'AWS.SimpleQueueService.MessageNotInflight',
  }
  return {
    status,
    headers: {
      'content-type': 'application/x-amz-json-1.0',
      'x-amzn-query-error': `${legacy[code] ?? code};${status < 500 ? 'Sender' : 'Receiver'}`,
    },
    body: JSON.stringify({ __type: `com.amazonaws.sqs#${code}`, message }),
  }
}

async function listen(server: Server, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
}
