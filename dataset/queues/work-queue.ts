// What a queue of work is: at-least-once, leased, unordered. It does not know what a message says.

/** A message on loan: nobody else gets it until the lease runs out, unless it is given back or deleted before. */
export type LeasedMessage = {
  /** The same for every delivery of the message. */
  messageId: string
  /** This delivery's handle; a later delivery has another. */
  lease: string
  body: string
  /** Deliveries so far, this one included. */
  receiveCount: number
  /** When it was first sent, in milliseconds since 1970. */
  sentAtMs: number
}

/** What became of one lease in a batch; a lost one has run out or belongs to somebody else now. */
export type LeaseOutcome = 'done' | 'lost' | 'failed'

export type QueueStats = {
  /** Approximate, as the service counts them. */
  visible: number
  inFlight: number
  delayed: number
}

/** Limits of the service that every implementation keeps to, so that what works on a laptop works there. */
export const maxBatchMessages = 10
export const maxMessageBytes = 1024 * 1024
export const maxLeaseMs = 12 * 60 * 60 * 1000

export type WorkQueue = {
  /** Sends up to `maxBatchMessages` bodies; resolves to one entry a body: whether it was taken. */
  send(bodies: readonly string[], options?: { delayMs?: number }): Promise<boolean[]>
  /** Up to `max` messages, waiting up to `waitMs` for the first; empty when none came. */
  receive(options: {
    max: number
    waitMs: number
    leaseMs: number
    signal?: AbortSignal
  }): Promise<LeasedMessage[]>
  /** Sets the time left on each lease. */
  extend(leases: readonly string[], leaseMs: number): Promise<LeaseOutcome[]>
  /** Gives messages back; they can be received again after `delayMs`. */
  release(leases: readonly string[], delayMs: number): Promise<LeaseOutcome[]>
  /** Deletes messages: their work is durable. */
  ack(leases: readonly string[]): Promise<LeaseOutcome[]>
  stats(): Promise<QueueStats>
}
