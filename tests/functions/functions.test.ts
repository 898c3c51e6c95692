// The functions as Lambda calls them, over the emulated cloud: environment in, outcome out, repeated without harm.
import { createServer } from 'node:http'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { openRun, wantedRunId, type WantedRun } from '../../dataset/run-folder.ts'
import type { Place } from '../../dataset/place.ts'
import { writePart } from '../../dataset/parts.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import { someRecord } from '../helpers/records.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'

const wanted: WantedRun = {
  source: { kind: 'bucket', uri: 's3://others/p/', bucket: 'others', prefix: 'p/' },
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

/** A place as a function finds it, and a run over a bucket. Modules are loaded anew: each is a process of its own. */
async function open({ images = 30, more = {} }: { images?: number; more?: Partial<WantedRun> } = {}) {
  const world = await openEmulatedTestPlace()
  vi.stubEnv('COGLABEL_PLACE', 's3://labels')
  vi.stubEnv('COGLABEL_AWS_ENDPOINT', world.emulator!.endpoint)
  vi.stubEnv('AWS_REGION', 'us-east-1')
  vi.resetModules()
  for (let n = 0; n < images; n += 1)
    await world.place.imagesOf('others').putIfAbsent(`p/${n}.png`, Buffer.from('x'))
  const run = await begin(world.place, { ...wanted, ...more })
  return { ...world, ...run }
}

async function begin(place: Place, run: WantedRun): Promise<{ runId: string; config: RunConfig }> {
  const runId = wantedRunId(run)
  const config = await openRun(place.runStoreOf(runId), { wanted: run, now: new Date() })
  return { runId, config }
}

afterEach(() => {
  vi.unstubAllEnvs()
})

test('the planner goes on with plans, and leaves uploads to the verb that uploads', async () => {
  const { place, runId } = await open()
  const uploading = await begin(place, { ...wanted, source: { kind: 'folder', uri: 'file:///photos/' } })
  const { handler } = await import('../../functions/planner.ts')
  const outcome = { images: 30, records: null, messages: 2, skipped: {}, isComplete: true }
  expect(await handler({ time: 'of a schedule' })).toEqual({ [runId]: outcome })
  expect(await handler({ runIds: [runId, uploading.runId] })).toEqual({ [runId]: outcome })
  expect((await place.queue.stats()).visible).toBe(2)
  await expect(handler({ runIds: ['run-missing', runId] })).rejects.toThrow(
    /^1 of the runs failed, 1 had their turn; run-missing: there is no run run-missing/,
  )
})

test('the planner begins no run when its time is short', async () => {
  const { place, runId } = await open()
  const { handler } = await import('../../functions/planner.ts')
  const { AbortSignal: real } = globalThis
  const fired = vi.spyOn(real, 'timeout').mockReturnValue(real.abort())
  onTestFinished(() => fired.mockRestore())
  expect(await handler({}, { getRemainingTimeInMillis: () => 900_000 })).toEqual({})
  expect(fired).toHaveBeenCalledWith(840_000)
  expect((await place.runStoreOf(runId).list({ prefix: 'plan/' })).objects).toEqual([])
})

test('the sealer seals every run that has something to seal, and one that fails keeps no other from it', async () => {
  const { place, runId } = await open()
  const other = await begin(place, { ...wanted, sampling: { ...wanted.sampling, seed: 1 } })
  await place.runStoreOf('broken').putIfAbsent('config.json', Buffer.from('{}'))
  await writePart(place.runStoreOf(runId), [someRecord({ key: 'a' })])
  await writePart(place.runStoreOf(other.runId), [someRecord({ key: 'b' })])
  const { handler } = await import('../../functions/sealer.ts')
  // An error, for the alarm goes by those.
  await expect(handler({ runIds: 'not a list' })).rejects.toThrow(
    /^1 of the runs failed, 2 had their turn; broken: .*not a run this version can read/,
  )
  for (const sealed of [runId, other.runId])
    expect((await place.runStoreOf(sealed).list({ prefix: 'manifests/' })).objects).toHaveLength(1)
  expect(await handler({ runIds: [runId] })).toEqual({})
})

test('the redriver sends again what needs nobody to decide', async () => {
  const { place, runId } = await open({ images: 1 })
  const planner = await import('../../functions/planner.ts')
  await planner.handler({})
  const [message] = await place.queue.receive({ max: 1, waitMs: 0, leaseMs: 60_000 })
  await place.deadLetters.send([message!.body, 'no message'])
  await place.queue.ack([message!.lease])
  const { handler } = await import('../../functions/redriver.ts')
  expect(await handler({})).toEqual({
    found: { 'try-again': 1, 'unknown-message': 1 },
    sent: { 'try-again': 1 },
  })
  expect((await place.queue.stats()).visible).toBe(1)
  expect(runId).toBe(JSON.parse(message!.body).runId)
})

test('the exporter writes what is sealed once, with an index that names it', async () => {
  const { place, runId } = await open({ images: 0 })
  const store = place.runStoreOf(runId)
  const { handler } = await import('../../functions/exporter.ts')
  await expect(handler({ runId })).rejects.toThrow(/nothing of .* is sealed/)
  await writePart(
    store,
    ['a', 'b', 'c'].map((key) => someRecord({ key })),
  )
  await (await import('../../functions/sealer.ts')).handler({})
  const exported = await handler({ runId })
  expect(exported).toEqual({ indexKey: 'exports/jsonl/00000001/index.json', records: 3 })
  expect(await handler({ runId, format: 'jsonl' })).toEqual(exported)
  const index = JSON.parse(Buffer.from((await store.get(exported.indexKey))!).toString())
  const { key } = index.files.find((file: { key: string }) => file.key.endsWith('.jsonl'))
  const rows = Buffer.from((await store.get(key))!)
    .toString()
    .trim()
    .split('\n')
  expect(rows.map((row) => JSON.parse(row).source.key)).toEqual(['a', 'b', 'c'])
  await expect(handler({ runId, format: 'parquet9' })).rejects.toThrow(/expected one of llava, /)
  await expect(handler({ runId: '../x' })).rejects.toThrow()
})

/** As much of ECS as is asked: the counts of two services. */
async function startEcs(
  services: readonly { serviceName: string; desiredCount: number; runningCount: number }[],
) {
  const asked: unknown[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked.push([request.headers['x-amz-target'], JSON.parse(Buffer.concat(chunks).toString())])
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' })
      response.end(JSON.stringify({ services, failures: [] }))
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (typeof address === 'string' || address === null) throw new Error('the server has no port')
  vi.stubEnv('AWS_ENDPOINT_URL_ECS', `http://127.0.0.1:${address.port}`)
  return asked
}

function stubScaler() {
  vi.stubEnv('COGLABEL_CLUSTER', 'cluster')
  vi.stubEnv('COGLABEL_SPOT_SERVICE', 'spot')
  vi.stubEnv('COGLABEL_ON_DEMAND_SERVICE', 'more')
  vi.stubEnv('COGLABEL_IMAGES_PER_SECOND', '0.01')
  const printed: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void printed.push(line))
  onTestFinished(() => log.mockRestore())
  return printed
}

test('the scaler prints what each pool needs as a metric', async () => {
  await open()
  const asked = await startEcs([
    { serviceName: 'spot', desiredCount: 7, runningCount: 3 },
    { serviceName: 'more', desiredCount: 0, runningCount: 0 },
  ])
  const printed = stubScaler()
  await (await import('../../functions/planner.ts')).handler({})
  const { handler } = await import('../../functions/scaler.ts')
  // 30 images at one in 100 s, in the 570 s that are left when workers have booted.
  expect(await handler()).toEqual({ spot: 7, onDemand: 0, reason: '6 workers are needed for 30 images' })
  expect(asked).toEqual([
    [
      'AmazonEC2ContainerServiceV20141113.DescribeServices',
      { cluster: 'cluster', services: ['spot', 'more'] },
    ],
  ])
  expect(printed.map((line) => JSON.parse(line))).toMatchObject([
    {
      pool: 'spot',
      TasksNeeded: 7,
      _aws: { CloudWatchMetrics: [{ Namespace: 'coglabel', Dimensions: [['pool']] }] },
    },
    { pool: 'onDemand', TasksNeeded: 0 },
  ])
})

test('the scaler leaves capacity as it is when it cannot know', async () => {
  await open()
  await startEcs([])
  const printed = stubScaler()
  const { handler } = await import('../../functions/scaler.ts')
  await expect(handler()).rejects.toThrow(/there is no service spot in cluster/)
  expect(printed).toEqual([])
})
