// What goes on beside the worker's loop: metrics are written, ECS is told, the end of the instance is watched for.
// None of it can fail the work. It does not know messages, images or models.
import type { Clock } from '../../dataset/queues/clock.ts'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { partsPrefix } from '../../schemas/part.ts'
import type { WorkerEvent } from '../pipeline/worker-loop.ts'
import type { WorkerSettings } from '../pipeline/worker-settings.ts'
import { type Metrics, openMetrics } from './metrics.ts'
import { waitForSpotNotice } from './spot-notice.ts'
import { openTaskProtection } from './task-protection.ts'
import { describeError, type Log, logEvent } from './worker-log.ts'

export type Companions = {
  metrics: Metrics
  /** Fires when the instance is about to be taken back. */
  spotNotice: AbortSignal
  /** Until it is; infinite while nobody has said so. */
  remainingMs: () => number
  event(event: WorkerEvent): void
  /** Ends all of it, the last metrics written. Never rejects. */
  close(): Promise<void>
}

type Options = {
  settings: Pick<WorkerSettings, 'pool' | 'metrics' | 'spotEndpoint' | 'ecsAgentUri'>
  model: string
  clock: Clock
  log: Log
  /** Takes a line of metrics. */
  write: (line: string) => void
}

/** Starts them. */
export function openCompanions({ settings, model, clock, log, write }: Options): Companions {
  const { pool, metrics: metricsEvery, spotEndpoint, ecsAgentUri } = settings
  const metrics = openMetrics({ pool, model, random: Math.random })
  const resting = new AbortController()
  const logError = (event: string) => (error: unknown) => log({ event, error: describeError(error) })
  const protection =
    ecsAgentUri === null
      ? null
      : openTaskProtection({ agentUri: ecsAgentUri, clock, onError: logError('protection-failed') })
  const notice = new AbortController()
  let goneAtMs = Infinity
  const watchSpot = async (endpoint: string) => {
    const onError = logError('metadata-failed')
    const found = await waitForSpotNotice({ endpoint, clock, onError }, resting.signal)
    if (found === null) return
    goneAtMs = found.atMs
    metrics.count('SpotNotice', 1)
    log({ event: 'spot-notice', action: found.action, inMs: goneAtMs - clock.nowMs() })
    notice.abort()
  }
  const writeMetrics = async (everyMs: number) => {
    for (let isOver = false; !isOver;) {
      await clock.sleep(everyMs, resting.signal)
      isOver = resting.signal.aborted
      for (const line of metrics.take(clock.nowMs())) write(line)
    }
  }
  const running = Promise.all([
    metricsEvery === null ? null : writeMetrics(metricsEvery.everyMs),
    spotEndpoint === null ? null : watchSpot(spotEndpoint),
    protection?.keep(resting.signal),
  ])
  return {
    metrics,
    spotNotice: notice.signal,
    remainingMs: () => goneAtMs - clock.nowMs(),
    event(event) {
      metrics.event(event)
      protection?.event(event)
      logEvent(log, event)
    },
    async close() {
      resting.abort()
      await running
    },
  }
}

/** The same queue; how long its messages have waited is told. Later deliveries have waited for more than a worker. */
export function timeWaits(
  queue: WorkQueue,
  { metrics, clock }: { metrics: Metrics; clock: Clock },
): WorkQueue {
  return {
    ...queue,
    async receive(options) {
      const messages = await queue.receive(options)
      for (const { sentAtMs, receiveCount } of messages)
        if (receiveCount === 1) metrics.observe('QueueWaitMs', Math.max(0, clock.nowMs() - sentAtMs))
      return messages
    },
  }
}

/** The same store; how long parts take to be durable is told. */
export function timeCommits(
  store: ObjectStore,
  { metrics, runId }: { metrics: Metrics; runId: string },
): ObjectStore {
  return {
    ...store,
    async putIfAbsent(key, bytes) {
      const startMs = performance.now()
      const result = await store.putIfAbsent(key, bytes)
      if (key.startsWith(partsPrefix)) metrics.observe('CommitMs', performance.now() - startMs, runId)
      return result
    },
  }
}
