// What an event that comes again costs: in one worker, in several, at once and spread over time, with claims and without.
import { expect, test } from 'vitest'
import { defaultClaimLimits } from '../../dataset/claims.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { RetryableError } from '../../schemas/errors.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { seededRandom, shuffle } from '../helpers/seeded-random.ts'
import { openTestWorld, startDying } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const drain = { idleExitMs: 400_000, receiveWaitMs: 5000 }

test('costs one pass an image with claims when every event comes three times to three workers', async () => {
  const world = await openTestWorld({ claims: 'on' })
  const images = await world.upload(60)
  const random = seededRandom(3)
  await world.send(shuffle([...images, ...images, ...images], random), 1)
  const workers = Array.from({ length: 3 }, () => world.start({ limits: { ...drain, imagesHeld: 20 } }))
  for (const worker of workers) await worker.end()
  expect(world.engine.counts.images / images.length).toBeLessThanOrEqual(1.05)
  expect((await world.sealed()).length).toBe(60)
  expect([await world.queue.stats(), await world.dead.stats()]).toEqual([empty, empty])
})

test('costs one pass an image with claims when the events are spread over time and nothing is sealed', async () => {
  const world = await openTestWorld({ claims: 'on' })
  const images = await world.upload(20)
  for (let times = 0; times < 3; times += 1) {
    await world.send(images, 1)
    // Each time a worker that knows nothing of the others, as after a restart.
    await world.start({ limits: drain }).end()
    world.clock.advance(20 * 60_000)
  }
  expect(world.engine.counts.images).toBe(20)
  expect((await world.sealed()).length).toBe(20)
})

test('costs a pass for each of them without claims, which shows that the claims did it', async () => {
  const world = await openTestWorld()
  const images = await world.upload(20)
  for (let times = 0; times < 3; times += 1) {
    await world.send(images, 1)
    await world.start({ limits: drain }).end()
  }
  expect(world.engine.counts.images).toBe(60)
  expect((await world.sealed()).length).toBe(20)
})

test('labels what a dead worker had claimed, as soon as the claim expires', async () => {
  const world = await openTestWorld({ claims: 'on' })
  await world.send(await world.upload(3), 1)
  const dead = await startDying(world, 3)
  const claims = async () => (await world.store.list({ prefix: 'claims/' })).objects.length
  let held = 0
  await dead.work(() => {
    void claims().then((count) => (held = count))
    return held === 3
  })
  const startMs = world.clock.nowMs()
  const worker = world.start({ limits: drain })
  await worker.pass(() => worker.of('image').length === 3)
  expect(world.clock.nowMs() - startMs).toBeLessThanOrEqual(
    defaultClaimLimits.claimMs + defaultWorkerLimits.leaseMs,
  )
  await worker.end()
  expect((await world.sealed()).length).toBe(3)
  expect((await world.dead.stats()).visible).toBe(0)
})

test('gives up its claims when it stops, so that the next worker need not wait', async () => {
  const engine = openCountingEngine()
  const world = await openTestWorld({ claims: 'on', engine })
  await world.send(await world.upload(4), 1)
  const never: ObjectStore = {
    ...world.store,
    putIfAbsent: async (key, bytes) =>
      key.startsWith('parts/')
        ? await new Promise<never>(() => {})
        : await world.store.putIfAbsent(key, bytes),
  }
  const stopped = world.start({ mode: 'service', runStoreOf: () => never, limits: { imagesPerPart: 4 } })
  await stopped.work(() => stopped.of('image').length === 4)
  stopped.stop()
  await stopped.end()
  const worker = world.start({ limits: drain })
  await worker.end()
  expect(worker.of('released').filter(({ reason }) => reason === 'claimed')).toEqual([])
  expect((await world.sealed()).length).toBe(4)
})

test('tries a failure again when it is asked to, also with claims', async () => {
  let isBroken = true
  const engine = openCountingEngine({ answer: () => (isBroken ? ' ' : undefined) })
  const world = await openTestWorld({ claims: 'on', engine })
  const images = await world.upload(2)
  await world.send(images)
  await world.start().end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['failed', 'failed'])
  isBroken = false
  await world.send(images)
  await world.start().end()
  expect((await world.sealed()).map(({ status }) => status)).toEqual(['ok', 'ok'])
})

test('labels all the same when an end of a claim cannot be written', async () => {
  const world = await openTestWorld({ claims: 'on' })
  await world.send(await world.upload(2), 1)
  const flaky: ObjectStore = {
    ...world.store,
    async putIfAbsent(key, bytes) {
      if (key.endsWith('-0002.json')) throw new RetryableError('503')
      return await world.store.putIfAbsent(key, bytes)
    },
  }
  await world.start({ runStoreOf: () => flaky }).end()
  expect([(await world.sealed()).length, await world.queue.stats()]).toEqual([2, empty])
})
