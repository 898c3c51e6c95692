// The scaler's memory from look to look, and what pauses and cost caps do to it.
import { expect, test } from 'vitest'
import { defaultCapacityPolicy } from '../../dataset/capacity.ts'
import { writeWorkMessages } from '../../dataset/events.ts'
import { writePart } from '../../dataset/parts.ts'
import { openPlace } from '../../dataset/place.ts'
import { planRun } from '../../dataset/plan.ts'
import { reconcileRun } from '../../dataset/reconcile.ts'
import { controlRun, readControl } from '../../dataset/run-control.ts'
import { openRun, wantedRunId, type WantedRun } from '../../dataset/run-folder.ts'
import { openScaler, type Pools } from '../../dataset/scale.ts'
import { sealRun } from '../../dataset/seal.ts'
import type { Deployment } from '../../schemas/deployment.ts'
import { someRecord } from '../helpers/records.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const wanted: WantedRun = {
  source: { kind: 'standing', uri: 'file:///images/', bucket: 'images' },
  model: { name: 'm', digest: 'd', weights: 'int8', licence: 'l' },
  template: 'chat',
  tasks: [
    {
      task: 'caption',
      taskVersion: 1,
      ordinal: 0,
      template: 'chat',
      prompts: [{ question: 'q' }],
      maxNewTokens: 8,
    },
  ],
  sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
}
const startMs = Date.UTC(2026, 0, 1)
const policy = { ...defaultCapacityPolicy, imagesPerSecond: 0.01 }

async function open(more: Partial<WantedRun> = {}) {
  const deployment: Deployment | null = null
  const place = { ...(await openPlace(await tempFolder())), deployment }
  const begin = async (run: WantedRun) => {
    const runId = wantedRunId(run)
    await openRun(place.runStoreOf(runId), { wanted: run, now: new Date(startMs) })
    return { runId, store: place.runStoreOf(runId) }
  }
  const pools: Pools = { spot: { desired: 0, running: 0 }, onDemand: { desired: 0, running: 0 } }
  return { place, begin, pools, ...(await begin({ ...wanted, ...more })) }
}

test('counts images, remembers since when nothing is left, and since when workers are missing', async () => {
  const { place, pools, runId } = await open()
  const scaler = openScaler({ place, readPools: async () => pools, policy })
  const lookAt = async (minute: number) => {
    const { spot, onDemand } = await scaler.look(new Date(startMs + minute * 60_000))
    return [spot, onDemand]
  }
  expect(await lookAt(0)).toEqual([0, 0])
  for (let n = 0; n < 30; n += 1)
    await place.queue.send(
      writeWorkMessages([{ bucket: 'images', key: `incoming/${runId}/${n}.png` }], { runId }),
    )
  expect(await lookAt(1)).toEqual([6, 0])
  pools.spot = { desired: 6, running: 2 }
  expect(await lookAt(2)).toEqual([6, 0])
  // Spot has been missing for 14 minutes, and the queue has not been empty for longer than the objective.
  expect(await lookAt(17)).toEqual([6, 4])
  pools.spot = { desired: 6, running: 6 }
  pools.onDemand = { desired: 4, running: 4 }
  expect(await lookAt(18)).toEqual([6, 0])
  pools.onDemand = { desired: 0, running: 0 }
  for (;;) {
    const messages = await place.queue.receive({ max: 10, waitMs: 0, leaseMs: 1000 })
    if (messages.length === 0) break
    await place.queue.ack(messages.map(({ lease }) => lease))
  }
  expect(await lookAt(19)).toEqual([6, 0])
  expect(await lookAt(21)).toEqual([6, 0])
  expect(await lookAt(22)).toEqual([0, 0])
})

test('asks for nobody while every run with work is paused, and only then', async () => {
  const { place, pools, store, runId, begin } = await open()
  const other = await begin({ ...wanted, sampling: { ...wanted.sampling, seed: 1 } })
  await place.queue.send(writeWorkMessages([{ bucket: 'images', key: 'a.png' }], { runId }))
  const look = async () =>
    await openScaler({ place, readPools: async () => pools, policy }).look(new Date(startMs))
  await controlRun(store, { action: 'pause', now: new Date(startMs) })
  expect((await look()).spot).toBe(1)
  await controlRun(other.store, { action: 'pause', now: new Date(startMs) })
  expect(await look()).toMatchObject({ spot: 0, reason: 'every run with work is paused' })
  await controlRun(other.store, { action: 'cancel', now: new Date(startMs) })
  expect((await look()).spot).toBe(0)
  await controlRun(store, { action: 'resume', now: new Date(startMs) })
  expect((await look()).spot).toBe(1)
})

