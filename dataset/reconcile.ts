// Reconciling: what a run's source lists against what is sealed of it, and a message for each image that lacks a
// record. Memory is that of one window of the listing, however long the listing and the labels are. It does not know
// why messages were lost.
import { z } from 'zod'
import { RecordHead } from '../schemas/part.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { ownBytes, type WorkImage } from '../schemas/work-message.ts'
import { sha256Hex } from './canonical-json.ts'
import { writeWorkMessages } from './events.ts'
import { IdIndex } from './id-index.ts'
import { type PlannedImage, type PlanShard, sendAll } from './plan.ts'
import { writeAskedAgain } from './asked-again.ts'
import { lastGenerationOf } from './chain.ts'
import type { WorkQueue } from './queues/work-queue.ts'
import { readRecordLines } from './read.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** A record that an image should have. The hash is of a spec that comes from its own questions or phrases. */
export type WantedRecord = { task: string; ordinal: number; ownSpecHash?: string }

export type Reconcile = {
  config: Pick<RunConfig, 'runId' | 'tasks'>
  /** What an image should have; one record for each of the run's tasks when left out. */
  wantedOf?: (image: WorkImage) => readonly WantedRecord[]
  shards: readonly PlanShard[]
  /** The run's. */
  store: ObjectStore
  queue: Pick<WorkQueue, 'send'>
  clock: () => Date
  /** Ask also for images whose only record of a task is a failure. */
  retriesFailed?: boolean
  /** Records looked for at once, 34 to 68 bytes each; the sealed labels are read once a window. */
  windowRecords?: number
  onProgress?: (tally: ReconcileTally) => void
}

export type ReconcileTally = {
  /** Images of the source. */
  listed: number
  /** Of those: without all their records. */
  missing: number
  /** That these lack. */
  records: number
  messages: number
}

const defaultWindowRecords = 1_000_000

/** Images between two sends, and their questions, phrases and meta. */
const imagesPerSend = 2500
const ownBytesPerSend = 16 * 1024 * 1024
const batchesInFlight = 4

const [wantedRank, sealedRank] = [0, 1]

/** Asks for every image that lacks a sealed record. Seal before, or what is done and not sealed counts as missing. */
export async function reconcileRun(options: Reconcile): Promise<ReconcileTally> {
  const { shards, store, clock } = options
  const tally: ReconcileTally = { listed: 0, missing: 0, records: 0, messages: 0 }
  const afterGeneration = await lastGenerationOf(store)
  for (const shard of shards) {
    for (let after: string | null = null, isLast = false; !isLast;) {
      const window = await openWindow(shard, after, options)
      await markSealed(window.ids, options)
      await sendMissing({ shard, after, ...window }, options, tally)
      after = window.cursor
      ;({ isLast } = window)
    }
  }
  const { missing: images, records } = tally
  if (images > 0) await writeAskedAgain(store, { images, records, afterGeneration, now: clock() })
  return tally
}

type Window = { ids: IdIndex; images: number; cursor: string | null; isLast: boolean }

/** The records that a piece of the listing should have. */
async function openWindow(shard: PlanShard, after: string | null, options: Reconcile): Promise<Window> {
  const { windowRecords = defaultWindowRecords } = options
  const window: Window = { ids: new IdIndex(), images: 0, cursor: after, isLast: true }
  for await (const { image, cursor } of shard.images(after, () => {})) {
    for (const id of wantedIds(image, options)) window.ids.set(id, wantedRank)
    window.images += 1
    window.cursor = cursor
    if (window.ids.size < windowRecords) continue
    window.isLast = false
    break
  }
  return window
}

async function markSealed(
  ids: IdIndex,
  { store, retriesFailed = false }: Pick<Reconcile, 'store' | 'retriesFailed'>,
): Promise<void> {
  if (ids.size === 0) return
  for await (const line of readRecordLines(store)) {
    const { task, ordinal, status, source, specHash } = SourcedHead.parse(JSON.parse(line))
    if (retriesFailed && status === 'failed') continue
    const image = { bucket: bucketOf(source), key: source.key }
    for (const wanted of [
      { task, ordinal },
      { task, ordinal, ownSpecHash: specHash },
    ]) {
      const id = idOf(image, wanted)
      if (ids.has(id)) ids.set(id, sealedRank)
    }
  }
}

const SourcedHead = RecordHead.extend({ source: RecordHead.shape.source.loose(), specHash: z.string() })

/** The bucket of a record: what stands before its key in its URI, of a bucket and of a folder that stands for one. */
function bucketOf({ key, uri }: { key: string; uri?: unknown }): string {
  const encodedKey = key.split('/').map(encodeURIComponent).join('/')
  const place = String(uri).slice(0, -encodedKey.length - 1)
  return place.slice(place.lastIndexOf('/') + 1)
}

type Piece = Window & { shard: PlanShard; after: string | null }

async function sendMissing(
  { shard, after, images, ids }: Piece,
  options: Reconcile,
  tally: ReconcileTally,
): Promise<void> {
  const { config, queue, onProgress } = options
  let [held, heldBytes]: [WorkImage[], number] = [[], 0]
  const send = async () => {
    const bodies = writeWorkMessages(held, { runId: config.runId, planShard: shard.name })
    await sendAll(queue, bodies, batchesInFlight)
    tally.missing += held.length
    tally.messages += bodies.length
    ;[held, heldBytes] = [[], 0]
    onProgress?.(tally)
  }
  for await (const { image } of take(shard, after, images)) {
    tally.listed += 1
    const lacking = wantedIds(image, options).filter((id) => ids.rankOf(id) !== sealedRank)
    if (lacking.length === 0) continue
    tally.records += lacking.length
    held.push(image)
    heldBytes += ownBytes(image)
    if (held.length >= imagesPerSend || heldBytes >= ownBytesPerSend) await send()
  }
  await send()
}

/** The first images behind a cursor. One that has come into the listing since is looked at by the next reconciling. */
async function* take(shard: PlanShard, after: string | null, images: number): AsyncGenerator<PlannedImage> {
  let left = images
  if (left === 0) return
  for await (const planned of shard.images(after, () => {})) {
    yield planned
    left -= 1
    if (left === 0) return
  }
}

function wantedIds(image: WorkImage, { config, wantedOf = () => config.tasks }: Reconcile): string[] {
  return wantedOf(image).map((wanted) => idOf(image, wanted))
}

function idOf({ bucket, key }: Pick<WorkImage, 'bucket' | 'key'>, wanted: WantedRecord): string {
  const { task, ordinal, ownSpecHash = null } = wanted
  return sha256Hex(JSON.stringify([bucket, key, task, ordinal, ownSpecHash])).slice(0, 32)
}
