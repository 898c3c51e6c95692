// A cloud worker over memory, with a clock that a test moves. Nothing in it is a double but the engine.
import { setTimeout as realSleep } from 'node:timers/promises'
import { loadIdIndex } from '../../dataset/sealed-ids.ts'
import { writeWorkMessages } from '../../dataset/events.ts'
import { manualClock } from './manual-clock.ts'
import { openMemoryQueue } from '../../dataset/queues/memory.ts'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import { readRecords } from '../../dataset/read.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { runWorker, type WorkerEvent, type WorkerOptions } from '../../gpu-worker/pipeline/worker-loop.ts'
import { defaultWorkerLimits, type WorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { listItemTasks, planTasks } from '../../gpu-worker/tasks/registry.ts'
import { UserError } from '../../schemas/errors.ts'
import type { InputRules } from '../../schemas/input-rules.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import type { TaskDefinition } from '../../schemas/task-file.ts'
import type { Brings } from '../../schemas/work-item.ts'
import type { WorkImage } from '../../schemas/work-message.ts'
import { openCountingEngine, type CountingEngine } from './counting-engine.ts'
import { numberedPng } from './images.ts'

export const testBucket = 'photos'

type TestWorld = {
  maxReceives?: number
  engine?: CountingEngine
  tasks?: string[]
  /** The task in whose text ground finds its phrases. */
  from?: string
  phrases?: string[]
  /** Tasks of the user's own. */
  definitions?: TaskDefinition[]
  /** What images bring themselves. */
  brings?: Brings
  /** The run's second model. */
  grounding?: CountingEngine
  claims?: 'on'
  input?: InputRules
}

/** A queue with dead letters, a bucket, and a run that asks one question of each image. */
export async function openTestWorld({
  maxReceives = 8,
  engine = openCountingEngine(),
  tasks = ['caption'],
  from,
  phrases = [],
  definitions = [],
  brings,
  grounding,
  claims,
  input,
}: TestWorld = {}) {
  const clock = manualClock(Date.UTC(2026, 0, 1))
  const dead = openMemoryQueue({ clock })
  const queue = openMemoryQueue({ clock, maxReceives, deadLetters: dead })
  const groundingQueue = openMemoryQueue({ clock, maxReceives, deadLetters: dead })
  const bucket = openMemoryStore(testBucket)
  const stores = new Map<string, ObjectStore>()
  const storeOf = (runId: string) => {
    const store = stores.get(runId) ?? openMemoryStore(`runs/${runId}`)
    stores.set(runId, store)
    return store
  }
  const { model, template, capabilities } = engine.info
  const asked = {
    names: tasks,
    questions: [],
    phrases,
    definitions,
    follows: from === undefined ? [] : [{ task: 'ground', after: from }],
    model: { name: model.name, template, capabilities },
    grounding: grounding && { ...grounding.info, name: grounding.info.model.name },
    ...(brings === undefined ? {} : { brings }),
  }
  const wanted = {
    source: { kind: 'folder' as const, uri: bucket.uri },
    model,
    template,
    ...(grounding === undefined ? {} : { grounding: grounding.info.model }),
    ...(claims === undefined ? {} : { claims }),
    ...(input === undefined ? {} : { input }),
    tasks: planTasks(asked),
    ...(brings === undefined ? {} : { itemTasks: listItemTasks(asked) }),
    ...(brings === undefined || grounding === undefined
      ? {}
      : { groundingTemplate: grounding.info.template }),
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 },
  }
  const first = openMemoryStore('runs/first')
  const config = await openRun(first, { wanted, now: new Date(clock.nowMs()) })
  const { runId } = config
  stores.set(runId, first)
  const world = { clock, dead, queue, groundingQueue, bucket, storeOf, store: first, config, runId, engine }
  return {
    ...world,
    /** Puts numbered images under keys; returns what a message says of them. */
    async upload(count: number, from = 0): Promise<WorkImage[]> {
      const images = Array.from({ length: count }, (_, n) => ({
        bucket: testBucket,
        key: `incoming/${runId}/${String(from + n).padStart(5, '0')}.png`,
        etag: `e${from + n}`,
      }))
      for (const [n, { key }] of images.entries()) await bucket.putIfAbsent(key, numberedPng(from + n))
      return images
    },
    async send(images: readonly WorkImage[], perMessage = 5, tasksAsked?: string[]): Promise<void> {
      for (let at = 0; at < images.length; at += perMessage)
        for (const body of writeWorkMessages(images.slice(at, at + perMessage), {
          runId,
          ...(tasksAsked === undefined ? {} : { tasks: tasksAsked }),
        }))
          await queue.send([body])
    },
    start: (options: Partial<Omit<WorkerOptions, 'limits'>> & { limits?: Partial<WorkerLimits> } = {}) =>
      startWorker(world, options),
    async sealed(): Promise<LabelRecord[]> {
      await sealRun({ store: first, runId, clock: () => new Date(clock.nowMs()) })
      const records: LabelRecord[] = []
      for await (const record of readRecords(first)) records.push(record)
      const ids = await loadIdIndex(first)
      if (ids.size !== new Set(records.map((record) => record.recordId)).size)
        throw new Error(`${ids.size} ids, ${records.length} records`)
      return records
    },
  }
}

