// The cloud worker over memory and a clock that the test moves: every branch of what can become of a message.
import { expect, test } from 'vitest'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { backoffMs } from '../../gpu-worker/pipeline/give-back-delay.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { openTestWorld, testBucket } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const keysOf = (records: readonly { source: { key: string } }[]) =>
  records.map(({ source }) => source.key).toSorted()

test('labels what messages of every form ask for and deletes each only after its part', async () => {
  const world = await openTestWorld({ tasks: ['caption', 'qa'] })
  const images = await world.upload(40)
  await world.send(images.slice(0, 30), 7)
  const s3 = (key: string) => ({
    eventSource: 'aws:s3',
    eventVersion: '2.4',
    eventName: 'ObjectCreated:Put',
    s3: { bucket: { name: testBucket }, object: { key, size: 9, eTag: 'x' } },
  })
  const asEvent = images.slice(30, 35).map(({ key }) => s3(key))
  const bodies = images.slice(35).map(({ key }) => ({
    'source': 'aws.s3',
    'detail-type': 'Object Created',
    'detail': { bucket: { name: testBucket }, object: { key, size: 9 } },
  }))
  for (const body of [{ Records: asEvent }, ...bodies, { Service: 'Amazon S3', Event: 's3:TestEvent' }])
    await world.queue.send([JSON.stringify(body)])
  const worker = world.start()
  expect(await worker.end()).toEqual({ ended: 'drained' })
  const records = await world.sealed()
  expect(keysOf(records)).toEqual(images.flatMap(({ key }) => [key, key]))
  expect([await world.queue.stats(), await world.dead.stats()]).toEqual([empty, empty])
  expect(world.engine.counts.images).toBe(40)
  const kinds = worker.events
    .filter(({ kind }) => kind === 'part' || kind === 'acked')
    .map(({ kind }) => kind)
  // The test event alone has nothing to wait for.
  expect(kinds.filter((kind) => kind === 'acked')).toHaveLength(12)
  expect(kinds.indexOf('part')).toBeLessThanOrEqual(1)
})

test('deletes nothing before the part is durable', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(5))
  const written = Promise.withResolvers<void>()
  const slow: ObjectStore = {
    ...world.store,
    async putIfAbsent(key, bytes) {
      await written.promise
      return await world.store.putIfAbsent(key, bytes)
    },
  }
  const worker = world.start({ runStoreOf: () => slow, limits: { imagesPerPart: 5 } })
  await worker.work(() => worker.of('image').length === 5)
  expect([worker.of('acked').length, (await world.queue.stats()).inFlight]).toEqual([0, 1])
  written.resolve()
  await worker.end()
  expect([worker.of('acked').length, await world.queue.stats()]).toEqual([1, empty])
})

test('writes parts by images and by age', async () => {
  const world = await openTestWorld()
  const images = await world.upload(12)
  await world.send(images.slice(0, 10), 1)
  const waits = { receiveWaitMs: 600_000, busyReceiveWaitMs: 600_000 }
  const worker = world.start({ mode: 'service', limits: { imagesPerPart: 4, ...waits } })
  await worker.work(() => worker.of('image').length === 10)
  expect(worker.of('part').map(({ records }) => records)).toEqual([4, 4])
  world.clock.advance(defaultWorkerLimits.partAgeMs)
  await worker.work(() => worker.of('part').length === 3)
  worker.stop()
  expect(await worker.end()).toEqual({ ended: 'stopped' })
})

test('writes the part of a lone image when no message came for a moment, and goes on waiting', async () => {
  const world = await openTestWorld()
  const worker = world.start({ mode: 'service' })
  const startMs = world.clock.nowMs()
  await world.send(await world.upload(1))
  await worker.pass(() => worker.of('acked').length === 1, 100)
  const { busyReceiveWaitMs, partAgeMs } = defaultWorkerLimits
  expect(world.clock.nowMs() - startMs).toBeLessThan(busyReceiveWaitMs + partAgeMs / 2)
  worker.stop()
  await worker.end()
})

