// One image that a message asks for, from its name to durable records, once however many messages ask for it.
// It does not know messages or leases.
import type { Claim } from '../../dataset/claims.ts'
import type { WorkRequest } from '../../dataset/events.ts'
import type { Clock } from '../../dataset/queues/clock.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError } from '../../schemas/errors.ts'
import type { LabelRecord, RecordStatus } from '../../schemas/label-record.ts'
import { stagesOf } from '../../schemas/task-graph.ts'
import { TaskRole, type TaskSpec } from '../../schemas/task-spec.ts'
import { stageOfMessage } from '../../schemas/work-message.ts'
import type { Engine } from '../engine/contract.ts'
import type { DecodeLimits } from '../image/decode.ts'
import type { ImageDecoder } from '../image/prepare.ts'
import { leftOver } from '../tasks/registry.ts'
import type { EngineStreak } from './engine-streak.ts'
import { specsOfItem } from './item-specs.ts'
import { type DuplicateOf, type ImageThumbnails, labelImage, type LabelledItem } from './label-image.ts'
import { type OpenRun, type OpenRuns, otherModel, type RunProblem } from './open-runs.ts'
import { openSourceBucket } from './source-bucket.ts'
import type { StageSender } from './stage-sender.ts'

/** What became of a request: all its records are durable, it is not wanted any more, or its message must be given back. */
export type Outcome = 'durable' | 'cancelled' | Problem

export type Problem = {
  reason: GiveBackReason
  message: string
  runId?: string
  /** Of a claim: how long it lasts at most. */
  leftMs?: number
}

export type GiveBackReason =
  | Exclude<RunProblem['reason'], 'cancelled'>
  | 'claimed'
  | 'no-role-queue'
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
  /** What workers of other roles go on with. */
  forwards: number
  statuses: RecordStatus[]
  coalesced: boolean
}

/** Keeps small pictures of images beside a run's parts. */
export type ThumbnailsOf = (runId: string) => ImageThumbnails

/** The last request for an image: the next for the same version shares its end, one for another waits for it. */
type Lane = { version: string | null; outcome: Promise<Outcome> }

export type RequestContext = {
  runs: OpenRuns
  engine: Engine
  streak: EngineStreak
  sourceOf: (bucket: string) => ObjectStore
  /** Where what this worker's model does not answer goes. */
  stages: StageSender
  hasQueueOf: (role: TaskRole) => boolean
  /** Lets a limited number of images be fetched, decoded or answered at a time. */
  inFlight: <T>(job: () => Promise<T>) => Promise<T>
  inEngine: <T>(job: () => Promise<T>) => Promise<T>
  decoder: ImageDecoder
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
  thumbnailsOf?: ThumbnailsOf | undefined
  onChange: () => void
  onEvent: (event: LabelEvent) => void
}

/** Labels an image and resolves when its records are durable. Never rejects. */
export async function labelRequest(
  request: WorkRequest,
  attempt: number,
  context: RequestContext,
): Promise<Outcome> {
  try {
    if (context.halt.aborted) return stopping
    const opened = await context.runs.open(request.runId)
    if (!opened.ok) {
      const { reason, message } = opened
      return reason === 'cancelled' ? reason : { reason, message, runId: request.runId }
    }
    const problem = requestProblem(request, opened.run, context)
    if (problem !== null) return { ...problem, runId: request.runId }
    return await oncePerVersion(request, context, async () => {
      return await labelNow({ request, attempt, run: opened.run, claims: openClaim(opened.run) }, context)
    })
  } catch (error) {
    return explain(error, context)
  }
}

/** Another message has brought, or brings, what this one asks for. */
const noRecords: Omit<LabelEvent, 'runId'> = {
  kind: 'image',
  records: [],
  forwards: 0,
  statuses: [],
  coalesced: true,
}

export const stopping: Problem = { reason: 'stopping', message: 'the worker stops' }

