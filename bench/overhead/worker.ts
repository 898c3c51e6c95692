// The cloud worker's loop over folders with the counting engine, ready to be measured.
import { join } from 'node:path'
import { systemClock } from '../../dataset/queues/clock.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { maxBatchMessages, type WorkQueue } from '../../dataset/queues/work-queue.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { Engine } from '../../gpu-worker/engine/contract.ts'
import type { ImageDecoder } from '../../gpu-worker/image/prepare.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { runWorker } from '../../gpu-worker/pipeline/worker-loop.ts'
import { InvariantError } from '../../schemas/errors.ts'
import { openCountingEngine } from '../../tests/helpers/counting-engine.ts'
import { photoKeys, writePhotos } from './images.ts'
import { type At, beginRun, bucket, messagesOf, type Prepared, type Wanted } from './run.ts'

export async function prepareWorker(
  { loop, images, tasks }: Wanted,
  { folder, decoder }: At,
): Promise<Prepared> {
  const [photos, engine] = [openFsStore(join(folder, 'buckets', bucket)), openCountingEngine()]
  const store = openFsStore(join(folder, 'run'))
  const { runId } = await beginRun(store, {
    source: { kind: 'folder', uri: photos.uri },
    tasks,
    engine,
  })
  const keys = photoKeys(images, `incoming/${runId}/`)
  await writePhotos(join(folder, 'buckets', bucket), keys)
  const queue = openFolderQueue(join(folder, 'queue'))
  await sendAll(queue, messagesOf(loop, keys, runId))
  return { run: async () => await drain({ queue, photos, store, engine, decoder }), async close() {} }
}

export async function sendAll(queue: WorkQueue, bodies: readonly string[]): Promise<void> {
  const inFlight = 16
  for (let from = 0; from < bodies.length; from += maxBatchMessages * inFlight) {
    const batches = Array.from({ length: inFlight }, (_, n) => {
      const start = from + n * maxBatchMessages
      return bodies.slice(start, start + maxBatchMessages)
    })
    await Promise.all(
      batches.filter(({ length }) => length > 0).map(async (batch) => await queue.send(batch)),
    )
  }
}

type Place = {
  queue: WorkQueue
  photos: ObjectStore
  store: ObjectStore
  engine: Engine
  decoder: ImageDecoder
}

/** Divides the numbers of images that are measured, so that no last part waits for its age; a worker has 128 by itself. */
const imagesPerPart = 125

/** Works until the queue is empty. The wait for more messages at the end is left out of the time. */
export async function drain({ queue, photos, store, engine, decoder }: Place): ReturnType<Prepared['run']> {
  let [records, released, endMs] = [0, 0, 0]
  await runWorker({
    queue,
    engine,
    decoder,
    sourceOf: () => photos,
    runStoreOf: () => store,
    mode: 'drain',
    stop: new AbortController().signal,
    clock: systemClock,
    random: Math.random,
    limits: { ...defaultWorkerLimits, imagesPerPart, idleExitMs: 0 },
    onEvent(event) {
      if (event.kind === 'part') records += event.records
      if (event.kind === 'released') released += 1
      if (event.kind === 'acked') endMs = performance.now()
    },
  })
  const { visible, inFlight, delayed } = await queue.stats()
  if (visible + inFlight + delayed + released > 0)
    throw new InvariantError(`${visible + inFlight + delayed} messages are left, ${released} were released`)
  return { records, endMs }
}