test('costs one pass an image with 5 % duplicate events, in one batch, later, and in another worker', async () => {
  const world = await openTestWorld()
  const images = await world.upload(200)
  const twice = images.filter((_, n) => n % 20 === 0)
  await world.send([...images, ...twice], 1)
  const first = world.start({ limits: { receiveWaitMs: 100 } })
  await first.end()
  expect((await world.sealed()).length).toBe(200)
  await world.send([...twice, ...twice.map(({ bucket, key }) => ({ bucket, key }))], 3)
  await world.start().end()
  const passes = world.engine.counts.images / images.length
  console.log(`passes per image with 5 % duplicates: ${passes}`)
  expect(passes).toBeLessThanOrEqual(1.05)
  expect((await world.sealed()).length).toBe(200)
  expect(await world.queue.stats()).toEqual(empty)
})

test('labels both contents of an image that is overwritten while it is under way', async () => {
  const world = await openTestWorld()
  const [image] = await world.upload(1)
  let bytes = numberedPng(1)
  const changing: ObjectStore = {
    ...world.bucket,
    getWithin: async (key) => {
      const now = bytes
      bytes = numberedPng(2)
      return { key, sizeBytes: now.length, bytes: now }
    },
  }
  await world.send([image!, { ...image!, etag: 'other' }], 1)
  await world.start({ sourceOf: () => changing }).end()
  expect(new Set((await world.sealed()).map(({ source }) => source.sha256)).size).toBe(2)
})

test('keeps apart equal keys of two buckets', async () => {
  const world = await openTestWorld()
  const [image] = await world.upload(1)
  await world.send([image!, { ...image!, bucket: 'other' }], 1)
  await world.start({ sourceOf: () => world.bucket }).end()
  expect((await world.sealed()).length).toBe(2)
})

test('makes failed records of bad bytes and of bytes never read, and deletes the messages', async () => {
  const world = await openTestWorld()
  const [image] = await world.upload(1)
  const folder = `incoming/${world.runId}`
  await world.bucket.putIfAbsent(`${folder}/bad.png`, Buffer.from('no image'))
  await world.bucket.putIfAbsent(`${folder}/big.png`, Buffer.alloc(3000))
  const asked = ['bad.png', 'gone.png', '../up.png'].map((name) => ({
    bucket: testBucket,
    key: `${folder}/${name}`,
    etag: 'a',
  }))
  const big = { bucket: testBucket, key: `${folder}/big.png`, versionId: 'v1' }
  await world.send([image!, ...asked, big], 2)
  // The same missing object under another version is another image that was never read.
  await world.send([{ ...asked[1]!, etag: 'b' }, asked[1]!], 1)
  const worker = world.start({
    limits: { decode: { ...defaultWorkerLimits.decode, maxBytes: 2000 } },
  })
  await worker.end()
  const records = await world.sealed()
  const facts = records.map(({ source, error }) => [
    source.key.slice(folder.length + 1),
    error?.code ?? null,
    source.sha256 === null,
    source.unread ?? false,
  ])
  expect(facts.toSorted((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1))).toEqual([
    ['../up.png', 'source-unreadable', true, true],
    ['00000.png', null, false, false],
    ['bad.png', 'image-format-unsupported', false, false],
    ['big.png', 'image-too-large', true, true],
    ['gone.png', 'source-not-found', true, true],
    ['gone.png', 'source-not-found', true, true],
  ])
  expect([await world.queue.stats(), await world.dead.stats()]).toEqual([empty, empty])
})

test('waits longer and longer for a source that is down and never makes a record of it', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(2), 2)
  let downs = 3
  const flaky: ObjectStore = {
    ...world.bucket,
    getWithin: async (key, limit) => {
      if (downs-- > 0) throw new RetryableError('503 slow down')
      return await world.bucket.getWithin(key, limit)
    },
  }
  const worker = world.start({ sourceOf: () => flaky, limits: { idleExitMs: 200_000 } })
  await worker.end()
  const released = worker.of('released')
  expect(released.map(({ reason }) => reason)).toEqual(released.map(() => 'try-again'))
  expect(released.map(({ delayMs }) => delayMs).slice(0, 2)).toEqual([22_500, 45_000])
  const records = await world.sealed()
  expect(records.map(({ status }) => status)).toEqual(['ok', 'ok'])
  expect(Math.max(...records.map(({ attempt }) => attempt))).toBeGreaterThan(1)
})

