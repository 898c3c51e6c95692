// A storm: workers and sealers that are killed, frozen, refused and lied to while images arrive, and then the calm in
// which what is left is finished. The same seed rolls the same dice; processes still race as they like.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { readRun } from '../../dataset/run-folder.ts'
import { openRunStatus } from '../../dataset/run-status.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { seededRandom } from '../helpers/seeded-random.ts'
import { type ChildSpec, refusedExitCode, stormLeaseMs } from './child.ts'
import { interfere, type PeopleCounts, placeOf } from './people.ts'
import { openPorts } from './ports.ts'
import { findLosses, judge, readSealed } from './verdict.ts'
import { openWorld, type PortsKind, type World } from './world.ts'

export type StormOptions = {
  kind: PortsKind
  folder: string
  seed: number
  imageCount?: number
  /** Processes at a time, and how often each is killed and started again. */
  workers?: number
  sealers?: number
  livesEach?: number
  /** What is needed no more for so long is deleted during the storm: longer than any process sleeps. */
  gcAgeMs?: number | null
}

export type StormReport = {
  kind: PortsKind
  seed: number
  claims: 'on' | 'off'
  models: 1 | 2
  /** Empty when nothing was lost, doubled or left without a name. */
  violations: string[]
  images: number
  started: number
  killed: number
  frozen: number
  refused: number
  failedRecords: number
  generations: number
  windows: number
  people: PeopleCounts
  /** Images shown to the engine, for each image there is. */
  passesPerImage: number
  mostDeliveries: number
  requests: number
  durationMs: number
}

const childPath = fileURLToPath(new URL('./child.ts', import.meta.url))
const hourMs = 60 * 60_000

/** Starting costs more than most lives do: what was compiled once is kept between storms. */
const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'coglabel-compile-cache') }

/** Runs one storm to its end and judges what is sealed. `folder` is empty before and gone after. */
export async function runStorm({
  kind,
  folder,
  seed,
  imageCount = 120,
  workers = 2,
  sealers = 1,
  livesEach = 3,
  gcAgeMs = null,
}: StormOptions): Promise<StormReport> {
  const startMs = performance.now()
  const random = seededRandom(seed)
  // Of two seeds in a row one has claims.
  const claims = seed % 2 === 0 ? 'on' : 'off'
  // And of four seeds two have two models.
  const models = seed % 4 < 2 ? 1 : 2
  const world = await openWorld({ kind, folder, seed, random, imageCount, lossShare: 0.05, claims, models })
  const storm = startStorm(world, random)
  const reader = readAllAlong(world)
  const evening = new AbortController()
  try {
    const people = interfere(world, { random: seededRandom(seed + 1), gcAgeMs, over: evening.signal })
    const jobs = Array.from({ length: workers }, async () => await storm.liveAndDie('worker', livesEach))
    const sealing = Array.from({ length: sealers }, async () => await storm.sealUntilCalm())
    // A sealer is frozen when it writes, which may be only when the others are done.
    const frozenSealer = storm.freeze('sealer')
    const uploaded = world.upload()
    await Promise.all([uploaded.then(storm.misfortunes), storm.freeze('worker'), ...jobs])
    storm.calm()
    evening.abort()
    const did = await people
    await Promise.all(sealing)
    await Promise.all([storm.finish(), frozenSealer])
    const { violations, records } = await settle(world, reader)
    return {
      kind,
      seed,
      claims,
      models,
      violations: [...storm.violations, ...violations],
      images: imageCount,
      ...storm.counts,
      passesPerImage: storm.counts.passes / imageCount,
      failedRecords: records.filter(({ status }) => status === 'failed').length,
      generations: await countKeys(world, 'manifests/'),
      windows: 1 + (await countKeys(world, 'closed/')),
      people: did,
      mostDeliveries: Math.max(0, ...records.map(({ attempt }) => attempt)),
      requests: [...world.requests.values()].reduce((sum, count) => sum + count, 0),
      durationMs: performance.now() - startMs,
    }
  } finally {
    reader.stop()
    evening.abort()
    storm.killAll()
    await world.close()
  }
}

type Life = { child: ChildProcess; said: (word: string) => Promise<void>; ended: Promise<void> }
type Fate = Partial<Pick<ChildSpec, 'model' | 'calls' | 'skewMs' | 'idleExitMs'>> & { fileBlocks?: number }

