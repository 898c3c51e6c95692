// A WorkQueue in memory, for tests and for a pipeline in one process. It does not know other processes.
import { randomUUID } from 'node:crypto'
import { systemClock, type Clock } from './clock.ts'
import { checkLeaseMs, checkSend } from './limits.ts'
import {
  maxBatchMessages,
  type LeasedMessage,
  type LeaseOutcome,
  type QueueStats,
  type WorkQueue,
} from './work-queue.ts'

type Message = Omit<LeasedMessage, 'lease'> & {
  visibleAtMs: number
  /** The newest delivery; null before the first and after a release. */
  lease: string | null
}

type State = {
  clock: Clock
  messages: Map<string, Message>
  /** Message ids by newest lease. */
  leases: Map<string, string>
  maxReceives: number
  deadLetters: MemoryQueue | undefined
  /** Fires when a message may have become visible before its time. */
  changed: AbortController
}

/** A queue that also takes a whole message from the queue it is the dead letters of. */
export type MemoryQueue = WorkQueue & { bury(message: Omit<LeasedMessage, 'lease'>): void }

/** Opens an empty queue. A message received `maxReceives` times moves to `deadLetters` instead of a further delivery. */
export function openMemoryQueue(
  options: { clock?: Clock; maxReceives?: number; deadLetters?: MemoryQueue } = {},
): MemoryQueue {
  const state: State = {
    clock: options.clock ?? systemClock,
    messages: new Map(),
    leases: new Map(),
    maxReceives: options.deadLetters === undefined ? Infinity : (options.maxReceives ?? Infinity),
    deadLetters: options.deadLetters,
    changed: new AbortController(),
  }
  const add = (message: Omit<LeasedMessage, 'lease'>, delayMs: number) => {
    state.messages.set(message.messageId, {
      ...message,
      visibleAtMs: state.clock.nowMs() + delayMs,
      lease: null,
    })
    wake(state)
  }
  return {
    bury: (message) => add(message, 0),
    async send(bodies, { delayMs = 0 } = {}) {
      checkSend(bodies, delayMs)
      for (const body of bodies)
        add({ messageId: randomUUID(), body, receiveCount: 0, sentAtMs: state.clock.nowMs() }, delayMs)
      return bodies.map(() => true)
    },
    receive: async (want) => await receive(state, want),
    async extend(leases, leaseMs) {
      checkLeaseMs(leaseMs)
      return leases.map((lease) => change(state, { lease, leftMs: leaseMs, keeps: true }))
    },
    async release(leases, delayMs) {
      checkLeaseMs(delayMs)
      return leases.map((lease) => change(state, { lease, leftMs: delayMs, keeps: false }))
    },
    async ack(leases) {
      return leases.map((lease) => remove(state, lease))
    },
    stats: async () => stats(state),
  }
}

async function receive(
  state: State,
  { max, waitMs, leaseMs, signal }: Parameters<WorkQueue['receive']>[0],
): Promise<LeasedMessage[]> {
  checkLeaseMs(leaseMs)
  const endMs = state.clock.nowMs() + waitMs
  for (;;) {
    if (signal?.aborted === true) return []
    const taken = take(state, { max: Math.min(max, maxBatchMessages), leaseMs })
    const leftMs = endMs - state.clock.nowMs()
    if (taken.length > 0 || leftMs <= 0) return taken
    const until = [state.changed.signal, ...(signal === undefined ? [] : [signal])]
    await state.clock.sleep(Math.min(leftMs, untilVisible(state)), AbortSignal.any(until))
  }
}

function take(state: State, { max, leaseMs }: { max: number; leaseMs: number }): LeasedMessage[] {
  const nowMs = state.clock.nowMs()
  const taken: LeasedMessage[] = []
  for (const message of state.messages.values()) {
    if (taken.length === max) break
    if (message.visibleAtMs > nowMs) continue
    forget(state, message)
    if (message.receiveCount >= state.maxReceives) {
      bury(state, message)
      continue
    }
    const lease = randomUUID()
    message.lease = lease
    message.visibleAtMs = nowMs + leaseMs
    message.receiveCount += 1
    state.leases.set(lease, message.messageId)
    const { messageId, body, receiveCount, sentAtMs } = message
    taken.push({ messageId, lease, body, receiveCount, sentAtMs })
  }
  return taken
}

function bury(state: State, { messageId, body, receiveCount, sentAtMs }: Message): void {
  state.messages.delete(messageId)
  state.deadLetters?.bury({ messageId, body, receiveCount, sentAtMs })
}

function change(
  state: State,
  { lease, leftMs, keeps }: { lease: string; leftMs: number; keeps: boolean },
): LeaseOutcome {
  const message = state.messages.get(state.leases.get(lease) ?? '')
  const nowMs = state.clock.nowMs()
  if (message === undefined || message.visibleAtMs <= nowMs) return 'lost'
  message.visibleAtMs = nowMs + leftMs
  if (!keeps) forget(state, message)
  wake(state)
  return 'done'
}

function remove(state: State, lease: string): LeaseOutcome {
  const message = state.messages.get(state.leases.get(lease) ?? '')
  if (message === undefined) return 'lost'
  forget(state, message)
  state.messages.delete(message.messageId)
  return 'done'
}

function forget(state: State, message: Message): void {
  if (message.lease !== null) state.leases.delete(message.lease)
  message.lease = null
}

function wake(state: State): void {
  state.changed.abort()
  state.changed = new AbortController()
}

function untilVisible(state: State): number {
  const nowMs = state.clock.nowMs()
  return Math.max(
    1,
    [...state.messages.values()].reduce(
      (least, message) => Math.min(least, message.visibleAtMs - nowMs),
      60_000,
    ),
  )
}

function stats(state: State): QueueStats {
  const nowMs = state.clock.nowMs()
  const counts = { visible: 0, inFlight: 0, delayed: 0 }
  for (const { visibleAtMs, receiveCount } of state.messages.values()) {
    if (visibleAtMs <= nowMs) counts.visible += 1
    else if (receiveCount > 0) counts.inFlight += 1
    else counts.delayed += 1
  }
  return counts
}
