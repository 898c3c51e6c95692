// The cloud worker: messages in, durable records out, and only then is a message deleted. It does not know which
// queue, store or engine it has: both ends come in as ports, and time and chance are passed in too.
import { readQueueBody, type WorkRequest, writeWorkMessages } from '../../dataset/events.ts'
import type { Clock } from '../../dataset/queues/clock.ts'
import { type LeasedMessage, maxBatchMessages, type WorkQueue } from '../../dataset/queues/work-queue.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError } from '../../schemas/errors.ts'
import { watchEngine } from './engine-streak.ts'
import type { Engine } from '../engine/contract.ts'
import { limitConcurrency } from './concurrency.ts'
import {
  labelRequest,
  type LabelEvent,
  type Outcome,
  type RequestContext,
  stopping,
} from './label-request.ts'
import { type Delivery, type LeaseEvent, openLeases } from './leases.ts'
import { openRuns } from './open-runs.ts'
import { defaultWorkerLimits, type WorkerLimits } from './worker-limits.ts'

export type WorkerEvent =
  | LeaseEvent
  | LabelEvent
  | { kind: 'received'; messages: number; waitedMs: number }
  | { kind: 'released'; messageId: string; reason: string; message: string; delayMs: number }
  | { kind: 'split'; messageId: string; into: number }
  | { kind: 'part'; runId: string; key: string; records: number }

export type WorkerOptions = {
  queue: WorkQueue
  engine: Engine
  /** Where a bucket's images are. Throws UserError for a bucket this worker may not read. */
  sourceOf: (bucket: string) => ObjectStore
  /** Where a run is kept. */
  runStoreOf: (runId: string) => ObjectStore
  /** `drain` ends when the queue has stayed empty for a while; `service` never does. */
  mode: 'service' | 'drain'
  /** SIGTERM or a spot notice: finish or give back everything within `stopDeadlineMs`. */
  stop: AbortSignal
  clock: Clock
  /** In [0, 1); spreads retries. */
  random: () => number
  limits?: WorkerLimits
  onEvent?: (event: WorkerEvent) => void
}

/**
 * Works until the queue is drained or `stop` fires. When it returns, every message is deleted, given back, or left
 * to its lease; no message is deleted whose records are not durable. Throws when this worker cannot go on at all
 * (the engine fails on everything, the disk is full, the queue denies access), after giving back what it held.
 */
export async function runWorker(options: WorkerOptions): Promise<{ ended: 'drained' | 'stopped' }> {
  const worker = startWorker(options)
  const { clock, mode, limits, leases, underWay, halt, failed } = worker
  const resting = new AbortController()
  // Not waited for at the end: a queue that does not answer shall not hold the process.
  void leases.keepBeating(resting.signal)
  let idleSinceMs = clock.nowMs()
  try {
    while (!halt.aborted) {
      await waitForRoom(worker)
      const messages = await receive(worker)
      if (messages.length > 0) {
        await take(worker, messages)
        idleSinceMs = clock.nowMs()
        continue
      }
      if (worker.requests.isIdle()) worker.flush()
      if (underWay.size > 0) idleSinceMs = clock.nowMs()
      else if (mode === 'drain' && clock.nowMs() - idleSinceMs >= limits.idleExitMs) break
    }
  } catch (error) {
    failed.abort(error)
  } finally {
    await finish(worker)
    resting.abort()
  }
  failed.signal.throwIfAborted()
  return { ended: options.stop.aborted ? 'stopped' : 'drained' }
}

type Worker = ReturnType<typeof startWorker>

