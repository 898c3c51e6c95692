// What may go wrong with a request, as data decided by a plan. It does not know how services work.

export type FaultTarget = {
  /** `event` is a notification on its way from a bucket to a queue. */
  service: 's3' | 'sqs' | 'event'
  /** As AWS names it: PutObject, ReceiveMessage; for events the event's name. */
  operation: string
  /** The bucket or queue. */
  name: string
  /** The object's key; empty for queues. */
  key: string
  /** What policies of AWS decide by besides: of a listing, and whether an upload leaves a taken key alone. */
  prefix?: string
  ifNoneMatch?: string
  /** Counts the targets from 0. */
  sequence: number
}

/** Everything here may happen at once; an empty one is a request without trouble. */
export type Fault = {
  /** Waits first, by the emulator's clock. */
  delayMs?: number
  /** Answers with an error and does nothing. */
  refuseWith?: { status: number; code: string; message?: string }
  /** Does the work, then hangs up without an answer. */
  loseResponse?: boolean
  /** Answers half of the body, then hangs up. */
  cutBody?: boolean
  /** Receives: the messages stay visible and come again. */
  duplicate?: boolean
  /** Receives: in another order than sent. */
  reorder?: boolean
  /** Events: one copy goes to the queue after each of these times, by the emulator's clock; else one at once. */
  deliverAfterMs?: readonly number[]
  /** Batches: the entries that fail on the service's side, by index. */
  failEntry?: (index: number) => boolean
}

export type FaultPlan = (target: FaultTarget) => Fault

export const noFaults: FaultPlan = () => ({})

/** Shares in [0, 1] of targets. */
export type FaultRates = {
  refuse?: number
  conflict?: number
  loseResponse?: number
  cutBody?: number
  slow?: number
  duplicate?: number
  reorder?: number
  failEntry?: number
  /** Of events: those that come two or three times, each copy late by up to `maxEventDelayMs`. */
  repeatEvent?: number
}

/** A repeated event's copies come within this time, so that later events overtake them. */
const maxEventDelayMs = 1500

/** A plan that rolls dice from a seed: the same sequence of requests meets the same faults. */
export function seededFaults({ seed, rates }: { seed: number; rates: FaultRates }): FaultPlan {
  const roll = seededRandom(seed)
  const hits = (share = 0) => roll() < share
  return ({ service, operation }) => {
    if (service === 'event') {
      const copies = hits(rates.repeatEvent) ? 2 + Math.floor(roll() * 2) : 1
      const lateMs = () => (roll() < 0.5 ? 0 : roll() * maxEventDelayMs)
      return { deliverAfterMs: Array.from({ length: copies }, lateMs) }
    }
    // Every die is rolled for every target, so that one rate does not shift the others' luck.
    const [refuse, conflict, slow] = [hits(rates.refuse), hits(rates.conflict), hits(rates.slow)]
    const fault: Fault = {
      loseResponse: hits(rates.loseResponse),
      cutBody: hits(rates.cutBody),
      duplicate: hits(rates.duplicate),
      reorder: hits(rates.reorder),
      failEntry: () => hits(rates.failEntry),
    }
    if (slow) fault.delayMs = 50 + Math.floor(roll() * 200)
    if (refuse) fault.refuseWith = roll() < 0.5 ? { status: 500, code: 'InternalError' } : busy(service)
    else if (conflict && operation === 'PutObject')
      fault.refuseWith = { status: 409, code: 'ConditionalRequestConflict' }
    return fault
  }
}

function busy(service: FaultTarget['service']): { status: number; code: string } {
  return { status: 503, code: service === 's3' ? 'SlowDown' : 'ServiceUnavailable' }
}

/** Mulberry32: numbers in [0, 1). */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