test('doubles the delay up to its limit and spreads it over half of it', () => {
  const limits = defaultWorkerLimits
  const delays = [1, 2, 5, 6, 7, 1000].map((count) => backoffMs(count, { limits, random: () => 0 }))
  expect(delays).toEqual([15_000, 30_000, 240_000, 450_000, 450_000, 450_000])
  expect(backoffMs(1, { limits, random: () => 0.999 })).toBeGreaterThan(29_000)
})

test.each([
  ['may not read', 'AccessDenied', 'source-denied'],
  ['cannot read, since it is archived', 'InvalidObjectState', 'source-unreadable'],
])(
  'makes a failed record of what it %s, but ends when the whole store is shut',
  async (_what, name, code) => {
    const world = await openTestWorld()
    await world.send(await world.upload(2), 1)
    const say = (name: string): ObjectStore => ({
      ...world.bucket,
      getWithin: async () => {
        throw new UserError(`s3://photos/a.png: ${name}`, { cause: Object.assign(new Error(name), { name }) })
      },
    })
    const expired = world.start({ sourceOf: () => say('ExpiredToken') })
    await expect(expired.end()).rejects.toThrow('ExpiredToken')
    expect([await world.sealed(), expired.of('acked')]).toEqual([[], []])
    await world.start({ sourceOf: () => say(name) }).end()
    const records = await world.sealed()
    expect(records.map(({ error, source }) => [error?.code, source.unread])).toEqual([
      [code, true],
      [code, true],
    ])
  },
)

test('writes a part again with the same bytes when the store does not answer', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(3))
  let failures = 2
  const keys: string[] = []
  const flaky: ObjectStore = {
    ...world.store,
    async putIfAbsent(key, bytes) {
      keys.push(key)
      if (failures-- > 0) throw new RetryableError('lost response')
      return await world.store.putIfAbsent(key, bytes)
    },
  }
  const worker = world.start({ runStoreOf: () => flaky })
  await worker.end()
  expect([keys.length, new Set(keys).size, worker.of('released').length]).toEqual([3, 1, 0])
  expect((await world.sealed()).length).toBe(3)
})

test('gives everything back when a part cannot be written for long, and labels it later', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(3))
  let isDown = true
  const down: ObjectStore = {
    ...world.store,
    async putIfAbsent(key, bytes) {
      if (isDown) throw new RetryableError('503')
      return await world.store.putIfAbsent(key, bytes)
    },
  }
  const worker = world.start({ runStoreOf: () => down })
  await worker.pass(() => worker.of('released').length > 0)
  expect([worker.of('released')[0]?.reason, worker.of('acked').length]).toEqual(['try-again', 0])
  isDown = false
  await worker.end()
  expect((await world.sealed()).length).toBe(3)
})

test('ends with the error when the disk is full, after giving back what it held', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(20), 4)
  const full: ObjectStore = {
    ...world.store,
    putIfAbsent: async () => {
      throw new UserError('the disk is full')
    },
  }
  const worker = world.start({ runStoreOf: () => full, limits: { imagesPerPart: 4 } })
  await expect(worker.end()).rejects.toThrow('the disk is full')
  const { inFlight, visible, delayed } = await world.queue.stats()
  expect(visible + delayed + inFlight).toBe(5)
  expect(worker.of('released')).toHaveLength(5)
  expect(worker.of('acked')).toHaveLength(0)
})

test('ends, with no record, when the engine fails on everything', async () => {
  const broken = openCountingEngine({
    answer: () => {
      throw new Error('out of memory')
    },
  })
  const world = await openTestWorld({ engine: broken })
  await world.send(await world.upload(30), 3)
  await expect(world.start().end()).rejects.toThrow(/8 images in a row.*out of memory/)
  expect(await world.sealed()).toEqual([])
  await world.start({ engine: openCountingEngine() }).end()
  expect((await world.sealed()).filter(({ status }) => status === 'ok')).toHaveLength(30)
})

