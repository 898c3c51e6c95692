// One image that a message asks for, from its name to durable records, once however many messages ask for it.
// It does not know messages or leases.
import type { WorkRequest } from '../../dataset/events.ts'
import type { Clock } from '../../dataset/queues/clock.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import type { LabelRecord, RecordStatus } from '../../schemas/label-record.ts'
import type { Engine } from '../engine/contract.ts'
import type { DecodeLimits } from '../image/decode.ts'
import type { EngineStreak } from './engine-streak.ts'
import type { HashedSpec } from './item-specs.ts'
import { labelImage, type UprightPixels } from './label-image.ts'
import type { OpenRun, OpenRuns, RunProblem } from './open-runs.ts'

/** What became of a request: all its records are durable, or why its message must be given back. */
export type Outcome = 'durable' | { reason: GiveBackReason; message: string }

export type GiveBackReason =
  | RunProblem['reason']
  | 'unknown-message'
  | 'unknown-task'
  | 'bad-bucket'
  | 'try-again'
  | 'stopping'
  | 'worker-failed'

export type LabelEvent = {
  kind: 'image'
  runId: string
  /** None when another message asked for the same image, or all were there. */
  records: readonly LabelRecord[]
  statuses: RecordStatus[]
  coalesced: boolean
}

/** The last request for an image: the next for the same version shares its end, one for another waits for it. */
type Lane = { version: string | null; outcome: Promise<Outcome> }

export type RequestContext = {
  runs: OpenRuns
  engine: Engine
  streak: EngineStreak
  sourceOf: (bucket: string) => ObjectStore
  /** Lets a limited number of images be fetched, decoded or answered at a time. */
  inFlight: <T>(job: () => Promise<T>) => Promise<T>
  inEngine: <T>(job: () => Promise<T>) => Promise<T>
  limits: DecodeLimits
  clock: Pick<Clock, 'nowMs'>
  /** Begin no further image. */
  halt: AbortSignal
  /** Stop the images under way. */
  cut: AbortSignal
  /** Who waits for records to become durable; called with `stopping` when there is no more time to. */
  waiting: Set<(outcome: Outcome) => void>
  /** The worker cannot go on. */
  fail: (error: unknown) => void
  lanes: Map<string, Lane>
  /** Images that wait for their turn, are fetched, decoded or answered. */
  labelling: number
  isIdle: () => boolean
  /** Left out keeps none. */
  keepThumbnail?: KeepThumbnail | undefined
  onChange: () => void
  onEvent: (event: LabelEvent) => void
}

/** Keeps a small picture of an image beside a run's parts. Never rejects. */
export type KeepThumbnail = (runId: string, image: UprightPixels) => Promise<void>

/** Labels an image and resolves when its records are durable. Never rejects. */
export async function labelRequest(
  request: WorkRequest,
  attempt: number,
  context: RequestContext,
): Promise<Outcome> {
  try {
    if (context.halt.aborted) return stopping
    const opened = await context.runs.open(request.runId)
    if (!opened.ok) return opened
    const specs = specsOfRequest(request, opened.run)
    if (specs === null)
      return {
        reason: 'unknown-task',
        message: `the message asks for ${request.tasks?.join(', ')}; the run lacks one of them`,
      }
    return await oncePerVersion(request, context, async () => {
      return await labelNow({ request, attempt, run: opened.run, specs }, context)
    })
  } catch (error) {
    return explain(error, context)
  }
}

export const stopping: Exclude<Outcome, 'durable'> = { reason: 'stopping', message: 'the worker stops' }

/** The run's specs, or those of the tasks that are asked for; null when it lacks one. */
function specsOfRequest({ tasks }: WorkRequest, run: OpenRun): readonly HashedSpec[] | null {
  if (tasks === undefined) return run.specs
  const has = (task: string) => run.specs.some(({ spec }) => spec.task === task)
  return tasks.every(has) ? run.specs.filter(({ spec }) => tasks.includes(spec.task)) : null
}

/**
 * Two requests that name the same version of an image are one job. When they name none, or another, the second
 * runs after the first is durable: it reads the bytes again, and finds its records done if they have not changed.
 */
