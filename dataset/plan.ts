// Planning: the images of a source become messages, page by page. It does not know what a source is nor which queue
// it fills. Killed anywhere it goes on behind its last page; what it sent since is sent again, which harms nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import { RetryableError, UserError } from '../schemas/errors.ts'
import { PlanPage, planPageKey, planPageVersion, planPrefix } from '../schemas/plan-page.ts'
import { maxWorkMessageBytes, ownBytes, type WorkImage } from '../schemas/work-message.ts'
import { writeWorkMessages } from './events.ts'
import { parseJson } from './parse-json.ts'
import { maxBatchMessages, type WorkQueue } from './queues/work-queue.ts'
import { listAll, type ObjectStore } from './stores/object-store.ts'

/** An image of a shard; `cursor` is where a listing begins that goes on behind it. */
export type PlannedImage = { image: WorkImage; cursor: string }

/** A list of images in a fixed order that can be entered anywhere. */
export type PlanShard = {
  name: string
  /** From the first image, or from behind a cursor. `tell` hears of each key that is no work. */
  images(after: string | null, tell: (reason: string) => void): AsyncGenerator<PlannedImage>
}

export type PlanLimits = {
  /** Images between two pages: so many messages are sent twice at most when a planner is killed. */
  imagesPerPage: number
  /** Questions, phrases and meta of one page's images: all are in memory. */
  ownBytesPerPage: number
  /** Batches of messages under way at once. */
  batchesInFlight: number
}

const defaultPlanLimits: PlanLimits = {
  imagesPerPage: 5000,
  ownBytesPerPage: 256 * maxWorkMessageBytes,
  batchesInFlight: 4,
}

/** Tries for messages that the queue did not take. */
const sendAttempts = 5

export type PlanProgress = {
  /** Images of the shards so far, each once. */
  images: number
  /** Null where the plan does not count them: each image gets one for each of the run's tasks. */
  records: number | null
  messages: number
  skipped: Record<string, number>
  /** Whether every shard was read to its end. */
  isComplete: boolean
}

export type PlanOptions = {
  runId: string
  /** The run's. */
  store: ObjectStore
  queue: Pick<WorkQueue, 'send'>
  clock: () => Date
  /** How many records an image gets, in a run of whose images some bring their own questions or phrases. */
  countRecords?: ((image: WorkImage) => number) | undefined
  /** Finish the page and return. */
  stop?: AbortSignal
  limits?: PlanLimits
  onProgress?: (progress: { shard: string; images: number }) => void
}

/**
 * Sends what no page of the run accounts for yet. Throws RetryableError when the queue stays busy, UserError for a
 * source that cannot be read; both leave a plan that goes on where it was.
 */
export async function planRun(shards: readonly PlanShard[], options: PlanOptions): Promise<PlanProgress> {
  for (const shard of shards) await planShard(shard, options)
  return await readPlan(options.store, shards)
}

/** How far the plan of these shards is, by its pages. */
export async function readPlan(
  store: ObjectStore,
  shards: readonly Pick<PlanShard, 'name'>[],
): Promise<PlanProgress> {
  const progress: PlanProgress = { images: 0, records: 0, messages: 0, skipped: {}, isComplete: true }
  for (const { name } of shards) {
    const page = await lastPage(store, name)
    progress.isComplete &&= page?.isLast === true
    if (page === null) continue
    progress.images += page.images
    const counted = progress.records === null ? undefined : page.records
    progress.records = counted === undefined ? null : (progress.records ?? 0) + counted
    progress.messages += page.messages
    for (const [reason, count] of Object.entries(page.skipped))
      progress.skipped[reason] = (progress.skipped[reason] ?? 0) + count
  }
  return progress
}

async function planShard(shard: PlanShard, options: PlanOptions): Promise<void> {
  for (;;) {
    const last = await lastPage(options.store, shard.name)
    if (last?.isLast === true || options.stop?.aborted === true) return
    await planBehind(last, { shard, ...options })
  }
}

