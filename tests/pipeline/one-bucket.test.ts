// Images and labels in one bucket whose every new object is an event, as somebody may set it up by hand: what a worker
// writes comes back to it as events, and must not become work. The real SDK, the real loops, a live notification.
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../dataset/queues/clock.ts'
import { openSqsQueue } from '../../dataset/queues/sqs.ts'
import { readRecords } from '../../dataset/read.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { runWorker, type WorkerEvent } from '../../gpu-worker/pipeline/worker-loop.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'

const bucket = 'everything'
const images = 12

test('labels each image once and none of its own parts, shards, manifests or settings', async () => {
  const world = await openOneBucket()
  for (let n = 0; n < images; n += 1)
    await world.root.putIfAbsent(`incoming/${world.runId}/${n}.png`, numberedPng(n))
  const events = await world.work()
  await sealRun({ store: world.run, runId: world.runId, clock: () => new Date() })
  // The events of what the first worker and the sealer wrote.
  const [waiting, later] = [await world.queue.stats(), await world.work()]
  expect(waiting.visible).toBeGreaterThan(0)
  expect(world.engine.counts.images).toBe(images)
  expect(later.filter(({ kind }) => kind === 'image')).toEqual([])
  expect(events.concat(later).filter(({ kind }) => kind === 'released')).toEqual([])
  expect(await world.queue.stats()).toEqual({ visible: 0, inFlight: 0, delayed: 0 })
  const keys: string[] = []
  for await (const { source } of readRecords(world.run)) keys.push(source.key)
  expect(keys.toSorted()).toEqual(
    Array.from({ length: images }, (_, n) => `incoming/${world.runId}/${n}.png`).toSorted(),
  )
})

test('gives an image that was never read one identity, whether an event or a listing asked for it', async () => {
  const { root } = await openOneBucket()
  await root.putIfAbsent('big.png', numberedPng(1))
  const head = await root.head('big.png')
  expect(head?.etag).toMatch(/^[0-9a-f]{32}$/)
  const { objects } = await root.list({ prefix: 'big' })
  const found = await root.getWithin('big.png', { maxBytes: 1 })
  expect([objects[0]?.etag, found?.etag, found?.bytes]).toEqual([head?.etag, head?.etag, null])
})

async function openOneBucket() {
  const emulator = await startEmulator()
  const { endpoint, region, credentials } = emulator
  const connection = { endpoint, region, credentials, forcePathStyle: true }
  const { queueUrl } = emulator.provision({
    buckets: [bucket],
    queue: 'work',
    deadLetters: 'dead',
    maxReceives: 8,
    events: { bucket, prefix: '' },
  })
  const queue = openSqsQueue({ queueUrl, endpoint, region, credentials })
  const root = openS3Store({ bucket, ...connection })
  const engine = openCountingEngine()
  const { model, template, capabilities } = engine.info
  const tasks = planTasks({
    names: ['caption'],
    questions: [],
    phrases: [],
    model: { name: model.name, template, capabilities },
  })
  const runId = 'one-bucket'
  const run = openS3Store({ bucket, prefix: `runs/${runId}/`, ...connection })
  onTestFinished(async () => {
    for (const port of [queue, root, run]) port.close()
    await emulator.close()
  })
  const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 }
  const source = { kind: 'standing' as const, uri: root.uri, bucket }
  await openRun(run, { wanted: { source, model, template, tasks, sampling }, runId, now: new Date() })
  /** Works until the queue is empty. */
  const work = async (): Promise<WorkerEvent[]> => {
    const events: WorkerEvent[] = []
    await runWorker({
      queue,
      engine,
      sourceOf: () => root,
      runStoreOf: () => run,
      mode: 'drain',
      stop: new AbortController().signal,
      clock: systemClock,
      random: Math.random,
      limits: { ...defaultWorkerLimits, idleExitMs: 300 },
      onEvent: (event) => events.push(event),
    })
    return events
  }
  return { root, run, runId, queue, engine, work }
}