async function oncePerVersion(
  request: WorkRequest,
  { lanes, onEvent }: RequestContext,
  job: () => Promise<Outcome>,
): Promise<Outcome> {
  const { runId, bucket, key } = request
  const lane = JSON.stringify([runId, bucket, key])
  const version = versionOf(request)
  const last = lanes.get(lane)
  if (last !== undefined && version !== null && last.version === version) {
    onEvent({ kind: 'image', runId, records: [], statuses: [], coalesced: true })
    return await last.outcome
  }
  const outcome = last === undefined ? job() : last.outcome.then(job)
  const mine: Lane = { version, outcome }
  lanes.set(lane, mine)
  try {
    return await outcome
  } finally {
    if (lanes.get(lane) === mine) lanes.delete(lane)
  }
}

function versionOf({ versionId, etag, tasks }: WorkRequest): string | null {
  if (versionId === undefined && etag === undefined) return null
  return JSON.stringify([versionId, etag, tasks])
}

type Job = { request: WorkRequest; attempt: number; run: OpenRun; specs: readonly HashedSpec[] }

/** Labels and keeps; resolves when the part is durable, or when there is no more time to wait. Never rejects. */
async function labelNow(job: Job, context: RequestContext): Promise<Outcome> {
  const { waiting, onChange } = context
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  waiting.add(resolve)
  context.labelling += 1
  void labelAndKeep(job, context, resolve)
    .catch((error: unknown) => resolve(explain(error, context)))
    .finally(() => {
      context.labelling -= 1
      onChange()
    })
  return await promise.finally(() => waiting.delete(resolve))
}

/** Ends when the engine is done with the image; `resolve` is called then or when its part is durable. */
async function labelAndKeep(
  job: Job,
  context: RequestContext,
  resolve: (outcome: Outcome) => void,
): Promise<void> {
  const { streak, inFlight, onEvent } = context
  const made = await inFlight(async () => await labelBytes(job, context))
  if (!made.ok) return resolve(made.outcome)
  const { records } = made
  const statuses = records.map((record) => record.status)
  onEvent({ kind: 'image', runId: job.run.config.runId, records, statuses, coalesced: false })
  if (records.length === 0) return resolve('durable')
  await streak.image({
    records,
    async hand(kept) {
      // Not waited for: the part is written when it is full or old, and the engine has other work until then.
      void job.run.keep(kept, (error) => resolve(error === null ? 'durable' : explain(error, context)))
    },
    refuse: () =>
      resolve({ reason: 'try-again', message: records.find(({ error }) => error)?.error?.message ?? '' }),
  })
}

type Made = { ok: true; records: LabelRecord[] } | { ok: false; outcome: Outcome }

async function labelBytes({ request, attempt, run, specs }: Job, context: RequestContext): Promise<Made> {
  const { engine, inEngine, limits, clock, halt, cut, keepThumbnail } = context
  const { bucket, key, versionId, etag } = request
  if (halt.aborted) return { ok: false, outcome: stopping }
  const source = openBucket(bucket, context)
  if (source === null)
    return { ok: false, outcome: { reason: 'bad-bucket', message: `this worker may not read ${bucket}` } }
  const records = await labelImage(
    { key },
    {
      config: run.config,
      specs,
      source,
      delivery: { attempt, bucket, versionId, etag },
      engine,
      inEngine,
      isDone: run.isDone,
      limits,
      clock: () => new Date(clock.nowMs()),
      signal: cut,
      ...(keepThumbnail === undefined
        ? {}
        : { keepThumbnail: async (image) => await keepThumbnail(request.runId, image) }),
    },
  )
  return { ok: true, records }
}

function openBucket(bucket: string, { sourceOf }: RequestContext): ObjectStore | null {
  try {
    return sourceOf(bucket)
  } catch (error) {
    if (error instanceof UserError) return null
    throw error
  }
}

/** What an error means for the message: what is not about the image ends the worker. */
function explain(error: unknown, { cut, fail }: RequestContext): Exclude<Outcome, 'durable'> {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof RetryableError) return { reason: 'try-again', message }
  if (cut.aborted) return stopping
  fail(error)
  return { reason: 'worker-failed', message }
}
