// The cloud worker: messages in, durable records out, and only then is a message deleted. It does not know which
// queue, store or engine it has: both ends come in as ports, and time and chance are passed in too.
import { readQueueBody, type WorkRequest, writeWorkMessages } from '../../dataset/events.ts'
import type { Clock } from '../../dataset/queues/clock.ts'
import { maxDelayMs } from '../../dataset/queues/limits.ts'
import { type LeasedMessage, maxBatchMessages, type WorkQueue } from '../../dataset/queues/work-queue.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError } from '../../schemas/errors.ts'
import type { Engine } from '../engine/contract.ts'
import { decodeHere, type ImageDecoder } from '../image/prepare.ts'
import { limitConcurrency } from './concurrency.ts'
import { watchEngine } from './engine-streak.ts'
import { engineAnswers } from './engine-trial.ts'
import { giveBackDelayMs } from './give-back-delay.ts'
import {
  labelRequest,
  type GiveBackReason,
  type LabelEvent,
  type Problem,
  type RequestContext,
  stopping,
  type ThumbnailsOf,
} from './label-request.ts'
import { type Delivery, type LeaseEvent, openLeases } from './leases.ts'
import { openRuns } from './open-runs.ts'
import { openStageSender, type QueueOfRole, sendOrThrow } from './stage-sender.ts'
import { defaultWorkerLimits, type WorkerLimits } from './worker-limits.ts'

export type WorkerEvent =
  | LeaseEvent
  | LabelEvent
  | { kind: 'received'; messages: number; waitedMs: number }
  | {
      kind: 'released'
      messageId: string
      reason: GiveBackReason
      message: string
      delayMs: number
      runId: string | undefined
    }
  /** A message of a paused run was sent again, so that its deliveries do not add up to the dead letters. */
  | { kind: 'renewed'; messageId: string; delayMs: number }
  /** A message was deleted, and these of its images were not labelled because their runs are cancelled. */
  | { kind: 'cancelled'; messageId: string; images: number; runIds: string[] }
  | { kind: 'split'; messageId: string; into: number }
  | { kind: 'part'; runId: string; key: string; records: number }

