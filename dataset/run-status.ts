// How a run stands, from its stores and its queues alone: planned, committed, sealed, failed, speed, spend. What is an
// estimate says what it assumes. It does not know terminals.
import { constants, gunzipSync } from 'node:zlib'
import { z } from 'zod'
import { RecordTiming } from '../schemas/label-record.ts'
import { partsPrefix, PartKey, RecordHead } from '../schemas/part.ts'
import type { AskedAgain } from '../schemas/asked-again.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { PauseCause } from '../schemas/run-control.ts'
import type { SealedManifest, StatusCounts } from '../schemas/sealed-manifest.ts'
import { readAskedAgain } from './asked-again.ts'
import { type ChainLink, readChain } from './chain.ts'
import { unpackLines } from './parts.ts'
import { listingStart, unwindowed } from './part-windows.ts'
import { openShards } from './plan-sources.ts'
import { readPlan } from './plan.ts'
import type { Place } from './place.ts'
import type { QueueStats } from './queues/work-queue.ts'
import { readControl, type RunStanding, type RunState } from './run-control.ts'
import { type Comparison, comparePlan, readKeptEstimate } from './run-estimate.ts'
import { listAll, type ObjectStore } from './stores/object-store.ts'

export type RunStatus = {
  runId: string
  place: string
  source: RunConfig['source']['kind']
  createdAt: string
  /** Whether it may be worked on, and who said otherwise, when and why. */
  control: { state: RunState; since: string | null; cause: PauseCause | null; reason: string | null }
  /** What the plan asks for; null for a run that labels whatever arrives. */
  expected: { images: number; messages: number; records: number; isComplete: boolean } | null
  /** Durable records; those that are not sealed yet may hold some twice. */
  committed: { records: number; isEstimate: boolean }
  sealed: StatusCounts & { records: number; generations: number; at: string | null }
  byTask: Record<string, StatusCounts>
  parts: { sealed: number; unsealed: number }
  /** By `coglabel reconcile`: how often, and how much of it has not been made since. */
  askedAgain: { times: number; images: number; records: number }
  /** Of all runs of the place. */
  queue: QueueStats
  deadLetters: number
  recordsPerSecond: number | null
  etaMs: number | null
  spend: Spend
  /** Against what `coglabel plan --cloud` said; null where nobody planned. */
  plan: Comparison | null
}

export type Spend = {
  workerHours: number | null
  usd: number | null
  /** What the two figures assume, as a sentence. */
  assumes: string
}

export type StatusOptions = {
  /** USD for an hour of one worker. */
  workerHourUsd?: number | undefined
}

/** Time that a worker is paid for and not labelling: loading, waiting, the tail before it ends. */
const busyShare = 0.85

/** Unsealed parts read at each look; more are estimated by their size. */
const maxPartsRead = 64

/** As much of a part or shard as the speed is measured on. */
const sampleBytes = 256 * 1024
const maxSampleText = 64 * 1024 * 1024

/** The speed is that since the newest generation that is at least this old. */
const speedWindowMs = 5 * 60_000

type Known = {
  last: ChainLink | null
  sealedParts: Set<string>
  /** Rows and times of the last generations, oldest first. */
  history: { atMs: number; records: number }[]
  /** Records of unsealed parts that were read. */
  records: Map<string, number>
  /** Records of the parts of all generations up to each, whatever became of them; of none first. */
  sealedThrough: number[]
  askedAgain: AskedAgain[]
}

/** Whether nothing is left to do for what was planned; never for a run that labels whatever arrives. */
export function isAllSealed({ expected, sealed, parts, askedAgain }: RunStatus): boolean {
  const isPlanDone = expected?.isComplete === true && sealed.records >= expected.records
  return isPlanDone && askedAgain.records === 0 && parts.unsealed === 0
}