/** Plans on to the end of the shard, or until somebody stops it, or another planner has written the same page. */
async function planBehind(last: PlanPage | null, options: PlanBehind): Promise<void> {
  const { shard, runId, store, queue, clock, countRecords, stop, limits = defaultPlanLimits } = options
  const tally = {
    page: last?.page ?? 0,
    cursor: last?.cursor ?? '',
    images: last?.images ?? 0,
    ...(countRecords === undefined ? {} : { records: last?.records ?? 0 }),
    messages: last?.messages ?? 0,
    skipped: { ...last?.skipped },
  }
  let held: WorkImage[] = []
  let heldBytes = 0
  const finishPage = async (isLast: boolean): Promise<'created' | 'exists'> => {
    const bodies = writeWorkMessages(held, { runId, planShard: shard.name })
    await sendAll(queue, bodies, limits.batchesInFlight)
    tally.page += 1
    tally.images += held.length
    if (countRecords !== undefined)
      tally.records = held.reduce((sum, image) => sum + countRecords(image), tally.records ?? 0)
    tally.messages += bodies.length
    held = []
    heldBytes = 0
    const page = { v: planPageVersion, shard: shard.name, ...tally, isLast, createdAt: clock().toISOString() }
    const bytes = Buffer.from(`${JSON.stringify(PlanPage.parse(page))}\n`)
    options.onProgress?.({ shard: shard.name, images: tally.images })
    return await store.putIfAbsent(planPageKey(shard.name, tally.page), bytes)
  }
  const tell = (reason: string) => {
    tally.skipped[reason] = (tally.skipped[reason] ?? 0) + 1
  }
  for await (const { image, cursor } of shard.images(last?.cursor ?? null, tell)) {
    held.push(image)
    heldBytes += ownBytes(image)
    tally.cursor = cursor
    if (held.length < limits.imagesPerPage && heldBytes < limits.ownBytesPerPage) continue
    if ((await finishPage(false)) === 'exists' || stop?.aborted === true) return
  }
  await finishPage(true)
}

type PlanBehind = PlanOptions & { shard: PlanShard }

/** Sends bodies, batch by batch; what the queue did not take is sent again. Throws RetryableError when it never does. */
export async function sendAll(
  queue: Pick<WorkQueue, 'send'>,
  bodies: readonly string[],
  batchesInFlight: number,
): Promise<void> {
  const batches: string[][] = []
  for (let at = 0; at < bodies.length; at += maxBatchMessages)
    batches.push(bodies.slice(at, at + maxBatchMessages))
  for (let at = 0; at < batches.length; at += batchesInFlight) {
    const together = batches.slice(at, at + batchesInFlight)
    await Promise.all(together.map(async (batch) => await sendBatch(queue, batch)))
  }
}

async function sendBatch(queue: Pick<WorkQueue, 'send'>, batch: readonly string[]): Promise<void> {
  let open = [...batch]
  for (let attempt = 1; attempt <= sendAttempts; attempt += 1) {
    if (attempt > 1) await sleep(2 ** attempt * 50 * (0.5 + Math.random()))
    const taken = await queue.send(open)
    open = open.filter((_body, index) => taken[index] !== true)
    if (open.length === 0) return
  }
  throw new RetryableError(
    `the queue did not take ${open.length} messages in ${sendAttempts} tries; run the same command again`,
  )
}

async function lastPage(store: ObjectStore, shard: string): Promise<PlanPage | null> {
  let key: string | null = null
  for await (const object of listAll(store, { prefix: `${planPrefix}${shard}/` })) ({ key } = object)
  if (key === null) return null
  const bytes = await store.get(key)
  const page = PlanPage.safeParse(parseJson(bytes))
  if (page.success) return page.data
  throw new UserError(
    `${store.uri}${key} is not a page of a plan that this version can read; restore the run`,
    { cause: page.error },
  )
}