type World = {
  clock: ReturnType<typeof manualClock>
  queue: WorkQueue
  bucket: ObjectStore
  storeOf: (runId: string) => ObjectStore
  engine: CountingEngine
}

function startWorker(
  { clock, queue, bucket, storeOf, engine }: World,
  { limits, ...options }: Partial<Omit<WorkerOptions, 'limits'>> & { limits?: Partial<WorkerLimits> },
) {
  const stop = new AbortController()
  const events: WorkerEvent[] = []
  const ended = runWorker({
    queue,
    engine,
    sourceOf: (name) => {
      if (name !== testBucket) throw new UserError(`no bucket ${name}`)
      return bucket
    },
    runStoreOf: storeOf,
    mode: 'drain',
    stop: stop.signal,
    clock,
    random: () => 0.5,
    onEvent: (event) => events.push(event),
    ...options,
    limits: { ...defaultWorkerLimits, ...limits },
  })
  let isOver = false
  const over = ended.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  void over.then(() => (isOver = true))
  return {
    stop: () => stop.abort(),
    events,
    of: <K extends WorkerEvent['kind']>(kind: K) =>
      events.filter((event): event is Extract<WorkerEvent, { kind: K }> => event.kind === kind),
    /** Lets time pass, a second at a time, until the worker ends or `isEnough` says so. */
    async pass(isEnough: () => boolean = () => false, stepMs = 1000): Promise<void> {
      for (let steps = 0; !isOver && !isEnough(); steps += 1) {
        if (steps > 20_000) throw new Error('the worker does not end')
        await realSleep(1)
        clock.advance(stepMs)
      }
    },
    /** Lets work be done while time stands still. */
    async work(isEnough: () => boolean): Promise<void> {
      for (let steps = 0; !isEnough(); steps += 1) {
        if (steps > 5000) throw new Error('it does not come about')
        await realSleep(1)
      }
    },
    async end(): Promise<Awaited<typeof ended>> {
      await this.pass()
      return await ended
    },
  }
}

/**
 * A worker that takes one batch of so many images and hangs on each: it takes nothing more, and its leases run out, as
 * those of a dead one do. Resolves once it has the batch.
 */
export async function startDying(world: Awaited<ReturnType<typeof openTestWorld>>, images: number) {
  const never = async (): Promise<never> => await new Promise<never>(() => {})
  let receives = 0
  const dead = world.start({
    mode: 'service',
    engine: { ...openCountingEngine(), openImage: never },
    queue: {
      ...world.queue,
      receive: async (options) => (receives++ === 0 ? await world.queue.receive(options) : await never()),
    },
    limits: { imagesInFlight: images, imagesInEngine: images, leaseCapMs: 1 },
  })
  await dead.work(() => dead.of('received').length === 1)
  return dead
}