/** Looks at a run; a later look reads only what is new. */
export function openRunStatus(
  place: Place,
  config: RunConfig,
  { workerHourUsd = place.deployment?.workerHourUsd }: StatusOptions = {},
): { look(now: Date): Promise<RunStatus> } {
  const store = place.runStoreOf(config.runId)
  const createdMs = Date.parse(config.createdAt)
  const known: Known = {
    last: null,
    sealedParts: new Set(),
    history: [{ atMs: createdMs, records: 0 }],
    records: new Map(),
    sealedThrough: [0],
    askedAgain: [],
  }
  return {
    async look(now) {
      await followChain(store, known)
      const [standing, again, unsealed, expected, queue, dead] = await Promise.all([
        readControl(store),
        readAskedAgain(store, known.askedAgain.length),
        readUnsealed(store, known),
        readExpected(place, { config, store }),
        place.queue.stats(),
        place.deadLetters.stats(),
      ])
      known.askedAgain.push(...again)
      const sealed = sealedOf(known.last)
      const committed = sealed.records + unsealed.records
      const perSecond = speedOf(known.history, { atMs: now.getTime(), records: committed })
      const images = committed / recordsPerImage(config, expected)
      const spend = await estimateSpend(store, {
        sampleKey: unsealed.newest ?? known.last?.manifest.shards.at(-1)?.key,
        images,
        workerHourUsd,
      })
      const estimate = await readKeptEstimate(store)
      const askedAgain = leftOfAskedAgain(known, unsealed.records)
      const left = expected === null ? null : Math.max(0, expected.records - committed, askedAgain.records)
      return {
        runId: config.runId,
        place: place.uri,
        source: config.source.kind,
        createdAt: config.createdAt,
        control: controlOf(standing),
        expected,
        committed: { records: committed, isEstimate: unsealed.isEstimate },
        sealed,
        byTask: known.last?.manifest.totals ?? {},
        parts: { sealed: known.sealedParts.size, unsealed: unsealed.parts },
        askedAgain,
        queue,
        deadLetters: dead.visible + dead.inFlight + dead.delayed,
        recordsPerSecond: perSecond,
        etaMs: etaOf(left, perSecond),
        spend,
        plan:
          estimate === null
            ? null
            : comparePlan(estimate, { images, expectedImages: expected?.images ?? null, ...spend }),
      }
    },
  }
}

function controlOf({ state, last }: RunStanding): RunStatus['control'] {
  if (last === null || state === 'running') return { state, since: null, cause: null, reason: null }
  const { createdAt: since, cause = 'person', reason = null } = last
  return { state, since, cause, reason }
}

async function followChain(store: ObjectStore, known: Known): Promise<void> {
  const { last } = known
  const after = last === null ? null : { generation: last.manifest.generation, sha256: last.sha256 }
  for await (const link of readChain(store, after)) {
    known.last = link
    for (const part of link.manifest.parts) {
      known.sealedParts.add(part)
      known.records.delete(part)
    }
    const { shards, duplicates } = link.manifest
    const rows = shards.reduce((sum, shard) => sum + shard.records, 0)
    known.sealedThrough.push((known.sealedThrough.at(-1) ?? 0) + rows + duplicates)
    const { records } = sealedOf(link)
    known.history.push({ atMs: Date.parse(link.manifest.createdAt), records })
  }
  const { history } = known
  const newestMs = history.at(-1)?.atMs ?? 0
  while (history.length > 2 && (history[1]?.atMs ?? newestMs) < newestMs - speedWindowMs) history.shift()
}

function sealedOf(last: ChainLink | null): RunStatus['sealed'] {
  const sum = { ok: 0, filtered: 0, failed: 0 }
  const totals: SealedManifest['totals'] = last?.manifest.totals ?? {}
  for (const { ok, filtered, failed } of Object.values(totals)) {
    sum.ok += ok
    sum.filtered += filtered
    sum.failed += failed
  }
  const records = sum.ok + sum.filtered + sum.failed
  const { generation: generations = 0, createdAt = null } = last?.manifest ?? {}
  return { ...sum, records, generations, at: createdAt }
}

/** Of several reconcilings the one of which most is left: the later ones ask for what the earlier lacked still. */
function leftOfAskedAgain(
  { askedAgain, sealedThrough }: Known,
  unsealedRecords: number,
): RunStatus['askedAgain'] {
  const made = (sealedThrough.at(-1) ?? 0) + unsealedRecords
  const left = { times: askedAgain.length, images: 0, records: 0 }
  for (const { images, records, afterGeneration } of askedAgain) {
    const missing = records - (made - (sealedThrough[afterGeneration] ?? made))
    if (missing <= left.records) continue
    left.records = missing
    left.images = Math.ceil((missing / records) * images)
  }
  return left
}

type Unsealed = { parts: number; records: number; isEstimate: boolean; newest: string | undefined }