/** Why this worker cannot do what is asked for, or null when it can. */
function requestProblem(request: WorkRequest, run: OpenRun, context: RequestContext): Problem | null {
  const { tasks, role = 'chat' } = request
  const known = new Set([...run.specs.map(({ spec }) => spec.task), ...(run.config.itemTasks ?? [])])
  if (tasks !== undefined && !tasks.every((task) => known.has(task)))
    return {
      reason: 'unknown-task',
      message: `the message asks for ${tasks.join(', ')}; the run lacks one of them`,
    }
  const left = leftOver(run.config, request)
  if (left !== null)
    return { reason: 'unknown-task', message: `the message brings ${left}, which no task of the run takes` }
  if (!run.serves(role)) {
    const { reason, message } = otherModel(run.config, {
      role,
      modelDigest: context.engine.info.model.digest,
    })
    return { reason, message }
  }
  const specs = specsOfItem(request, run).map(({ spec }) => spec)
  const stageOf = stagesOf(specs)
  const goesOn = specs.some((spec) => isWanted(request, spec) && stageOf(spec) > stageOfMessage(request))
  const unserved = TaskRole.options.find((other) => !run.serves(other) && !context.hasQueueOf(other))
  if (!goesOn || unserved === undefined) return null
  return {
    reason: 'no-role-queue',
    message: `the run has tasks of the role ${unserved}, for which this worker has neither the model nor a queue`,
  }
}

/** Whether a message asks for a spec of the run, in this stage or a later one. */
function isWanted({ tasks }: WorkRequest, spec: TaskSpec): boolean {
  return tasks === undefined || tasks.includes(spec.task)
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
    onEvent({ ...noRecords, runId })
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

function versionOf({ versionId, etag, tasks, role, stage, questions, phrases }: WorkRequest): string | null {
  if (versionId === undefined && etag === undefined) return null
  return JSON.stringify([versionId, etag, tasks, role, stage, questions, phrases])
}

type Job = { request: WorkRequest; attempt: number; run: OpenRun; claims: ImageClaim | null }

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
  const outcome = await promise
  waiting.delete(resolve)
  job.claims?.end(outcome)
  return outcome
}

/** Ends when the engine is done with the image; `resolve` is called then or when its part is durable. */
async function labelAndKeep(
  job: Job,
  context: RequestContext,
  resolve: (outcome: Outcome) => void,
): Promise<void> {
  const { streak, inFlight, onEvent } = context
  const { runId } = job.run.config
  const made = await inFlight(async () => await labelBytes(job, context))
  if (!made.ok) {
    if (made.outcome === 'durable') onEvent({ ...noRecords, runId })
    return resolve(made.outcome)
  }
  const { records } = made
  const statuses = records.map((record) => record.status)
  onEvent({ kind: 'image', runId, records, forwards: made.forwards.length, statuses, coalesced: false })
  // Who asks again for what failed shall have it tried again.
  if (statuses.includes('failed')) job.claims?.leaveOpen()
  const goOn = async (error: Error | null) => {
    if (error !== null) return resolve(explain(error, context))
    await sendOn(made, job, context).then(
      () => resolve('durable'),
      (reason: unknown) => resolve(explain(reason, context)),
    )
  }
  if (records.length === 0) return await goOn(null)
  await streak.image({
    records,
    async hand(kept) {
      // Not waited for: the part is written when it is full or old, and the engine has other work until then.
      void job.run.keep(kept, (error) => void goOn(error))
    },
    refuse: () =>
      resolve({ reason: 'try-again', message: records.find(({ error }) => error)?.error?.message ?? '' }),
  })
}

/**
 * Sends on what comes after records that are durable now. A worker that dies before it has done so gets the message
 * again, and what is sent twice for that has the same ids.
 */
async function sendOn(
  { forwards, sha256 }: Extract<Made, { ok: true }>,
  { request }: Job,
  { stages }: RequestContext,
): Promise<void> {
  const { runId, tasks, role: _role, stage: _stage, upstream: _upstream, ...image } = request
  for (const { role, stage, upstream } of forwards)
    await stages.send(
      { ...image, ...(sha256 === null ? {} : { sha256 }), upstream },
      { runId, role, ...(stage < 2 ? {} : { stage }), ...(tasks === undefined ? {} : { tasks: [...tasks] }) },
    )
}

