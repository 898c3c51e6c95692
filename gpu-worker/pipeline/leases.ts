// The messages a worker holds: their leases kept alive, and each given back or deleted once. It does not know what
// a message asks for.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../../dataset/queues/clock.ts'
import {
  type LeasedMessage,
  type LeaseOutcome,
  maxBatchMessages,
  type WorkQueue,
} from '../../dataset/queues/work-queue.ts'

export type LeaseLimits = {
  leaseMs: number
  /** How often leases are extended; a third of `leaseMs` leaves two more chances when one fails. */
  heartbeatMs: number
  /** A message held longer than this is no longer extended: a worker that hangs shall not keep it for ever. */
  leaseCapMs: number
  /** How often deleting a message is tried before it is left to be delivered again. */
  ackAttempts: number
  ackRetryMs: number
}

/** From aws.md's measure of queues with slow work: a lease of five minutes, extended three times in each. */
export const defaultLeaseLimits: LeaseLimits = {
  leaseMs: 300_000,
  heartbeatMs: 100_000,
  leaseCapMs: 30 * 60_000,
  ackAttempts: 3,
  ackRetryMs: 1000,
}

export type Delivery = {
  readonly message: LeasedMessage
  readonly heldSinceMs: number
  /** When the lease runs out, as far as this worker knows; it may have been lost before. */
  leaseUntilMs: number
}

export type LeaseEvent =
  | { kind: 'acked' | 'ack-failed' | 'lease-lost'; messageId: string; heldMs: number }
  | { kind: 'queue-error'; error: unknown }

export type Leases = {
  hold(message: LeasedMessage): Delivery
  /** Deletes the message when its lease still stands; many at once share a request. Never rejects. */
  ack(delivery: Delivery): Promise<void>
  /** Gives the message back, to be received again after `delayMs`. Never rejects. */
  release(delivery: Delivery, delayMs: number): Promise<void>
  /** Extends every lease that may be extended, again and again until the signal fires. Never rejects. */
  keepBeating(signal: AbortSignal): Promise<void>
}

type OpenLeases = {
  queue: WorkQueue
  clock: Clock
  limits: LeaseLimits
  onEvent: (event: LeaseEvent) => void
}

type State = OpenLeases & {
  held: Set<Delivery>
  acking: { delivery: Delivery; done: () => void }[]
}

/** Starts with no messages. */
export function openLeases(options: OpenLeases): Leases {
  const state: State = { ...options, held: new Set(), acking: [] }
  const { clock, limits } = options
  return {
    hold(message) {
      const nowMs = clock.nowMs()
      const delivery = { message, heldSinceMs: nowMs, leaseUntilMs: nowMs + limits.leaseMs }
      state.held.add(delivery)
      return delivery
    },
    async ack(delivery) {
      const { promise, resolve } = Promise.withResolvers<void>()
      state.acking.push({ delivery, done: resolve })
      if (state.acking.length === 1) void sendAcks(state)
      await promise
    },
    release: async (delivery, delayMs) => await release(state, delivery, delayMs),
    async keepBeating(signal) {
      while (!signal.aborted) {
        await clock.sleep(limits.heartbeatMs, signal)
        if (!signal.aborted) await beat(state)
      }
    },
  }
}

/** The messages of one part settle in the same turn of the event loop, so waiting for the next one gathers them. */
async function sendAcks(state: State): Promise<void> {
  await nextTurn()
  const acking = state.acking
  state.acking = []
  for (const batch of inBatches(acking)) {
    await ackBatch(
      state,
      batch.map(({ delivery }) => delivery),
    )
    for (const { done } of batch) done()
  }
}

async function ackBatch(state: State, deliveries: readonly Delivery[]): Promise<void> {
  const { queue, clock, limits } = state
  const isHeld = (delivery: Delivery) => delivery.leaseUntilMs > clock.nowMs()
  for (const delivery of deliveries) if (!isHeld(delivery)) finish(state, delivery, 'lease-lost')
  let left = deliveries.filter(isHeld)
  for (let attempt = 1; left.length > 0; attempt += 1) {
    const outcomes = await attemptAll(state, left, async (leases) => await queue.ack(leases))
    for (const [index, delivery] of left.entries()) {
      if (outcomes[index] === 'done') finish(state, delivery, 'acked')
      if (outcomes[index] === 'lost') finish(state, delivery, 'lease-lost')
    }
    left = left.filter((_, index) => outcomes[index] === 'failed')
    if (attempt >= limits.ackAttempts) break
    if (left.length > 0) await clock.sleep(limits.ackRetryMs)
  }
  // It will be delivered again; its records are durable, so that costs a look at the ids.
  for (const delivery of left) finish(state, delivery, 'ack-failed')
}

async function release(state: State, delivery: Delivery, delayMs: number): Promise<void> {
  state.held.delete(delivery)
  // One that fails is as good as released: its lease runs out.
  await attemptAll(state, [delivery], async (leases) => await state.queue.release(leases, Math.ceil(delayMs)))
}

async function beat(state: State): Promise<void> {
  const { queue, clock, limits, held } = state
  const nowMs = clock.nowMs()
  const due = [...held].filter(
    ({ heldSinceMs, leaseUntilMs }) =>
      leaseUntilMs > nowMs && nowMs - heldSinceMs + limits.leaseMs <= limits.leaseCapMs,
  )
  for (const batch of inBatches(due)) {
    const outcomes = await attemptAll(
      state,
      batch,
      async (leases) => await queue.extend(leases, limits.leaseMs),
    )
    for (const [index, delivery] of batch.entries()) {
      if (outcomes[index] === 'done') delivery.leaseUntilMs = nowMs + limits.leaseMs
      // The work goes on and is committed; only the message is somebody else's now.
      if (outcomes[index] === 'lost') delivery.leaseUntilMs = nowMs
    }
  }
}

async function attemptAll(
  { onEvent }: State,
  deliveries: readonly Delivery[],
  act: (leases: string[]) => Promise<LeaseOutcome[]>,
): Promise<LeaseOutcome[]> {
  try {
    return await act(deliveries.map(({ message }) => message.lease))
  } catch (error) {
    onEvent({ kind: 'queue-error', error })
    return deliveries.map(() => 'failed')
  }
}

function finish(state: State, delivery: Delivery, kind: 'acked' | 'ack-failed' | 'lease-lost'): void {
  state.held.delete(delivery)
  const heldMs = state.clock.nowMs() - delivery.heldSinceMs
  state.onEvent({ kind, messageId: delivery.message.messageId, heldMs })
}

function inBatches<T>(items: readonly T[]): T[][] {
  const batches: T[][] = []
  for (let from = 0; from < items.length; from += maxBatchMessages)
    batches.push(items.slice(from, from + maxBatchMessages))
  return batches
}