async function readUnsealed(store: ObjectStore, known: Known): Promise<Unsealed> {
  const unsealed: Unsealed = { parts: 0, records: 0, isEstimate: false, newest: undefined }
  let [readBytes, unreadBytes, reads] = [0, 0, 0]
  // Windows below are done with: what lies there is sealed, or came too late and was written again.
  const after = listingStart(known.last?.manifest.partsFrom ?? unwindowed)
  for await (const { key, sizeBytes } of listAll(store, { prefix: partsPrefix, after })) {
    if (known.sealedParts.has(key) || !PartKey.safeParse(key).success) continue
    unsealed.parts += 1
    unsealed.newest = key
    if (!known.records.has(key) && reads < maxPartsRead) {
      reads += 1
      const bytes = await store.get(key)
      // Deleted between the listing and now: it has been sealed, and the next look says so.
      if (bytes !== null) known.records.set(key, unpackLines(bytes, store.uri + key).length)
    }
    const records = known.records.get(key)
    unsealed.records += records ?? 0
    if (records === undefined) unreadBytes += sizeBytes
    else readBytes += sizeBytes
  }
  if (unreadBytes === 0) return unsealed
  const estimate = Math.round(unsealed.records * (1 + unreadBytes / Math.max(1, readBytes)))
  return { ...unsealed, records: estimate, isEstimate: true }
}

async function readExpected(
  place: Place,
  { config, store }: { config: RunConfig; store: ObjectStore },
): Promise<RunStatus['expected']> {
  if (config.source.kind === 'standing') return null
  const { images, records, messages, isComplete } = await readPlan(store, await openShards(config, place))
  return { images, messages, records: records ?? images * config.tasks.length, isComplete }
}

function recordsPerImage({ tasks }: RunConfig, expected: RunStatus['expected']): number {
  const planned = expected === null || expected.images === 0 ? 0 : expected.records / expected.images
  return planned === 0 ? Math.max(1, tasks.length) : planned
}

function speedOf(history: Known['history'], now: { atMs: number; records: number }): number | null {
  const from = history.findLast(({ atMs }) => atMs <= now.atMs - speedWindowMs) ?? history[0]
  if (from === undefined || now.atMs <= from.atMs || now.records <= from.records) return null
  return ((now.records - from.records) * 1000) / (now.atMs - from.atMs)
}

function etaOf(left: number | null, perSecond: number | null): number | null {
  if (left === 0) return 0
  return left === null || perSecond === null ? null : (left / perSecond) * 1000
}

type SpendFacts = { sampleKey: string | undefined; images: number; workerHourUsd: number | undefined }

async function estimateSpend(
  store: ObjectStore,
  { sampleKey, images, workerHourUsd }: SpendFacts,
): Promise<Spend> {
  const sample = sampleKey === undefined ? [] : await readSample(store, sampleKey)
  if (sample.length === 0)
    return { workerHours: null, usd: null, assumes: 'nothing is known yet: there are no records' }
  const meanMs = sample.reduce((sum, ms) => sum + ms, 0) / sample.length
  const workerHours = (images * meanMs) / 3_600_000 / busyShare
  const price =
    workerHourUsd === undefined ? 'no price is known' : `${workerHourUsd} USD for an hour of a worker`
  return {
    workerHours,
    usd: workerHourUsd === undefined ? null : workerHours * workerHourUsd,
    assumes:
      `one pass of ${meanMs.toFixed(1)} ms for each image, the mean of the last ${sample.length}; ` +
      `one image at a time, workers busy ${busyShare * 100} % of the hours they are paid for; ${price}`,
  }
}

const Timed = RecordHead.extend({ timing: RecordTiming, source: z.object({ key: z.string() }) })

/** Milliseconds that the engine spent on each of some images: those at the begin of one packed object. */
async function readSample(store: ObjectStore, key: string): Promise<number[]> {
  const bytes = await store.getRange(key, { start: 0, end: sampleBytes })
  if (bytes === null) return []
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: maxSampleText }
  const lines = gunzipSync(bytes, options).toString('utf8').split('\n').slice(0, -1)
  const byKey = new Map<string, number>()
  for (const line of lines) {
    const { source, timing } = Timed.parse(JSON.parse(line))
    byKey.set(source.key, timing.prefillMs + timing.generateMs)
  }
  return [...byKey.values()]
}
