// What events that come again cost: passes of the engine an image, and the requests that claims take.
//   node bench/spend.ts [--images 2000] [--workers 3] [--folder]
// Prints a JSON line a case: 5 % duplicates and every event three times, without and with claims. Workers share memory,
// or with --folder a folder, and know nothing of each other but what is stored; copies of an event come at random
// distances, and a sealer runs all the time. Every span of a worker is a hundredth of what it is (a part is 300 ms old, a
// claim holds 3 s), so that copies meet unsealed parts and claims as they would over an hour.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { writeWorkMessages } from '../dataset/events.ts'
import { systemClock } from '../dataset/queues/clock.ts'
import { openMemoryQueue } from '../dataset/queues/memory.ts'
import { readRecordLines } from '../dataset/read.ts'
import { openRun, type WantedRun } from '../dataset/run-folder.ts'
import { sealRun } from '../dataset/seal.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import { openMemoryStore } from '../dataset/stores/memory.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { Engine } from '../gpu-worker/engine/contract.ts'
import { defaultWorkerLimits, type WorkerLimits } from '../gpu-worker/pipeline/worker-limits.ts'
import { runWorker } from '../gpu-worker/pipeline/worker-loop.ts'
import { planTasks } from '../gpu-worker/tasks/registry.ts'
import { greedySampling } from '../schemas/sampling.ts'
import { openCountingEngine } from '../tests/helpers/counting-engine.ts'
import { numberedPng } from '../tests/helpers/images.ts'
import { seededRandom, shuffle } from '../tests/helpers/seeded-random.ts'

/** S3 standard in us-east-1, 2026: USD for a million requests. */
const usdPerMillion = { put: 5, get: 0.4, list: 5 }

const scale = 100

type Case = { name: string; claims: 'on' | 'off'; copies: (n: number) => number }
const cases: readonly Case[] = [
  { name: 'no duplicates', claims: 'off', copies: () => 1 },
  { name: 'no duplicates', claims: 'on', copies: () => 1 },
  { name: '5 % duplicates', claims: 'off', copies: (n) => (n % 20 === 0 ? 2 : 1) },
  { name: '5 % duplicates', claims: 'on', copies: (n) => (n % 20 === 0 ? 2 : 1) },
  { name: 'every event three times', claims: 'off', copies: () => 3 },
  { name: 'every event three times', claims: 'on', copies: () => 3 },
]

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '2000' },
    workers: { type: 'string', default: '3' },
    folder: { type: 'boolean', default: false },
  },
})
const imageCount = z.coerce.number().int().min(20).parse(values.images)
const workerCount = z.coerce.number().int().min(1).parse(values.workers)

for (const one of cases) {
  const folder = values.folder ? await mkdtemp(join(tmpdir(), 'coglabel-spend-')) : null
  console.log(JSON.stringify(await measure(one, folder)))
  if (folder !== null) await rm(folder, { recursive: true })
}