test('makes a failed record of an image that fails alone in an engine that works, and of no other', async () => {
  let bad = ''
  const engine = openCountingEngine({
    answer: (_request, hash) => {
      bad ||= hash
      if (hash === bad) throw new Error('it died')
      return undefined
    },
  })
  const world = await openTestWorld({ engine })
  const images = await world.upload(2)
  await world.send(images.slice(0, 1))
  const worker = world.start({ limits: { idleExitMs: 100_000 } })
  await worker.pass(() => worker.of('released').length === 1)
  // Nothing has shown yet that the engine works at all.
  expect(worker.of('released')[0]?.reason).toBe('try-again')
  await world.send(images.slice(1))
  await worker.end()
  const records = await world.sealed()
  expect(records.map(({ error }) => error?.code ?? 'ok')).toEqual(['engine-error', 'ok'])
  expect([await world.queue.stats(), await world.dead.stats()]).toEqual([empty, empty])
})

test('makes one ok row of a failure that a later message repairs', async () => {
  let isBroken = true
  const engine = openCountingEngine({ answer: () => (isBroken ? ' ' : undefined) })
  const world = await openTestWorld({ engine })
  const images = await world.upload(2)
  await world.send(images)
  await world.start().end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['failed', 'failed'])
  isBroken = false
  await world.send(images)
  await world.start().end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['ok', 'ok'])
  await world.send(images)
  await world.start().end()
  expect([(await world.sealed()).length, engine.counts.images]).toEqual([2, 4])
})

const noWork: [string, string, (run: string) => unknown][] = [
  ['of a run that is not there', 'no-run', () => envelope('run-none')],
  ['for a task the run lacks', 'unknown-task', (run) => ({ ...envelope(run), tasks: ['qa'] })],
  ['for a bucket it may not read', 'bad-bucket', (run) => envelope(run, 'secrets')],
  ['it cannot read', 'unknown-message', () => 'hello'],
  ['of another version', 'unknown-message', (run) => ({ ...envelope(run), schema: 'coglabel.work.v9' })],
]
const envelope = (runId: string, bucket = testBucket) => ({
  schema: 'coglabel.work.v1',
  runId,
  items: [{ bucket, key: 'a.png' }],
})
test.each(noWork)('leaves a message %s to the dead letters, as %s', async (_name, reason, body) => {
  const world = await openTestWorld({ maxReceives: 4 })
  await world.queue.send([JSON.stringify(body(world.runId))])
  const worker = world.start({ limits: { idleExitMs: 300_000 } })
  await worker.end()
  expect(worker.of('released').map((event) => event.reason)).toEqual([reason, reason, reason, reason])
  expect(worker.of('released').map(({ delayMs }) => delayMs)).toEqual([22_500, 45_000, 90_000, 180_000])
  expect([await world.queue.stats(), (await world.dead.stats()).visible]).toEqual([empty, 1])
  expect(await world.sealed()).toEqual([])
})

test('labels for a run that is opened after its first event', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(1))
  let isThere = false
  const late: ObjectStore = {
    ...world.store,
    get: async (key) => (key === 'config.json' && !isThere ? null : await world.store.get(key)),
  }
  const worker = world.start({ runStoreOf: () => late })
  await worker.pass(() => worker.of('released').length > 0)
  isThere = true
  await worker.end()
  expect((await world.sealed()).length).toBe(1)
})

test('gives back what is for another model', async () => {
  const world = await openTestWorld({ maxReceives: 2 })
  await world.send(await world.upload(1))
  const other = openCountingEngine()
  const worker = world.start({
    engine: { ...other, info: { ...other.info, model: { ...other.info.model, digest: 'dd'.repeat(32) } } },
  })
  await worker.end()
  expect(worker.of('released').map(({ reason }) => reason)).toContain('other-model')
  expect(other.counts.images).toBe(0)
})

