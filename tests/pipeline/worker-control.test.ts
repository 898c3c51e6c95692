// What a worker does with the messages of runs that are paused, resumed, cancelled, or not there.
import { expect, test } from 'vitest'
import { controlRun } from '../../dataset/run-control.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { readRecords } from '../../dataset/read.ts'
import { sealRun } from '../../dataset/seal.ts'
import { giveBackDelayMs } from '../../gpu-worker/pipeline/give-back-delay.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import type { RunAction } from '../../schemas/run-control.ts'
import { numberedPng } from '../helpers/images.ts'
import { someRun } from '../helpers/records.ts'
import { openTestWorld, testBucket } from '../helpers/test-worker.ts'

const empty = { visible: 0, inFlight: 0, delayed: 0 }
const hourMs = 3_600_000

async function openControlled(options: Parameters<typeof openTestWorld>[0] = {}) {
  const world = await openTestWorld(options)
  return {
    ...world,
    control: async (action: RunAction) =>
      await controlRun(world.store, { action, now: new Date(world.clock.nowMs()) }),
  }
}

/** One S3 notification about images of several runs. */
const notification = (keys: readonly string[]) =>
  JSON.stringify({
    Records: keys.map((key) => ({
      eventSource: 'aws:s3',
      eventVersion: '2.6',
      eventName: 'ObjectCreated:Put',
      s3: { bucket: { name: testBucket }, object: { key } },
    })),
  })

test('labels nothing of a paused run for three days, loses nothing to the dead letters, and goes on', async () => {
  const world = await openControlled()
  await world.send(await world.upload(6), 2)
  await world.control('pause')
  const worker = world.start({ mode: 'service', limits: { receiveWaitMs: hourMs } })
  const untilMs = world.clock.nowMs() + 72 * hourMs
  await worker.pass(() => world.clock.nowMs() > untilMs, 10 * 60_000)
  expect(world.engine.counts.images).toBe(0)
  expect(worker.of('renewed').length).toBeGreaterThan(10)
  expect(
    worker.of('released').every(({ reason, runId }) => reason === 'paused' && runId === world.runId),
  ).toBe(true)
  const { visible, inFlight, delayed } = await world.queue.stats()
  expect([visible + inFlight + delayed, await world.dead.stats()]).toEqual([3, empty])
  // A day has 75 requests a message, counted one by one: most of them go in batches.
  const requests = worker.of('released').length * 2 + worker.of('renewed').length * 3
  expect(requests / 3 / 3).toBeLessThan(110)
  await world.control('resume')
  const resumedMs = world.clock.nowMs()
  await worker.pass(() => worker.of('acked').length >= worker.of('renewed').length + 3, 60_000)
  expect(world.clock.nowMs() - resumedMs).toBeLessThanOrEqual(hourMs + 120_000)
  worker.stop()
  await worker.end()
  expect((await world.sealed()).length).toBe(6)
})

test('notices within its bound that a run is paused, and finishes what is under way', async () => {
  const world = await openControlled()
  await world.send(await world.upload(2), 1)
  const worker = world.start({ mode: 'service' })
  await worker.work(() => worker.of('image').length === 2)
  await world.control('pause')
  world.clock.advance(defaultWorkerLimits.controlAgeMs)
  await world.send(await world.upload(1, 10), 1)
  await worker.pass(() => worker.of('released').length === 1)
  expect([worker.of('released')[0]?.reason, world.engine.counts.images]).toEqual(['paused', 2])
  worker.stop()
  await worker.end()
  expect((await world.sealed()).length).toBe(2)
})

test('waits for a paused run between half and all of its delay, which a queue takes', () => {
  const delays = [0, 0.999].map((chance) =>
    giveBackDelayMs(
      5,
      { reason: 'paused', message: '' },
      { limits: defaultWorkerLimits, random: () => chance },
    ),
  )
  expect(delays[0]).toBe(hourMs / 2)
  expect(delays[1]).toBeLessThanOrEqual(hourMs)
  // Before its last delivery but five, a message is sent anew.
  expect(defaultWorkerLimits.renewFromReceive).toBeLessThanOrEqual(3)
})