async function measure({ name, claims, copies }: Case, folder: string | null): Promise<object> {
  // The same seed for each case: they differ in nothing else.
  const random = seededRandom(1)
  const engine = openCountingEngine({ delayMs: 1 })
  const bare = folder === null ? openMemoryStore('run') : openFsStore(folder)
  const { store, counts } = countRequests(bare)
  const { runId } = await openRun(bare, { wanted: { ...wantedRun(engine), claims }, now: new Date() })
  const bucket = openMemoryStore('photos')
  const queue = openMemoryQueue()
  const keys = Array.from({ length: imageCount }, (_, n) => `${n}.png`)
  for (const [n, key] of keys.entries()) await bucket.putIfAbsent(key, numberedPng(n))
  const events = keys.flatMap((key, n) => Array.from({ length: copies(n) }, () => key))
  for (const key of shuffle(events, random))
    await queue.send(writeWorkMessages([{ bucket: 'photos', key, etag: key }], { runId }))

  const startMs = performance.now()
  const sealing = new AbortController()
  const sealer = sealAgainAndAgain({ store: bare, runId, signal: sealing.signal })
  let [receives, lastImageMs] = [0, startMs]
  const one = async () =>
    await runWorker({
      queue,
      engine,
      sourceOf: () => bucket,
      runStoreOf: () => store,
      mode: 'drain',
      stop: new AbortController().signal,
      clock: systemClock,
      random,
      limits: limitsOf(),
      onEvent: (event) => {
        if (event.kind === 'received') receives += event.messages
        if (event.kind === 'image') lastImageMs = performance.now()
      },
    })
  await Promise.all(Array.from({ length: workerCount }, one))
  sealing.abort()
  await sealer
  await sealRun({ store: bare, runId, clock: () => new Date() })
  let rows = 0
  for await (const _line of readRecordLines(bare)) rows += 1
  const left = await queue.stats()
  if (rows !== imageCount || left.visible + left.inFlight + left.delayed > 0)
    throw new Error(`${rows} rows of ${imageCount} images, left in the queue ${JSON.stringify(left)}`)
  const perImage = (count: number) => Math.round((count / imageCount) * 1000) / 1000
  return {
    case: name,
    claims,
    store: folder === null ? 'memory' : 'folder',
    workers: workerCount,
    images: imageCount,
    passesPerImage: perImage(engine.counts.images),
    deliveriesPerImage: perImage(receives),
    claimPutsPerImage: perImage(counts.claims.put),
    claimGetsPerImage: perImage(counts.claims.get),
    claimUsdPerMillionImages: usdOf(counts.claims),
    otherRequestsUsdPerMillionImages: usdOf(counts.others),
    msPerImage: perImage(lastImageMs - startMs),
  }
}

function wantedRun({ info }: Engine): WantedRun {
  const { model, template, capabilities } = info
  return {
    source: { kind: 'standing', uri: 'memory://photos/', bucket: 'photos' },
    model,
    template,
    tasks: planTasks({
      names: ['caption'],
      questions: [],
      phrases: [],
      model: { name: model.name, template, capabilities },
    }),
    sampling: greedySampling,
  }
}

type Counts = { put: number; get: number; list: number }

function usdOf({ put, get, list }: Counts): number {
  const { put: usdPut, get: usdGet, list: usdList } = usdPerMillion
  return Math.round(((put * usdPut + get * usdGet + list * usdList) / imageCount) * 100) / 100
}

/** The same store, whose requests are counted: those about claims apart. */
function countRequests(store: ObjectStore): {
  store: ObjectStore
  counts: Record<'claims' | 'others', Counts>
} {
  const none = () => ({ put: 0, get: 0, list: 0 })
  const counts = { claims: none(), others: none() }
  const of = (key: string) => (key.startsWith('claims/') ? counts.claims : counts.others)
  return {
    counts,
    store: {
      ...store,
      async putIfAbsent(key, bytes) {
        of(key).put += 1
        return await store.putIfAbsent(key, bytes)
      },
      async get(key) {
        of(key).get += 1
        return await store.get(key)
      },
      async head(key) {
        of(key).get += 1
        return await store.head(key)
      },
      async list(page) {
        of(page.prefix).list += 1
        return await store.list(page)
      },
    },
  }
}

function limitsOf(): WorkerLimits {
  const limits = { ...defaultWorkerLimits }
  const spans = [
    'partAgeMs',
    'leaseMs',
    'heartbeatMs',
    'leaseCapMs',
    'claimMs',
    'claimDoneMs',
    'backoffMs',
    'maxBackoffMs',
    'knownIdsAgeMs',
    'controlAgeMs',
    'receiveWaitMs',
    'busyReceiveWaitMs',
  ] as const
  for (const span of spans) limits[span] /= scale
  // Longer than a claim may hold: nothing is left when a worker leaves.
  return { ...limits, idleExitMs: (limits.claimMs + limits.leaseMs) * 1.2, imagesHeld: 64 }
}

/** A generation about every two minutes of scaled time. */
async function sealAgainAndAgain(run: {
  store: ObjectStore
  runId: string
  signal: AbortSignal
}): Promise<void> {
  while (!run.signal.aborted) {
    await systemClock.sleep(120_000 / scale, run.signal)
    await sealRun({ store: run.store, runId: run.runId, clock: () => new Date() })
  }
}