function startWorker(options: WorkerOptions) {
  const { queue, engine, clock, random, stop, limits = defaultWorkerLimits, onEvent = () => {} } = options
  const [failed, cut, gone] = [new AbortController(), new AbortController(), new AbortController()]
  const halt = AbortSignal.any([stop, failed.signal])
  const streak = watchEngine({ maxFailures: limits.engineFailuresInRow })
  const runs = openRuns({
    storeOf: options.runStoreOf,
    modelDigest: engine.info.model.digest,
    clock,
    random,
    limits,
    onPart: (part) => onEvent({ kind: 'part', ...part }),
  })
  const changes = watchChanges()
  const requests: RequestContext = {
    runs,
    engine,
    streak,
    sourceOf: options.sourceOf,
    inFlight: limitConcurrency(limits.imagesInFlight),
    inEngine: limitConcurrency(limits.imagesInEngine),
    limits: limits.decode,
    clock,
    halt,
    cut: AbortSignal.any([cut.signal, failed.signal]),
    waiting: new Set(),
    fail: (error) => failed.abort(error),
    lanes: new Map(),
    labelling: 0,
    isIdle: () => requests.labelling === 0,
    onChange: changes.tell,
    onEvent,
  }
  gone.signal.addEventListener('abort', () => {
    for (const settle of requests.waiting) settle(stopping)
  })
  const worker = {
    queue,
    clock,
    random,
    limits,
    onEvent,
    mode: options.mode,
    halt,
    failed,
    cut,
    gone,
    requests,
    runs,
    changes,
    leases: openLeases({ queue, clock, limits, onEvent }),
    /** One promise for each message held; none rejects. */
    underWay: new Set<Promise<void>>(),
    /** Images of the messages held. */
    imagesHeld: { count: 0 },
    /** Whether one message is worked on alone. */
    isAlone: false,
    /**
     * Writes whatever is finished; who waits for it is told. An image on which the engine failed, and no other image
     * has shown since that it works, is tried again: only alone, by an engine that has worked before, it is at fault.
     */
    flush() {
      if (worker.isAlone && streak.hasAnswered()) void streak.rest()
      else streak.refuse()
      void runs.flush()
    },
  }
  return worker
}

async function receive(worker: Worker): Promise<LeasedMessage[]> {
  const { queue, mode, clock, limits, halt, underWay, onEvent } = worker
  const startMs = clock.nowMs()
  const longestMs = underWay.size > 0 ? limits.busyReceiveWaitMs : limits.receiveWaitMs
  const waitMs =
    mode === 'drain' ? Math.min(longestMs, Math.max(limits.idleExitMs, limits.leastReceiveWaitMs)) : longestMs
  try {
    const messages = await queue.receive({
      max: maxBatchMessages,
      waitMs,
      leaseMs: limits.leaseMs,
      signal: halt,
    })
    if (messages.length > 0)
      onEvent({ kind: 'received', messages: messages.length, waitedMs: clock.nowMs() - startMs })
    return messages
  } catch (error) {
    if (halt.aborted) return []
    if (!(error instanceof RetryableError)) throw error
    onEvent({ kind: 'queue-error', error })
    await clock.sleep(limits.receiveRetryMs, halt)
    return []
  }
}

/** Starts on a batch. A message that was delivered often may be what kills workers: it is worked on alone. */
async function take(worker: Worker, messages: readonly LeasedMessage[]): Promise<void> {
  const { limits, leases, halt } = worker
  const deliveries = messages.map((message) => leases.hold(message))
  const isSuspect = ({ message }: Delivery) => message.receiveCount >= limits.isolateFromReceive
  for (const delivery of deliveries.filter((one) => !isSuspect(one))) start(worker, delivery)
  for (const delivery of deliveries.filter(isSuspect)) {
    if (!halt.aborted && (await isReady(worker, delivery))) {
      await settleAll(worker, halt)
      if (await split(worker, delivery)) continue
      worker.isAlone = true
      start(worker, delivery)
      await settleAll(worker, halt)
      worker.isAlone = false
    } else start(worker, delivery)
  }
}

/** Whether a message can reach the engine at all; one that cannot is no suspect, and others need not wait for it. */
async function isReady({ runs }: Worker, { message }: Delivery): Promise<boolean> {
  const event = readQueueBody(message.body)
  if (event.kind !== 'work') return false
  const opened = await Promise.allSettled(event.items.map(async ({ runId }) => await runs.open(runId)))
  return opened.some((result) => result.status === 'fulfilled' && result.value.ok)
}

/** Puts each image of a suspect into a message of its own, so that only the one at fault ends in the dead letters. */
async function split(worker: Worker, delivery: Delivery): Promise<boolean> {
  const { queue, leases, onEvent } = worker
  const event = readQueueBody(delivery.message.body)
  if (event.kind !== 'work' || event.items.length < 2) return false
  const bodies = event.items.flatMap(({ runId, tasks, ...image }) =>
    writeWorkMessages([image], { runId, ...(tasks === undefined ? {} : { tasks: [...tasks] }) }),
  )
  try {
    for (let from = 0; from < bodies.length; from += maxBatchMessages) {
      const taken = await queue.send(bodies.slice(from, from + maxBatchMessages))
      if (!taken.every(Boolean)) throw new RetryableError('the queue did not take every message')
    }
  } catch (error) {
    onEvent({ kind: 'queue-error', error })
    await giveBack(worker, delivery, { reason: 'try-again', message: 'the message could not be split' })
    return true
  }
  onEvent({ kind: 'split', messageId: delivery.message.messageId, into: bodies.length })
  await leases.ack(delivery)
  return true
}