export type WorkerOptions = {
  queue: WorkQueue
  engine: Engine
  /** Reads images; this process itself when left out. */
  decoder?: ImageDecoder
  /** Where a bucket's images are. Throws UserError for a bucket this worker may not read. */
  sourceOf: (bucket: string) => ObjectStore
  /** Where a run is kept. */
  runStoreOf: (runId: string) => ObjectStore
  /** Where tasks of other roles than this worker's go; none when left out. */
  queueOfRole?: QueueOfRole
  /** `drain` ends when the queue has stayed empty for a while; `service` never does. */
  mode: 'service' | 'drain'
  /** SIGTERM or a spot notice: finish or give back everything within `stopDeadlineMs`. */
  stop: AbortSignal
  clock: Clock
  /** In [0, 1); spreads retries. */
  random: () => number
  limits?: WorkerLimits
  /** Asked when `stop` fires: what is left until this machine is gone, where that is known. */
  stopWithinMs?: () => number
  /** Left out keeps none. */
  thumbnailsOf?: ThumbnailsOf | undefined
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
  const { imagesAtOnce = 1 } = engine.info
  const [failed, cut, gone] = [new AbortController(), new AbortController(), new AbortController()]
  const halt = AbortSignal.any([stop, failed.signal])
  const queueOfRole = options.queueOfRole ?? (() => null)
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
    stages: openStageSender(queueOfRole),
    hasQueueOf: (role) => queueOfRole(role) !== null,
    inFlight: limitConcurrency(Math.max(limits.imagesInFlight, imagesAtOnce)),
    inEngine: limitConcurrency(Math.max(limits.imagesInEngine, imagesAtOnce)),
    decoder: options.decoder ?? decodeHere,
    limits: limits.decode,
    clock,
    halt,
    cut: AbortSignal.any([cut.signal, failed.signal]),
    waiting: new Set(),
    fail: (error) => failed.abort(error),
    lanes: new Map(),
    labelling: 0,
    isIdle: () => requests.labelling === 0,
    thumbnailsOf: options.thumbnailsOf,
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
    stopWithinMs: options.stopWithinMs ?? (() => Infinity),
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
    imagesHeld: 0,
    /** Whether one message is worked on alone. */
    isAlone: false,
    /**
     * Writes whatever is finished; who waits for it is told. An image on which the engine failed, and no other image
     * has shown since that it works, is tried again: only alone, by an engine that works before and after, it is at
     * fault. A server that is down for hours fails no image.
     */
    flush() {
      const answersNow = async () => await engineAnswers(engine, requests.cut)
      if (worker.isAlone) void streak.settleAlone(answersNow).then((isKept) => isKept && changes.tell())
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
  const bodies = event.items.flatMap(({ runId, tasks, role, stage, ...image }) =>
    writeWorkMessages([image], { runId, tasks: tasks && [...tasks], role, stage }),
  )
  try {
    await sendOrThrow(queue, bodies)
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
  const { leases, requests } = worker
  const { body, receiveCount } = delivery.message
  const event = readQueueBody(body)
  if (event.kind === 'test') return await leases.ack(delivery)
  if (event.kind === 'unknown')
    return await giveBack(worker, delivery, { reason: 'unknown-message', message: event.reason })
  worker.imagesHeld += event.items.length
  const outcomes = await Promise.all(
    event.items.map(async (item: WorkRequest) => await labelRequest(item, receiveCount, requests)),
  )
  worker.imagesHeld -= event.items.length
  const problem = outcomes.find((outcome) => typeof outcome !== 'string')
  if (problem !== undefined) return await giveBack(worker, delivery, problem)
  const cancelled = event.items.filter((_, index) => outcomes[index] === 'cancelled')
  if (cancelled.length > 0)
    worker.onEvent({
      kind: 'cancelled',
      messageId: delivery.message.messageId,
      images: cancelled.length,
      runIds: [...new Set(cancelled.map(({ runId }) => runId))],
    })
  await leases.ack(delivery)
}

/**
 * Gives a message back: at once when this worker stops, else after a delay. One that nobody can work on is never
 * deleted: the queue moves it to its dead letters.
 */
async function giveBack(worker: Worker, delivery: Delivery, problem: Problem): Promise<void> {
  const { limits, leases, onEvent } = worker
  const { messageId, receiveCount } = delivery.message
  const { reason, message, runId } = problem
  const delayMs = giveBackDelayMs(receiveCount, problem, worker)
  if (reason === 'paused' && receiveCount >= limits.renewFromReceive && (await renew(worker, delivery)))
    return
  onEvent({ kind: 'released', messageId, reason, message, delayMs, runId })
  await leases.release(delivery, delayMs)
}

/**
 * Sends a message anew and deletes it: each delivery of a paused run counts towards the dead letters, and a pause is no
 * reason to go there. Dying between the two leaves it twice, which its ids make harmless.
 */
async function renew({ queue, limits, leases, onEvent }: Worker, delivery: Delivery): Promise<boolean> {
  const { messageId, body } = delivery.message
  const delayMs = Math.min(limits.pausedDelayMs, maxDelayMs)
  try {
    await sendOrThrow(queue, [body], delayMs)
  } catch (error) {
    onEvent({ kind: 'queue-error', error })
    return false
  }
  onEvent({ kind: 'renewed', messageId, delayMs })
  await leases.ack(delivery)
  return true
}

/** Waits until fewer images are held than may be; writes parts early when nothing else can make room. */
async function waitForRoom(worker: Worker): Promise<void> {
  const { limits, requests, changes, halt } = worker
  while (worker.imagesHeld >= limits.imagesHeld && !halt.aborted) {
    const changed = changes.next(halt)
    if (requests.isIdle()) worker.flush()
    if (worker.imagesHeld >= limits.imagesHeld) await changed
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
  const { clock, limits, failed, cut, gone, underWay, stopWithinMs } = worker
  const deadlineMs = Math.max(0, Math.min(limits.stopDeadlineMs, stopWithinMs()))
  const marginMs = Math.min(limits.stopMarginMs, deadlineMs / 2)
  const spans = [
    { ms: failed.signal.aborted ? 0 : deadlineMs - marginMs, end: cut },
    { ms: marginMs / 2, end: gone },
    { ms: marginMs / 4, end: new AbortController() },
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