test('fails no image while the engine answers nothing at all, as a server does that is down for hours', async () => {
  let [answered, isDown] = [0, false]
  const engine = openCountingEngine({
    answer: () => {
      if (isDown) throw new Error('connect ECONNREFUSED')
      answered += 1
      return undefined
    },
  })
  const world = await openTestWorld({ engine })
  const images = await world.upload(3)
  await world.send(images.slice(0, 1))
  const worker = world.start({ mode: 'service' })
  await worker.pass(() => answered === 1 && worker.of('part').length === 1)
  isDown = true
  await world.send(images.slice(1), 1)
  // Each comes back twice and then a third time, alone, to an engine that has worked before.
  await worker.pass(() => worker.of('released').length >= 6)
  expect(worker.of('released').every(({ reason }) => reason === 'try-again')).toBe(true)
  isDown = false
  await worker.pass(() => worker.of('image').filter(({ statuses }) => statuses[0] === 'ok').length === 3)
  worker.stop()
  await worker.end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['ok', 'ok', 'ok'])
  expect([await world.queue.stats(), await world.dead.stats()]).toEqual([empty, empty])
})

test('works on a message alone from its third delivery on, and splits it into its images', async () => {
  const world = await openTestWorld()
  const images = await world.upload(8)
  await world.send(images.slice(0, 4), 4)
  for (let times = 0; times < 2; times += 1) {
    const [taken] = await world.queue.receive({ max: 10, waitMs: 0, leaseMs: 1000 })
    await world.queue.release([taken!.lease], 0)
  }
  await world.send(images.slice(4), 2)
  const worker = world.start()
  await worker.end()
  expect(worker.of('split').map(({ into }) => into)).toEqual([4])
  expect(keysOf(await world.sealed())).toEqual(images.map(({ key }) => key))
  const kinds = worker.events.map(({ kind }) => kind)
  // The other two were deleted before the suspect was touched.
  expect(kinds.slice(0, kinds.indexOf('split')).filter((kind) => kind === 'acked')).toHaveLength(2)
})

test('keeps leases alive while it works, up to a cap, and commits but does not delete after it', async () => {
  const answer = Promise.withResolvers<void>()
  const slow = openCountingEngine()
  const engine = {
    ...slow,
    openImage: async (...args: Parameters<typeof slow.openImage>) => {
      await answer.promise
      return await slow.openImage(...args)
    },
  }
  const world = await openTestWorld()
  await world.send(await world.upload(1))
  const worker = world.start({ engine, limits: { idleExitMs: 10_000 } })
  const heldMs = async () => {
    const startMs = world.clock.nowMs()
    while ((await world.queue.stats()).inFlight === 1 && world.clock.nowMs() - startMs < 4 * 3_600_000)
      await worker.pass(worldHasPassed(world.clock.nowMs() + 10_000, world.clock), 10_000)
    return world.clock.nowMs() - startMs
  }
  await worker.work(() => worker.of('received').length === 1)
  const cappedAtMs = await heldMs()
  expect(cappedAtMs).toBeGreaterThan(defaultWorkerLimits.leaseMs * 2)
  expect(cappedAtMs).toBeLessThanOrEqual(defaultWorkerLimits.leaseCapMs + 20_000)
  answer.resolve()
  await worker.end()
  expect(worker.of('lease-lost').length).toBeGreaterThanOrEqual(1)
  expect([slow.counts.images, (await world.sealed()).length]).toEqual([1, 1])
  expect(await world.queue.stats()).toEqual(empty)
})

function worldHasPassed(untilMs: number, clock: { nowMs(): number }): () => boolean {
  return () => clock.nowMs() >= untilMs
}

test('goes on and commits when the queue says that a lease is lost, and does not delete', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(2), 1)
  const lost: WorkQueue = { ...world.queue, ack: async (leases) => leases.map(() => 'lost' as const) }
  const worker = world.start({ queue: lost, mode: 'service' })
  await worker.pass(() => worker.of('lease-lost').length === 2)
  expect([worker.of('acked').length, (await world.sealed()).length]).toEqual([0, 2])
  worker.stop()
  await worker.end()
})

test('tries again to delete, and to receive, when the queue does not answer', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(4), 1)
  let [acks, receives] = [1, 2]
  const flaky: WorkQueue = {
    ...world.queue,
    ack: async (leases) => (acks-- > 0 ? leases.map(() => 'failed' as const) : await world.queue.ack(leases)),
    receive: async (options) => {
      if (receives-- > 0) throw new RetryableError('timeout')
      return await world.queue.receive(options)
    },
  }
  const worker = world.start({ queue: flaky })
  await worker.end()
  expect([worker.of('acked').length, worker.of('queue-error').length]).toEqual([4, 2])
  expect(await world.queue.stats()).toEqual(empty)
})

