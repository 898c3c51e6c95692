// Every limit of the cloud worker by name, with what it is when nobody says otherwise. It does not know who keeps them.
import { defaultLeaseLimits, type LeaseLimits } from './leases.ts'
import { defaultOpenRunLimits, type OpenRunLimits } from './open-runs.ts'
import { defaultRunLimits, type RunLimits } from './run.ts'

export type WorkerLimits = RunLimits &
  LeaseLimits &
  OpenRunLimits & {
    /** How long one receive waits for the first message. */
    receiveWaitMs: number
    /** The same while messages are held: records that are finished are written when none came, so it bounds their wait. */
    busyReceiveWaitMs: number
    /** The same when the worker would end on an empty queue at once. */
    leastReceiveWaitMs: number
    /** The pause after a queue did not answer. */
    receiveRetryMs: number
    /** No further message is received while messages with this many images are held. */
    imagesHeld: number
    /** From this delivery on, a message is worked on alone, and one of several images is split. */
    isolateFromReceive: number
    /** Delay of a message given back after its first delivery; doubles with each. */
    backoffMs: number
    maxBackoffMs: number
    /**
     * Delay of a message of a paused run, of which between half and all: so late is noticed that the run was resumed.
     * Each delay ends in a delivery, and a queue takes a message away after 8 or so: with 12 hours, the longest there
     * is, a pause could last four days and a resumption would take one to be noticed. So the delay is short, and from
     * the third delivery on (`renewFromReceive`) a message is sent anew, which a pause may go through any number of
     * times. That is about 75 requests a day and message, as long as there are workers: a scaler that leaves paused
     * runs out takes those away. A message that waits is in flight, of which a queue has 120,000.
     */
    pausedDelayMs: number
    renewFromReceive: number
    /** In drain mode: how long the queue must stay empty. */
    idleExitMs: number
    /** From the signal to the end. */
    stopDeadlineMs: number
    /** Of that: kept for writing, deleting and giving back. */
    stopMarginMs: number
  }

export const defaultWorkerLimits: WorkerLimits = {
  ...defaultRunLimits,
  imagesPerPart: 128,
  partAgeMs: 30_000,
  ...defaultLeaseLimits,
  ...defaultOpenRunLimits,
  receiveWaitMs: 20_000,
  busyReceiveWaitMs: 1000,
  leastReceiveWaitMs: 100,
  receiveRetryMs: 2000,
  imagesHeld: 256,
  isolateFromReceive: 3,
  backoffMs: 30_000,
  maxBackoffMs: 15 * 60_000,
  pausedDelayMs: 60 * 60_000,
  renewFromReceive: 3,
  idleExitMs: 60_000,
  // A container gets 120 s between SIGTERM and SIGKILL; a spot notice comes as early.
  stopDeadlineMs: 110_000,
  stopMarginMs: 20_000,
}
