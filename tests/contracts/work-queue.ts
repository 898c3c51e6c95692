// What every WorkQueue must do. Implementations run it from tests/dataset/queues.test.ts.
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import { maxLeaseMs, maxMessageBytes, type WorkQueue } from '../../dataset/queues/work-queue.ts'

export type QueueHarness = {
  queue: WorkQueue
  /** Where messages go that were received `maxReceives` times. */
  deadLetters: WorkQueue
  /** Lets so much time pass. */
  elapse(durationMs: number): void
  nowMs(): number
}

const maxReceives = 3
const leaseMs = 30_000
const take = { max: 10, waitMs: 0, leaseMs }

export function workQueueContract(
  name: string,
  open: (options: { maxReceives: number }) => Promise<QueueHarness>,
): void {
  const bodies = (messages: { body: string }[]) => messages.map(({ body }) => body).toSorted()
  const leasesOf = (messages: { lease: string }[]) => messages.map(({ lease }) => lease)

  describe(`WorkQueue contract: ${name}`, () => {
    test('delivers what was sent, once while it is on loan', async () => {
      const { queue, nowMs } = await open({ maxReceives })
      const sentAtMs = nowMs()
      expect(await queue.send(['one', '{"two":"\u{1F600} é"}'])).toEqual([true, true])
      const messages = await queue.receive(take)
      expect(bodies(messages)).toEqual(['one', '{"two":"\u{1F600} é"}'])
      expect(messages.map(({ receiveCount }) => receiveCount)).toEqual([1, 1])
      expect(new Set(messages.map(({ messageId }) => messageId)).size).toBe(2)
      for (const message of messages) expect(message.sentAtMs).toBe(sentAtMs)
      expect(await queue.receive(take)).toEqual([])
      expect(await queue.stats()).toEqual({ visible: 0, inFlight: 2, delayed: 0 })
    })

    test('delivers again when the lease has run out, under the same id and another lease', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['a'])
      const [first] = await queue.receive(take)
      elapse(leaseMs - 1000)
      expect(await queue.receive(take)).toEqual([])
      elapse(1000)
      const [second] = await queue.receive(take)
      expect(second).toMatchObject({ messageId: first!.messageId, body: 'a', receiveCount: 2 })
      expect(second!.sentAtMs).toBe(first!.sentAtMs)
      expect(second!.lease).not.toBe(first!.lease)
    })

    test('forgets what was acked, and only that', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['a', 'b', 'c'])
      const messages = await queue.receive(take)
      const done = messages.filter(({ body }) => body !== 'b')
      expect(await queue.ack(leasesOf(done))).toEqual(['done', 'done'])
      elapse(leaseMs)
      expect(bodies(await queue.receive(take))).toEqual(['b'])
      expect(await queue.stats()).toEqual({ visible: 0, inFlight: 1, delayed: 0 })
    })

    test('extends a lease any number of times, under the same handle', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['a'])
      const leases = leasesOf(await queue.receive(take))
      for (let beat = 0; beat < 4; beat += 1) {
        elapse(leaseMs - 5000)
        expect(await queue.extend(leases, leaseMs)).toEqual(['done'])
        expect(await queue.receive(take)).toEqual([])
      }
      expect(await queue.ack(leases)).toEqual(['done'])
      elapse(leaseMs)
      expect(await queue.receive(take)).toEqual([])
    })

    test('acks while a heartbeat of the same lease is under way', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['a', 'b', 'c', 'd', 'e'])
      const leases = leasesOf(await queue.receive(take))
      const [, acked] = await Promise.all([queue.extend(leases, leaseMs), queue.ack(leases)])
      expect(acked).toEqual(leases.map(() => 'done'))
      elapse(leaseMs)
      expect(await queue.receive(take)).toEqual([])
    })

    test('gives back what is released, at once or after a while', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['a', 'b'])
      const messages = await queue.receive(take)
      const [a, b] = ['a', 'b'].map((body) => messages.find((message) => message.body === body)!.lease)
      expect(await queue.release([a!], 0)).toEqual(['done'])
      expect(await queue.release([b!], 20_000)).toEqual(['done'])
      const [again] = await queue.receive(take)
      expect(again).toMatchObject({ body: 'a', receiveCount: 2 })
      expect(await queue.receive(take)).toEqual([])
      elapse(20_000)
      expect(bodies(await queue.receive(take))).toEqual(['b'])
    })

    test('answers lost for a lease that ran out, and never touches the next holder', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['a'])
      const stale = leasesOf(await queue.receive(take))
      elapse(leaseMs)
      expect(await queue.extend(stale, leaseMs)).toEqual(['lost'])
      expect(await queue.release(stale, 0)).toEqual(['lost'])
      const [held] = await queue.receive(take)
      expect(await queue.extend(stale, 1000)).toEqual(['lost'])
      // SQS calls this a success, and deletes nothing.
      expect(['lost', 'done']).toContain((await queue.ack(stale))[0])
      elapse(5000)
      expect(await queue.receive(take)).toEqual([])
      expect(await queue.ack([held!.lease])).toEqual(['done'])
      expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
    })

    test('tells the leases of one batch apart', async () => {
      const { queue } = await open({ maxReceives })
      await queue.send(Array.from({ length: 10 }, (_, index) => `m${index}`))
      const leases = leasesOf(await queue.receive(take))
      const mixed = [leases[0]!, 'no lease of this queue', ...leases.slice(1)]
      const outcomes = await queue.extend(mixed, leaseMs)
      expect(outcomes).toEqual(mixed.map((lease) => (lease === mixed[1] ? 'lost' : 'done')))
      expect((await queue.ack(mixed)).filter((outcome) => outcome === 'done')).toHaveLength(10)
    })

    test('moves a message that was received too often to the dead letters', async () => {
      const { queue, deadLetters, elapse } = await open({ maxReceives })
      await queue.send(['poison'])
      let messageId = ''
      for (let delivery = 1; delivery <= maxReceives; delivery += 1) {
        const [message] = await queue.receive(take)
        expect(message).toMatchObject({ body: 'poison', receiveCount: delivery })
        messageId = message!.messageId
        elapse(leaseMs)
      }
      expect(await queue.receive(take)).toEqual([])
      expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
      expect(await deadLetters.stats()).toMatchObject({ visible: 1 })
      const [dead] = await deadLetters.receive(take)
      expect(dead).toMatchObject({ body: 'poison', messageId })
      expect(await deadLetters.ack([dead!.lease])).toEqual(['done'])
    })

    test('holds back what is sent with a delay', async () => {
      const { queue, elapse } = await open({ maxReceives })
      await queue.send(['late'], { delayMs: 60_000 })
      expect(await queue.receive(take)).toEqual([])
      expect(await queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 1 })
      elapse(60_000)
      expect(bodies(await queue.receive(take))).toEqual(['late'])
    })

    test('hands each of many messages to one of many receivers', async () => {
      const { queue } = await open({ maxReceives })
      const sent = Array.from({ length: 60 }, (_, index) => `m${index}`)
      for (let at = 0; at < sent.length; at += 10) await queue.send(sent.slice(at, at + 10))
      const received: string[] = []
      const drain = async () => {
        for (;;) {
          const messages = await queue.receive({ ...take, max: 3 })
          if (messages.length === 0) return
          expect(messages.length).toBeLessThanOrEqual(3)
          received.push(...messages.map(({ body }) => body))
          await queue.ack(leasesOf(messages))
        }
      }
      await Promise.all([drain(), drain(), drain(), drain()])
      expect(received.toSorted()).toEqual(sent.toSorted())
    })

    test('wakes a waiting receiver when a message comes', async () => {
      const { queue, elapse } = await open({ maxReceives })
      const waiting = queue.receive({ ...take, waitMs: 10_000 })
      await sleep(100)
      await queue.send(['a'])
      elapse(200)
      expect(bodies(await waiting)).toEqual(['a'])
    })

    test('stops waiting when it is told to, and loses nothing by it', async () => {
      const { queue } = await open({ maxReceives })
      const stop = new AbortController()
      const waiting = queue.receive({ ...take, waitMs: 20_000, signal: stop.signal })
      await sleep(50)
      stop.abort()
      expect(await waiting).toEqual([])
      await sleep(50)
      await queue.send(['a'])
      expect(bodies(await queue.receive(take))).toEqual(['a'])
    })

    test('takes nothing and gives nothing for empty lists', async () => {
      const { queue } = await open({ maxReceives })
      expect(await queue.send([])).toEqual([])
      expect(await queue.ack([])).toEqual([])
      expect(await queue.extend([], leaseMs)).toEqual([])
      expect(await queue.receive(take)).toEqual([])
    })

    test('takes a message and a batch at the limits, and refuses what is beyond', async () => {
      const { queue } = await open({ maxReceives })
      const largest = 'x'.repeat(maxMessageBytes)
      expect(await queue.send([largest, largest])).toEqual([true, true])
      expect((await queue.receive({ ...take, max: 1 }))[0]!.body).toBe(largest)
      await expect(queue.send([`${largest}x`])).rejects.toThrow(UserError)
      await expect(queue.send([''])).rejects.toThrow(UserError)
      await expect(queue.send(['a\0b'])).rejects.toThrow(UserError)
      await expect(queue.send(Array.from({ length: 11 }, () => 'a'))).rejects.toThrow(InvariantError)
      await expect(queue.receive({ ...take, leaseMs: maxLeaseMs + 1 })).rejects.toThrow(InvariantError)
    })
  })
}