test('never deletes when deleting fails for good; the next delivery costs no pass', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(3), 1)
  let isDown = true
  const flaky: WorkQueue = {
    ...world.queue,
    ack: async (leases) => {
      if (isDown) throw new RetryableError('timeout')
      return await world.queue.ack(leases)
    },
  }
  const worker = world.start({ queue: flaky, limits: { idleExitMs: 400_000 } })
  await worker.pass(() => worker.of('ack-failed').length === 3)
  isDown = false
  await worker.end()
  expect([world.engine.counts.images, await world.queue.stats()]).toEqual([3, empty])
})

test('finishes what is under way when it is told to stop, and gives back the rest at once', async () => {
  const engine = openCountingEngine({ delayMs: 3 })
  const world = await openTestWorld({ engine })
  await world.send(await world.upload(60), 2)
  const worker = world.start({ mode: 'service', limits: { imagesHeld: 20 } })
  await worker.work(() => worker.of('image').length >= 5)
  worker.stop()
  expect(await worker.end()).toEqual({ ended: 'stopped' })
  expect((await world.queue.stats()).inFlight).toBe(0)
  expect(worker.of('released').every(({ reason, delayMs }) => reason === 'stopping' && delayMs === 0)).toBe(
    true,
  )
  const finished = (await world.sealed()).length
  expect(finished).toBeGreaterThanOrEqual(5)
  expect(finished).toBeLessThan(60)
  await world.start().end()
  expect([(await world.sealed()).length, engine.counts.images]).toEqual([60, 60])
})

test('gives back what hangs before the deadline', async () => {
  const hanging = openCountingEngine()
  const engine = {
    ...hanging,
    openImage: async (_pixels: Float32Array | null, signal?: AbortSignal) =>
      await new Promise<never>((_resolve, reject) => {
        // The signal's own reason, as the engine does.
        signal?.addEventListener('abort', () => reject(signal.reason as Error))
      }),
  }
  const world = await openTestWorld()
  await world.send(await world.upload(6), 2)
  const worker = world.start({ engine, mode: 'service' })
  await worker.work(() => worker.of('received').length === 1)
  const toldAtMs = world.clock.nowMs()
  worker.stop()
  expect(await worker.end()).toEqual({ ended: 'stopped' })
  expect(world.clock.nowMs() - toldAtMs).toBeLessThanOrEqual(defaultWorkerLimits.stopDeadlineMs)
  expect(await world.queue.stats()).toEqual({ ...empty, visible: 3 })
})

test('gives back in time what waits for a store that never answers', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(6), 2)
  const dead: ObjectStore = { ...world.store, putIfAbsent: async () => await new Promise<never>(() => {}) }
  const worker = world.start({ runStoreOf: () => dead, mode: 'service', limits: { imagesPerPart: 6 } })
  await worker.work(() => worker.of('image').length === 6)
  worker.stop()
  await worker.end()
  expect(await world.queue.stats()).toEqual({ ...empty, visible: 3 })
})

test('waits for more in service mode and leaves in drain mode', async () => {
  const world = await openTestWorld()
  const worker = world.start({ mode: 'service' })
  for (let hours = 0; hours < 3; hours += 1) world.clock.advance(3_600_000)
  await world.send(await world.upload(1))
  await worker.pass(() => worker.of('acked').length === 1)
  worker.stop()
  await worker.end()
  const startMs = world.clock.nowMs()
  await world.start({ limits: { idleExitMs: 5000 } }).end()
  expect(world.clock.nowMs() - startMs).toBeLessThan(10_000)
})

test('holds no more images than it may', async () => {
  const world = await openTestWorld()
  await world.send(await world.upload(100), 5)
  const worker = world.start({ limits: { imagesHeld: 50, imagesPerPart: 1000, partAgeMs: 3_600_000 } })
  await worker.end()
  // Ten messages at a time: the second ten only after the first were written, for all that the part was not full.
  expect(worker.of('part').map(({ records }) => records)).toEqual([50, 50])
})
