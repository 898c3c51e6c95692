// How long an upload takes to become a sealed record, over folders: a worker in service mode with the limits it has by
// itself, a sealer that looks once a second, and an engine that answers at once.
//   node bench/first-record.ts [--uploads 5] [--quiet-seconds 3]
// Prints a JSON line an upload: milliseconds from the first byte to each step. The next upload comes after a pause, so
// each finds a worker that waits.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../dataset/queues/clock.ts'
import { openFolderQueue } from '../dataset/queues/folder.ts'
import { sealRun } from '../dataset/seal.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import { defaultWorkerLimits } from '../gpu-worker/pipeline/worker-limits.ts'
import { runWorker } from '../gpu-worker/pipeline/worker-loop.ts'
import { openCountingEngine } from '../tests/helpers/counting-engine.ts'
import { numberedPhoto } from '../tests/helpers/photos.ts'
import { beginRun, messagesOf } from './overhead/run.ts'

const sealEveryMs = 1000

const { values } = parseArgs({
  options: {
    'uploads': { type: 'string', default: '5' },
    'quiet-seconds': { type: 'string', default: '3' },
  },
})
const folder = await mkdtemp(join(tmpdir(), 'coglabel-first-'))
const [photos, store] = [openFsStore(join(folder, 'photos')), openFsStore(join(folder, 'run'))]
const [queue, engine] = [openFolderQueue(join(folder, 'queue')), openCountingEngine()]
const source = { kind: 'folder' as const, uri: photos.uri }
const { runId } = await beginRun(store, { source, tasks: ['caption'], engine })

/** When each step was last taken, by its name. */
const taken = new Map<string, number>()
const [stop, resting] = [new AbortController(), new AbortController()]
const working = runWorker({
  queue,
  engine,
  sourceOf: () => photos,
  runStoreOf: () => store,
  mode: 'service',
  stop: stop.signal,
  clock: systemClock,
  random: Math.random,
  limits: defaultWorkerLimits,
  onEvent: ({ kind }) => void taken.set(kind, performance.now()),
})
const sealing = sealAgainAndAgain()
try {
  for (let n = 0; n < Number(values.uploads); n += 1) {
    await systemClock.sleep(Number(values['quiet-seconds']) * 1000)
    console.log(JSON.stringify(await upload(n)))
  }
} finally {
  stop.abort()
  resting.abort()
  await Promise.all([working, sealing])
  await rm(folder, { recursive: true, force: true })
}

async function upload(n: number): Promise<object> {
  const photo = await numberedPhoto(n)
  const key = `incoming/${runId}/${n}.jpg`
  taken.clear()
  const startMs = performance.now()
  await photos.putIfAbsent(key, photo)
  await queue.send(messagesOf('worker-1', [key], runId))
  taken.set('uploaded', performance.now())
  while (!taken.has('sealed')) await systemClock.sleep(5)
  const steps = ['uploaded', 'received', 'image', 'part', 'acked', 'sealed']
  const sinceStart = (step: string) => Math.round((taken.get(step) ?? NaN) - startMs)
  return { upload: n, ...Object.fromEntries(steps.map((step) => [`${step}Ms`, sinceStart(step)])) }
}

async function sealAgainAndAgain(): Promise<void> {
  while (!resting.signal.aborted) {
    await systemClock.sleep(sealEveryMs, resting.signal)
    const { generations } = await sealRun({ store, runId, clock: () => new Date() })
    if (generations > 0) taken.set('sealed', performance.now())
  }
}