function startStorm(world: World, random: () => number) {
  const counts = { started: 0, killed: 0, frozen: 0, refused: 0, passes: 0 }
  const violations: string[] = []
  const alive = new Set<ChildProcess>()
  const over = new AbortController()
  const isOfTwo = world.tasks.length > 1

  const start = (role: ChildSpec['role'], { fileBlocks, ...fate }: Fate = {}): Life => {
    const { ports, runId } = world
    const lossShare = ports.kind === 'folder' ? 0.05 : 0
    const seed = Math.floor(random() * 1e9)
    // By turns, so that neither queue waits for long.
    const model = isOfTwo && role === 'worker' && counts.started % 2 === 1 ? 'grounding' : 'chat'
    const steady = { model, calls: 0, skewMs: 0, idleExitMs: 700 } as const
    const spec: ChildSpec = { role, ports, runId, seed, lossShare, ...steady, ...fate }
    const args = [childPath, JSON.stringify(spec)]
    const child =
      fileBlocks === undefined
        ? spawn(process.execPath, args, { env })
        : spawn('sh', ['-c', `ulimit -f ${fileBlocks}; exec "$@"`, 'sh', process.execPath, ...args], { env })
    alive.add(child)
    counts.started += 1
    return follow(child, {
      onPass: () => (counts.passes += 1),
      onEnd(code, signal, stderr) {
        alive.delete(child)
        // One that was about to end by itself does not hear any more what it is asked.
        if (signal === 'SIGKILL' || signal === 'SIGTERM') counts.killed += 1
        else if (code === refusedExitCode) counts.refused += 1
        else if (code !== 0)
          violations.push(`a ${role} ended with ${code ?? signal}: ${stderr.slice(0, 2000)}`)
      },
    })
  }

  /** A life that ends at a random call of a port, or at a random time. */
  const dieAtRandom = async (role: ChildSpec['role'], fate: Fate = {}) => {
    if (random() < 0.5) {
      await start(role, { calls: 3 + Math.floor(random() ** 2 * 200), ...fate }).ended
      return
    }
    const [waitMs, life] = [random() ** 2 * 1500, start(role, fate)]
    await life.said('up')
    await Promise.race([sleep(waitMs), life.ended])
    // As containers end: it is asked first, and has a moment that may be too short.
    if (role === 'worker' && random() < 0.4 && life.child.kill('SIGTERM'))
      await Promise.race([sleep(random() * 600), life.ended])
    life.child.kill('SIGKILL')
    await life.ended
  }

  return {
    counts,
    violations,
    async liveAndDie(role: ChildSpec['role'], lives: number) {
      for (let life = 0; life < lives; life += 1) await dieAtRandom(role)
    },
    async sealUntilCalm() {
      while (!over.signal.aborted) await dieAtRandom('sealer')
    },
    /** Stops a process while it holds messages or writes a generation, for longer than its lease. */
    async freeze(role: ChildSpec['role']) {
      const life = start(role, { model: 'chat' })
      await life.said('busy')
      await sleep(random() * 30)
      if (!life.child.kill('SIGSTOP')) return
      counts.frozen += 1
      await sleep(2.5 * stormLeaseMs)
      life.child.kill('SIGCONT')
      // A zombie: it commits what others did long ago.
      await Promise.race([sleep(2000), life.ended])
      life.child.kill('SIGKILL')
      await life.ended
    },
    /** What happens once each: a disk that is full, files that may not grow, a clock that is an hour off. */
    async misfortunes() {
      const skewMs = world.ports.kind === 'folder' || random() < 0.5 ? hourMs : -hourMs
      const skewed = dieAtRandom('worker', { skewMs })
      if (world.ports.kind === 'folder') await start('worker', { fileBlocks: 1 }).ended
      if (world.fillDisk !== null) {
        const [worker, sealer] = [start('worker'), start('sealer')]
        const working = [worker, sealer]
        await Promise.all(working.map(async ({ said }) => await said('up')))
        await world.fillDisk(worker.ended)
        for (const { child } of working) child.kill('SIGKILL')
        await Promise.all(working.map(async ({ ended }) => await ended))
      }
      await skewed
    },
    calm() {
      over.abort()
    },
    /** Workers that live do what is left. Two hours have passed: leases by a clock that was off have run out. */
    async finish() {
      const skewMs = world.ports.kind === 'folder' ? 2 * hourMs : 0
      for (let rounds = 0; rounds < 20; rounds += 1) {
        const fate = { skewMs, idleExitMs: stormLeaseMs + 500 }
        const models = isOfTwo ? (['chat', 'grounding'] as const) : (['chat', 'chat'] as const)
        await Promise.all(models.map(async (model) => await start('worker', { ...fate, model }).ended))
        const { queue, groundingQueue } = openPorts(world.ports)
        const [first, second] = await Promise.all([queue.stats(), groundingQueue.stats()])
        const left = [first, second].flatMap((stats) => Object.values(stats))
        if (left.every((count) => count === 0)) return
      }
      violations.push('after 20 rounds of work the queue is not empty')
    },
    killAll() {
      for (const child of alive) child.kill('SIGKILL')
    },
  }
}