test('pauses a run that has spent its cap', async () => {
  const { place, pools, store, runId } = await open({ costCapUsd: 0.5 })
  await place.queue.send(writeWorkMessages([{ bucket: 'images', key: 'a.png' }], { runId }))
  // A record's timing says what its image took: 1 h of the engine in all.
  const timing = { fetchMs: 0, decodeMs: 0, prefillMs: 600_000, generateMs: 1_200_000 }
  const look = async (workerHourUsd: number) => {
    const deployment = { workerHourUsd } as Deployment
    const scaler = openScaler({ place: { ...place, deployment }, readPools: async () => pools, policy })
    return await scaler.look(new Date(startMs))
  }
  await writePart(
    store,
    ['a', 'b'].map((key) => ({ ...someRecord({ key }), timing })),
  )
  await sealRun({ store, runId, clock: () => new Date(startMs) })
  expect((await look(0.4)).spot).toBe(1)
  expect((await readControl(store)).state).toBe('running')
  expect(await look(0.5)).toMatchObject({ spot: 0, reason: expect.stringContaining('cost cap') })
  expect((await readControl(store)).state).toBe('paused')
})

test('a run that cannot be read is named, and the others get their workers', async () => {
  const { place, pools, runId } = await open()
  const torn = place.runStoreOf('torn')
  await torn.putIfAbsent('config.json', new TextEncoder().encode('{"version":'))
  await place.queue.send(writeWorkMessages([{ bucket: 'images', key: `incoming/${runId}/1.png` }], { runId }))
  const { spot, lines } = await openScaler({ place, readPools: async () => pools, policy }).look(
    new Date(startMs),
  )
  expect(spot).toBe(1)
  expect(lines.at(-1)).toMatch(/^run torn is not counted: /)
})

test('a run whose chain was damaged is named too', async () => {
  const { place, pools, runId, begin } = await open()
  const other = await begin({ ...wanted, sampling: { ...wanted.sampling, seed: 1 } })
  await other.store.putIfAbsent('manifests/00000001.json', new TextEncoder().encode('{"v":'))
  await place.queue.send(writeWorkMessages([{ bucket: 'images', key: `incoming/${runId}/1.png` }], { runId }))
  const { spot, lines } = await openScaler({ place, readPools: async () => pools, policy }).look(
    new Date(startMs),
  )
  expect([spot, lines.at(-1)]).toEqual([
    1,
    expect.stringMatching(new RegExp(`^run ${other.runId} is not counted: `)),
  ])
})

test('takes the events of uploaded images for what they are, and messages of a plan for theirs', async () => {
  const look = async (source: WantedRun['source'], queued: 'events too' | 'the plan') => {
    const { place, pools, runId, store } = await open({ source })
    const images = Array.from({ length: 20 }, (_, n) => ({
      bucket: 'images',
      key: `incoming/${runId}/${n}.png`,
    }))
    await planRun(
      [
        {
          name: 'prefix',
          async *images() {
            for (const image of images) yield { image, cursor: image.key }
          },
        },
      ],
      { runId, store, queue: place.queue, clock: () => new Date(startMs) },
    )
    if (queued === 'events too')
      for (const image of images) await place.queue.send(writeWorkMessages([image], { runId }))
    const { spot } = await openScaler({ place, readPools: async () => pools, policy }).look(new Date(startMs))
    return spot
  }
  const prefix = { kind: 'bucket', uri: 's3://images/', bucket: 'images', prefix: '' } as const
  expect(await look(prefix, 'the plan')).toBe(4)
  // One message of 20 images, and 20 of one each.
  expect(await look({ kind: 'folder', uri: 'file:///photos/' }, 'events too')).toBe(8)
})