type Made = (LabelledItem & { ok: true }) | { ok: false; outcome: Outcome }

async function labelBytes({ request, attempt, run, claims }: Job, context: RequestContext): Promise<Made> {
  const { engine, inEngine, decoder, limits, clock, halt, cut, thumbnailsOf } = context
  const { bucket, key, versionId, etag, sha256, upstream, questions, phrases, meta } = request
  if (halt.aborted) return { ok: false, outcome: stopping }
  const source = openSourceBucket(bucket, context.sourceOf)
  if (source === null)
    return { ok: false, outcome: { reason: 'bad-bucket', message: `this worker may not read ${bucket}` } }
  const labelled = await labelImage(
    { key, questions, phrases, meta },
    {
      config: run.config,
      specs: run.specs,
      texts: run.texts,
      source: source.store,
      delivery: {
        attempt,
        bucket,
        versionId,
        etag,
        sha256,
        upstream,
        stage: stageOfMessage(request),
        isWanted: (spec) => isWanted(request, spec),
      },
      engine,
      inEngine,
      isDone: run.isDone,
      claim: claims?.claim,
      // Of a later stage it is known: an image whose bytes repeat another's was not sent on.
      duplicateOf: request.role === undefined ? duplicateFinder(run, bucket) : undefined,
      thumbnails: thumbnailsOf?.(request.runId),
      decoder,
      limits,
      clock: () => new Date(clock.nowMs()),
      signal: cut,
    },
  ).catch((error: unknown) => {
    const message = source.problemOf(error)
    if (message === null) throw error
    return message
  })
  if (typeof labelled === 'string') return { ok: false, outcome: { reason: 'bad-bucket', message: labelled } }
  const outcome = claims?.refused() ?? null
  return outcome === null ? { ok: true, ...labelled } : { ok: false, outcome }
}

/** Finds the image of this run that one repeats byte for byte; undefined in a run that labels all. */
function duplicateFinder({ firstWithBytes }: OpenRun, bucket: string): DuplicateOf | undefined {
  if (firstWithBytes === null) return undefined
  return async (key, sha256) => {
    // What cannot be read repeats nothing.
    if (sha256 === null) return undefined
    const first = await firstWithBytes(sha256, { bucket, key })
    if (first.key === key && first.bucket === bucket) return undefined
    return { of: first.key, kind: 'exact', ...(first.bucket === bucket ? {} : { bucket: first.bucket }) }
  }
}

type ImageClaim = {
  /** Whether the records are this worker's to make now. */
  claim(recordIds: readonly string[]): Promise<boolean>
  /** What another's claim means for the message; null when there is none. */
  refused(): Outcome | null
  /** Lets others have the image whatever becomes of it here. */
  leaveOpen(): void
  end(outcome: Outcome): void
}

/** The claim that labelling one image may come to; null in a run without claims. */
function openClaim({ claim: take }: OpenRun): ImageClaim | null {
  if (take === null) return null
  const state: { claim: Claim | null; isOpen: boolean; hasEnded: boolean } = {
    claim: null,
    isOpen: false,
    hasEnded: false,
  }
  return {
    async claim(recordIds) {
      if (state.hasEnded) return false
      state.claim = await take(recordIds)
      return state.claim.state === 'mine'
    },
    refused() {
      if (state.claim?.state === 'done') return 'durable'
      if (state.claim?.state !== 'held') return null
      const { leftMs } = state.claim
      return { reason: 'claimed', message: 'another worker is at this image', leftMs }
    },
    leaveOpen() {
      state.isOpen = true
    },
    end(outcome) {
      state.hasEnded = true
      if (state.claim?.state !== 'mine') return
      const isDone = outcome === 'durable' && !state.isOpen
      // Not waited for, and no matter when it fails: the claim expires.
      void state.claim.settle(isDone ? 'done' : 'open').catch(() => {})
    },
  }
}

/** What an error means for the message: what is not about the image ends the worker. */
function explain(error: unknown, { cut, fail }: RequestContext): Problem {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof RetryableError) return { reason: 'try-again', message }
  if (cut.aborted) return stopping
  fail(error)
  return { reason: 'worker-failed', message }
}
