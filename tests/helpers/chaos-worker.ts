// A cloud worker and a sealer over folders, in a process that kills itself at its n-th call of a port, before or after
// the call. Usage: node chaos-worker.ts FOLDER RUN SEED CALLS (0: it lives until the queue is empty)
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../dataset/queues/clock.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { runWorker } from '../../gpu-worker/pipeline/worker-loop.ts'
import { openCountingEngine } from './counting-engine.ts'
import { seededRandom } from './seeded-random.ts'

const [folder = '', runId = '', seed = '0', calls = '0'] = process.argv.slice(2)
const random = seededRandom(Number(seed))
let callsLeft = Number(calls) === 0 ? Infinity : Number(calls)

/** The same port, deadly. */
function deadly<T extends object>(port: T): T {
  const die = () => process.kill(process.pid, 'SIGKILL')
  return new Proxy(port, {
    get(target, name) {
      // Proxies see names as they come; what is no function is passed on.
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return async (...args: unknown[]) => {
        callsLeft -= 1
        const isLast = callsLeft === 0
        if (isLast && random() < 0.5) die()
        // The target's own function with its own arguments.
        const result: unknown = await Reflect.apply(value, target, args)
        if (isLast) die()
        return result
      }
    },
  })
}

const engine = openCountingEngine({ delayMs: 1 })
const counted = {
  ...engine,
  async openImage(...args: Parameters<typeof engine.openImage>) {
    appendFileSync(join(folder, 'passes.log'), 'p')
    return await engine.openImage(...args)
  },
}

const resting = new AbortController()
const sealing = sealAgainAndAgain()

await runWorker({
  queue: deadly(
    openFolderQueue(join(folder, 'queue'), { maxReceives: 60, deadLetterFolder: join(folder, 'dead') }),
  ),
  engine: counted,
  sourceOf: (bucket) => deadly(openFsStore(join(folder, 'buckets', bucket))),
  runStoreOf: (runId) => deadly(openFsStore(join(folder, 'labels', 'runs', runId))),
  mode: 'drain',
  stop: new AbortController().signal,
  clock: systemClock,
  random,
  limits: {
    ...defaultWorkerLimits,
    imagesPerPart: 8,
    partAgeMs: 150,
    leaseMs: 1200,
    heartbeatMs: 400,
    imagesHeld: 40,
    receiveWaitMs: 200,
    backoffMs: 50,
    maxBackoffMs: 400,
    knownIdsAgeMs: 300,
    idleExitMs: 700,
  },
})

resting.abort()
await sealing

async function sealAgainAndAgain(): Promise<void> {
  const store = deadly(openFsStore(join(folder, 'labels', 'runs', runId)))
  while (!resting.signal.aborted) {
    await systemClock.sleep(100 + random() * 300, resting.signal)
    await sealRun({ store, runId, clock: () => new Date() })
  }
}