test('a run that was done and is asked for again has workers, also while every other run is paused', async () => {
  const source = { kind: 'bucket', uri: 's3://images/', bucket: 'images', prefix: '' } as const
  const { place, pools, runId, store, begin } = await open({ source })
  const keys = Array.from({ length: 60 }, (_, n) => `${n}.png`)
  const shards = [
    {
      name: 'prefix',
      async *images() {
        for (const key of keys) yield { image: { bucket: 'images', key }, cursor: key }
      },
    },
  ]
  const clock = () => new Date(startMs)
  const taken = { send: async (bodies: readonly string[]) => bodies.map(() => true) }
  await planRun(shards, { runId, store, queue: { ...place.queue, ...taken }, clock })
  const make = async (made: readonly string[], status: 'ok' | 'failed') => {
    await writePart(
      store,
      made.map((key) => {
        const record = someRecord({ key, status })
        return { ...record, source: { ...record.source, uri: `s3://images/${key}` } }
      }),
    )
    await sealRun({ store, runId, clock })
  }
  const failing = keys.slice(0, 15)
  await make(keys.slice(15), 'ok')
  await make(failing, 'failed')

  const other = await begin({ ...wanted, sampling: { ...wanted.sampling, seed: 1 } })
  await controlRun(other.store, { action: 'pause', now: new Date(startMs) })
  for (let n = 0; n < 200; n += 1)
    await place.queue.send(writeWorkMessages([{ bucket: 'images', key: `${n}` }], { runId: other.runId }))
  const warm = openScaler({ place, readPools: async () => pools, policy })
  const look = async () => {
    const looks = await Promise.all(
      [warm, openScaler({ place, readPools: async () => pools, policy })].map(
        async (scaler) => (await scaler.look(new Date(startMs))).spot,
      ),
    )
    expect(looks[0], 'one that remembers sees what one sees that does not').toBe(looks[1])
    return looks[0]
  }
  const reconcile = async (retriesFailed: boolean) =>
    await reconcileRun({
      config: { runId, tasks: wanted.tasks },
      shards,
      store,
      queue: place.queue,
      clock,
      retriesFailed,
    })
  expect(await look()).toBe(0)
  expect(await reconcile(false)).toMatchObject({ missing: 0 })
  expect(await look()).toBe(0)
  expect(await reconcile(true)).toMatchObject({ missing: 15, records: 15 })
  // For 15 images, not for the 200 that wait for a person.
  expect(await look()).toBe(3)
  await make(failing.slice(0, 10), 'ok')
  expect(await look()).toBe(1)
  await make(failing.slice(10), 'failed')
  expect(await look()).toBe(0)
})

test('a run that goes on no more keeps no workers beside a paused one, until there is something new', async () => {
  const source = { kind: 'bucket', uri: 's3://images/', bucket: 'images', prefix: '' } as const
  const { place, pools, runId, store, begin } = await open({ source })
  const shard = {
    name: 'prefix',
    async *images() {
      for (const key of ['a', 'b', 'lost']) yield { image: { bucket: 'images', key }, cursor: key }
    },
  }
  const clock = () => new Date(startMs)
  await planRun([shard], { runId, store, queue: place.queue, clock })
  const other = await begin({ ...wanted, sampling: { ...wanted.sampling, seed: 1 } })
  await controlRun(other.store, { action: 'pause', now: new Date(startMs) })
  const scaler = openScaler({ place, readPools: async () => pools, policy })
  const lookAt = async (minute: number) => (await scaler.look(new Date(startMs + minute * 60_000))).spot
  expect(await lookAt(0)).toBe(1)
  // Spot that does not come for hours is no reason: nothing could be done.
  expect(await lookAt(300)).toBe(1)
  pools.spot = { desired: 1, running: 1 }
  await writePart(store, [someRecord({ key: 'a' }), someRecord({ key: 'b' })])
  expect([await lookAt(301), await lookAt(400), await lookAt(540)]).toEqual([1, 1, 1])
  expect(await scaler.look(new Date(startMs + 541 * 60_000))).toMatchObject({
    spot: 0,
    reason: expect.stringContaining('have made nothing for hours'),
  })
  pools.spot = { desired: 0, running: 0 }
  expect(await lookAt(542)).toBe(0)
  await reconcileRun({
    config: { runId, tasks: wanted.tasks },
    shards: [shard],
    store,
    queue: place.queue,
    clock,
  })
  expect(await lookAt(543)).toBe(1)
  // Alone it keeps its workers as long as anything is in the queue.
  pools.spot = { desired: 1, running: 1 }
  await controlRun(other.store, { action: 'cancel', now: new Date(startMs) })
  expect([await lookAt(544), await lookAt(1500)]).toEqual([1, 1])
})