function start(worker: Worker, delivery: Delivery): void {
  const { underWay, changes } = worker
  const one = handle(worker, delivery).finally(() => {
    underWay.delete(one)
    changes.tell()
  })
  underWay.add(one)
}

/** One message from here to its end. Never rejects. */
async function handle(worker: Worker, delivery: Delivery): Promise<void> {
  const { leases, requests, imagesHeld } = worker
  const { body, receiveCount } = delivery.message
  const event = readQueueBody(body)
  if (event.kind === 'test') return await leases.ack(delivery)
  if (event.kind === 'unknown')
    return await giveBack(worker, delivery, { reason: 'unknown-message', message: event.reason })
  imagesHeld.count += event.items.length
  const outcomes = await Promise.all(
    event.items.map(async (item: WorkRequest) => await labelRequest(item, receiveCount, requests)),
  )
  imagesHeld.count -= event.items.length
  const problem = outcomes.find((outcome) => outcome !== 'durable')
  if (problem === undefined) return await leases.ack(delivery)
  await giveBack(worker, delivery, problem)
}

/**
 * Gives a message back: at once when this worker stops, else after a delay that doubles with each delivery. One that
 * nobody can work on is never deleted: the queue moves it to its dead letters.
 */
async function giveBack(
  { limits, random, leases, onEvent }: Worker,
  delivery: Delivery,
  { reason, message }: Exclude<Outcome, 'durable'>,
): Promise<void> {
  const { messageId, receiveCount } = delivery.message
  const delayMs = reason === 'stopping' ? 0 : backoffMs(receiveCount, { limits, random })
  onEvent({ kind: 'released', messageId, reason, message, delayMs })
  await leases.release(delivery, delayMs)
}

/** Doubles with each delivery up to a limit; of that, between half and all. */
export function backoffMs(
  receiveCount: number,
  { limits, random }: { limits: WorkerLimits; random: () => number },
): number {
  const fullMs = Math.min(limits.maxBackoffMs, limits.backoffMs * 2 ** Math.min(receiveCount - 1, 30))
  return Math.round(fullMs * (0.5 + random() / 2))
}

/** Waits until fewer images are held than may be; writes parts early when nothing else can make room. */
async function waitForRoom(worker: Worker): Promise<void> {
  const { imagesHeld, limits, requests, changes, halt } = worker
  while (imagesHeld.count >= limits.imagesHeld && !halt.aborted) {
    const changed = changes.next(halt)
    if (requests.isIdle()) worker.flush()
    if (imagesHeld.count >= limits.imagesHeld) await changed
  }
}

/** Waits until no message is held, or the signal fires. Parts are written as soon as nothing is being labelled. */
async function settleAll(worker: Worker, until: AbortSignal): Promise<void> {
  const { underWay, requests, changes } = worker
  while (underWay.size > 0 && !until.aborted) {
    const changed = changes.next(until)
    if (requests.isIdle()) worker.flush()
    if (underWay.size > 0) await changed
  }
}

/** Finishes or gives back everything: first what is under way may end, then it is cut short, then given back. */
async function finish(worker: Worker): Promise<void> {
  const { clock, limits, failed, cut, gone, underWay } = worker
  const spans = [
    { ms: failed.signal.aborted ? 0 : limits.stopDeadlineMs - limits.stopMarginMs, end: cut },
    { ms: limits.stopMarginMs / 2, end: gone },
    { ms: limits.stopMarginMs / 4, end: new AbortController() },
  ]
  for (const { ms, end } of spans) {
    const over = new AbortController()
    const timer = clock.sleep(ms, over.signal).then(() => end.abort())
    await Promise.race([settleAll(worker, end.signal), timer])
    over.abort()
    await timer
  }
  // What still is under way hangs in a store or queue that does not answer; its leases run out.
  underWay.clear()
}

/** Lets waiters know that something changed, whatever it was. */
function watchChanges() {
  const waiters = new Set<() => void>()
  return {
    tell() {
      for (const wake of waiters) wake()
    },
    /** Resolves at the next change or when the signal fires. */
    async next(signal: AbortSignal): Promise<void> {
      if (signal.aborted) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const wake = () => {
        waiters.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      waiters.add(wake)
      signal.addEventListener('abort', wake, { once: true })
      await promise
    },
  }
}