type Follower = {
  onPass: () => void
  onEnd: (code: number | null, signal: string | null, stderr: string) => void
}

/** Listens to a child until it is gone. Waiting for a word ends with the child, too. */
function follow(child: ChildProcess, { onPass, onEnd }: Follower): Life {
  const heard = new Map<string, PromiseWithResolvers<void>>()
  const wordOf = (word: string) => {
    const waiting = heard.get(word) ?? Promise.withResolvers<void>()
    heard.set(word, waiting)
    return waiting
  }
  let stderr = ''
  child.stderr?.on('data', (data: Buffer) => (stderr += data.toString()))
  // Killed children leave broken pipes behind.
  child.stdin?.on('error', () => {})
  if (child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'pass') onPass()
      else wordOf(line).resolve()
    })
  const ended = once(child, 'close').then(([code, signal]: (number | string | null)[]) => {
    onEnd(code === null ? null : Number(code), signal === null ? null : String(signal), stderr)
  })
  return { child, ended, said: async (word) => await Promise.race([wordOf(word).promise, ended]) }
}

/** Reads the sealed records again and again: at no time may one be there twice, or be gone. */
function readAllAlong(world: World) {
  const over = new AbortController()
  const violations: string[] = []
  const read = async () => {
    const store = openPorts(world.ports).runStoreOf(world.runId)
    let before: ReadonlySet<string> = new Set()
    while (!over.signal.aborted) {
      const records = await readSealed(store)
      violations.push(...findLosses(records, before).map((loss) => `during the storm: ${loss}`))
      before = new Set(records.map(({ recordId }) => recordId))
      await sleep(300, undefined, { signal: over.signal }).catch(() => {})
    }
  }
  const reading = read().catch((error: unknown) => void violations.push(`reading failed: ${String(error)}`))
  return {
    stop: () => over.abort(),
    async end() {
      over.abort()
      await reading
      return violations
    },
  }
}

async function settle(world: World, reader: ReturnType<typeof readAllAlong>) {
  const { ports, runId } = world
  const { deadLetters, runStoreOf } = openPorts(ports)
  const store = runStoreOf(runId)
  const clock = () => new Date()
  await Promise.all([sealRun({ store, runId, clock }), sealRun({ store, runId, clock })])
  const along = await reader.end()
  const records = await readSealed(store)
  const dead = await deadLetters.stats()
  const buried = dead.visible === 0 ? [] : [`${dead.visible} messages are among the dead letters`]
  return {
    records,
    violations: [...along, ...judge(records, world), ...buried, ...(await findOwed(world))],
  }
}

/** What was asked for again by somebody and is not there, though the queue is empty. */
async function findOwed({ ports, runId }: World): Promise<string[]> {
  const place = placeOf(ports)
  const store = place.runStoreOf(runId)
  const config = await readRun(store)
  if (config === null) return [`the run ${runId} is gone`]
  const none = openMemoryStore()
  const status = openRunStatus({ ...place, labels: none, weights: none }, config)
  const { askedAgain, control } = await status.look(new Date())
  return [
    ...(askedAgain.records === 0 ? [] : [`${askedAgain.records} records asked for again are not there`]),
    ...(control.state === 'running' ? [] : [`the run is ${control.state}`]),
  ]
}

async function countKeys({ ports, runId }: World, prefix: string): Promise<number> {
  const { objects } = await openPorts(ports).runStoreOf(runId).list({ prefix })
  return objects.length
}

/** One line for a report. */
export function describeStorm(report: StormReport): string {
  const { kind, seed, claims, images, started, killed, frozen, refused, failedRecords, generations } = report
  const { paused, reconciled, deleted } = report.people
  return (
    `${kind} seed ${seed}, claims ${claims}, ${report.models === 1 ? 'one model' : 'two models'}: ${images} images, ${started} processes, ${killed} killed, ${frozen} frozen, ${refused} refused; ` +
    `${report.violations.length} violations, ${failedRecords} failed by name, ${generations} generations in ${report.windows} windows, ` +
    `${paused} pauses, ${reconciled} reconcilings, ${deleted} deleted; ` +
    `${report.passesPerImage.toFixed(2)} passes an image, ${report.mostDeliveries} deliveries at most` +
    `${report.requests === 0 ? '' : `, ${report.requests} requests`}, ${(report.durationMs / 1000).toFixed(1)} s`
  )
}