test('gives back what cannot be sent anew, and tries again with the next delivery', async () => {
  const world = await openControlled()
  await world.send(await world.upload(1), 1)
  await world.control('pause')
  let isDown = true
  const flaky = {
    ...world.queue,
    send: async (bodies: readonly string[]) =>
      isDown ? bodies.map(() => false) : await world.queue.send(bodies),
  }
  const worker = world.start({ queue: flaky, mode: 'service' })
  await worker.pass(() => worker.of('released').length >= 4, 60_000)
  expect(worker.of('renewed')).toHaveLength(0)
  isDown = false
  await worker.pass(() => worker.of('renewed').length === 1, 60_000)
  worker.stop()
  await worker.end()
  expect((await world.dead.stats()).visible).toBe(0)
})

test('drops the images of a cancelled run, counts them, and labels those of others in the same message', async () => {
  const world = await openControlled()
  const other = world.storeOf('other')
  const { v: _v, runId: _id, createdAt: _at, ...wanted } = world.config
  await openRun(other, { wanted, now: new Date(0), runId: 'other' })
  const keys = [`incoming/${world.runId}/a.png`, 'incoming/other/b.png', `incoming/${world.runId}/c.png`]
  for (const [n, key] of keys.entries()) await world.bucket.putIfAbsent(key, numberedPng(n))
  await world.control('cancel')
  await world.queue.send([notification(keys), notification([keys[0]!])])
  const worker = world.start()
  await worker.end()
  const cancelled = worker.of('cancelled').toSorted((left, right) => left.images - right.images)
  expect(cancelled.map(({ images, runIds }) => [images, runIds])).toEqual([
    [1, [world.runId]],
    [2, [world.runId]],
  ])
  expect([await world.queue.stats(), await world.dead.stats(), await world.sealed()]).toEqual([
    empty,
    empty,
    [],
  ])
  await sealRun({ store: other, runId: 'other', clock: () => new Date(0) })
  const labelled: string[] = []
  for await (const { source } of readRecords(other)) labelled.push(source.key)
  expect(labelled).toEqual(['incoming/other/b.png'])
})

test('keeps a message of a cancelled run as long as another run in it has a problem', async () => {
  const world = await openControlled({ maxReceives: 3 })
  await world.control('cancel')
  await world.queue.send([notification([`incoming/${world.runId}/a.png`, 'incoming/run-none/b.png'])])
  const worker = world.start({ limits: { idleExitMs: 300_000 } })
  await worker.end()
  expect(worker.of('cancelled')).toEqual([])
  expect((await world.dead.stats()).visible).toBe(1)
})

test('names the run that is not there, and takes the message back once it is', async () => {
  const world = await openControlled({ maxReceives: 4 })
  await world.bucket.putIfAbsent('incoming/later/a.png', numberedPng(1))
  await world.queue.send([notification(['incoming/later/a.png'])])
  const worker = world.start({ limits: { idleExitMs: 300_000 } })
  await worker.end()
  expect(worker.of('released').map(({ reason, runId }) => [reason, runId])).toEqual(
    Array.from({ length: 4 }, () => ['no-run', 'later']),
  )
  // The whole message lies in the dead letters, and says again which run it was for.
  const [buried] = await world.dead.receive({ max: 1, waitMs: 0, leaseMs: 0 })
  expect(JSON.parse(buried!.body)).toEqual(JSON.parse(notification(['incoming/later/a.png'])))
  const store = world.storeOf('later')
  await openRun(store, {
    wanted: { ...someRun, model: world.engine.info.model },
    now: new Date(0),
    runId: 'later',
  })
  await world.queue.send([buried!.body])
  await world.start().end()
  await sealRun({ store, runId: 'later', clock: () => new Date(0) })
  const records: string[] = []
  for await (const { status } of readRecords(store)) records.push(status)
  expect(records).toEqual(['ok'])
})
