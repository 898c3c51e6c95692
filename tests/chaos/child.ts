// One worker or one sealer of a storm, as a process of its own. It kills itself at its n-th call of a port, before or
// after the call; its parent may kill or freeze it at any time. It says on stdout what it does, a word a line.
// Usage: node child.ts JSON (a ChildSpec); ends when stdin closes.
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../dataset/queues/clock.ts'
import { defaultSealLimits, openSealer } from '../../dataset/seal.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { runWorker } from '../../gpu-worker/pipeline/worker-loop.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import type { TaskRole } from '../../schemas/task-spec.ts'
import { seededRandom } from '../helpers/seeded-random.ts'
import { openPorts, openStormEngine, type PortsSpec } from './ports.ts'

export type ChildSpec = {
  role: 'worker' | 'sealer'
  /** Which model a worker has. */
  model: TaskRole
  ports: PortsSpec
  runId: string
  seed: number
  /** Calls of ports before it kills itself; 0: it does not. */
  calls: number
  /** Share of calls that do their work and then fail, as if the answer were lost. */
  lossShare: number
  /** How far its whole clock is off. */
  skewMs: number
  /** Of a worker: how long the queue must stay empty before it ends. */
  idleExitMs: number
}

/** It ends so when the disk is full or the ports refuse: the parent knows whether that was to be expected. */
export const refusedExitCode = 9

export const stormLeaseMs = 2000

/** So small that a storm closes windows, cuts listings into generations, and writes checkpoints and merges them. */
export const stormSealLimits = {
  ...defaultSealLimits,
  maxParts: 5,
  windowParts: 4,
  checkpointEvery: 3,
}

if (import.meta.main) {
  await runChild(JSON.parse(process.argv[2] ?? '{}') as ChildSpec) // Written by storm.ts.
}

async function runChild(spec: ChildSpec): Promise<void> {
  // Not only a clock of ours: the SDK signs with the process's time, and temp files are old by it.
  const now = Date.now.bind(Date)
  Date.now = () => now() + spec.skewMs
  // Without its parent it has nobody to end it.
  process.stdin.on('end', () => process.kill(process.pid, 'SIGKILL')).resume()
  try {
    await (spec.role === 'worker' ? work(spec) : seal(spec))
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    say(`refused: ${error.message.replaceAll('\n', ' ')}`)
    process.exitCode = refusedExitCode
  }
  process.stdin.destroy()
}

async function work(spec: ChildSpec): Promise<void> {
  const { queue, groundingQueue, sourceOf, runStoreOf } = openPorts(spec.ports)
  const engine = openStormEngine(spec.model, 1)
  const stop = new AbortController()
  process.once('SIGTERM', () => stop.abort())
  const random = seededRandom(spec.seed)
  const deadly = startDying(spec, random)
  const sayBusy = once(() => say('busy'))
  const queues = { chat: deadly(queue), grounding: deadly(groundingQueue) }
  say('up')
  await runWorker({
    queue: queues[spec.model],
    queueOfRole: (role) => queues[role],
    engine: {
      ...engine,
      async openImage(...args) {
        say('pass')
        return await engine.openImage(...args)
      },
    },
    sourceOf: (bucket) => deadly(sourceOf(bucket)),
    runStoreOf: (runId) => deadly(runStoreOf(runId)),
    mode: 'drain',
    stop: stop.signal,
    clock: systemClock,
    random,
    onEvent: ({ kind }) => void (kind === 'received' && sayBusy()),
    limits: {
      ...defaultWorkerLimits,
      imagesPerPart: 8,
      partAgeMs: 150,
      leaseMs: stormLeaseMs,
      heartbeatMs: stormLeaseMs / 3,
      imagesHeld: 40,
      receiveWaitMs: 200,
      receiveRetryMs: 100,
      backoffMs: 50,
      maxBackoffMs: 400,
      ackRetryMs: 100,
      writeRetryMs: 50,
      knownIdsAgeMs: 300,
      claimMs: stormLeaseMs,
      controlAgeMs: 100,
      pausedDelayMs: 300,
      idleExitMs: spec.idleExitMs,
      stopDeadlineMs: 300,
      stopMarginMs: 200,
    },
  })
}

async function seal(spec: ChildSpec): Promise<void> {
  const random = seededRandom(spec.seed)
  const sayBusy = once(() => say('busy'))
  const store = startDying(spec, random)(openPorts(spec.ports).runStoreOf(spec.runId), (name) => {
    if (name === 'putIfAbsent') sayBusy()
  })
  say('up')
  const open = () =>
    openSealer({ store, runId: spec.runId, clock: () => new Date(Date.now()), limits: stormSealLimits })
  // Some remember the chain from turn to turn, some begin anew, as a function does.
  const [kept, isForgetful] = [open(), random() < 0.5]
  for (;;) {
    await sleep(50 + random() * 250)
    try {
      await (isForgetful ? open() : kept).seal()
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error
    }
  }
}

/** Makes ports deadly: one count of calls over all of them. */
function startDying({ calls, lossShare }: ChildSpec, random: () => number) {
  const die = () => process.kill(process.pid, 'SIGKILL')
  let callsLeft = calls === 0 ? Infinity : calls
  return <T extends object>(port: T, onCall: (name: string) => void = () => {}): T =>
    new Proxy(port, {
      get(target, name) {
        // Proxies see names as they come; what is no function is passed on.
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]) => {
          onCall(String(name))
          callsLeft -= 1
          const isLast = callsLeft === 0
          if (isLast && random() < 0.5) die()
          // The target's own function with its own arguments.
          const result: unknown = await Reflect.apply(value, target, args)
          if (isLast) die()
          if (random() < lossShare) throw new RetryableError(`the answer to ${String(name)} was lost`)
          return result
        }
      },
    })
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function once(act: () => void): () => void {
  let isDone = false
  return () => {
    if (!isDone) act()
    isDone = true
  }
}
