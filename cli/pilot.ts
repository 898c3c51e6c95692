// A few images of a source, chosen by a seed and labelled to see how long the rest will take. It does not know money.
import { IdIndex } from '../dataset/id-index.ts'
import type { ImageSource } from '../dataset/ingest.ts'
import { readRecords } from '../dataset/read.ts'
import { sealRun } from '../dataset/seal.ts'
import { openMemoryStore } from '../dataset/stores/memory.ts'
import type { Engine } from '../gpu-worker/engine/contract.ts'
import { seededRandom } from '../gpu-worker/engine/sampler.ts'
import type { DecodeLimits } from '../gpu-worker/image/decode.ts'
import type { ImageDecoder } from '../gpu-worker/image/prepare.ts'
import { defaultRunLimits, labelSource } from '../gpu-worker/pipeline/run.ts'
import type { EstimateRange } from '../schemas/estimate.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { WorkItem } from '../schemas/work-item.ts'

export type PilotOptions = {
  config: RunConfig
  engine: Engine
  decoder: ImageDecoder
  limits: DecodeLimits
  source: ImageSource
  /** Of the source. */
  imageCount: number
  /** To measure on, at most. */
  sampleSize: number
  seed: number
  /** No further image is taken after it, once a few are measured. */
  maxMs: number
  clock: () => Date
  stop: AbortSignal
  onImage?: (done: number) => void
}

export type Pilot = {
  images: number
  elapsedMs: number
  /** Mean time of an image among others, with its 95 % interval. */
  imageMs: EstimateRange
  records: LabelRecord[]
}

/** Fewer say nothing of how much images differ. */
const minMeasured = 3

/** Labels the sample; null when it was stopped. The first image warms up the runtime and is not measured. */
export async function runPilot(options: PilotOptions): Promise<Pilot | null> {
  const { sampleSize, seed, imageCount, source, onImage = () => {} } = options
  const sample = await takeSample(source.items(), { size: sampleSize + 1, seed })
  const [warmUp, ...rest] = sample
  const measured = rest.length === 0 ? sample : rest
  const warm = warmUp === undefined ? null : await label([warmUp], options)
  if (warm === null) return null
  const run = await label(measured, { ...options, onImage })
  if (run === null) return null
  const { times, records } = run
  const elapsedMs = times.reduce((sum, ms) => sum + ms, 0)
  return { images: times.length, elapsedMs, imageMs: meanInterval(times, imageCount), records }
}

/** Every item with the same chance, whatever their number: algorithm R (Vitter 1985). In an order by chance. */
export async function takeSample<T>(
  items: AsyncIterable<T>,
  { size, seed }: { size: number; seed: number },
): Promise<T[]> {
  const random = seededRandom(seed)
  const sample: T[] = []
  let seen = 0
  for await (const item of items) {
    seen += 1
    if (sample.length < size) sample.push(item)
    else {
      const at = Math.floor(random() * seen)
      if (at < size) sample[at] = item
    }
  }
  // What came first stands first until here, and sources are often in some order.
  for (let at = sample.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1))
    const [here, there] = [sample[at], sample[other]]
    if (here === undefined || there === undefined) break
    sample[at] = there
    sample[other] = here
  }
  return sample
}

/** The times between one image and the next, as the whole run will have them, several under way. */
async function label(
  items: readonly WorkItem[],
  { config, engine, decoder, limits, source, clock, stop, maxMs, onImage }: PilotOptions,
): Promise<{ times: number[]; records: LabelRecord[] } | null> {
  const store = openMemoryStore()
  const drain = new AbortController()
  const times: number[] = []
  const startMs = performance.now()
  let lastMs = startMs
  const sample: ImageSource = {
    ...source,
    async *items() {
      yield* items
    },
  }
  const { ended } = await labelSource({
    config,
    engine,
    decoder,
    limits: { ...defaultRunLimits, decode: limits },
    source: sample,
    store,
    done: new IdIndex(),
    clock,
    drain: drain.signal,
    stop,
    onEvent(event) {
      if (event.kind !== 'image') return
      const nowMs = performance.now()
      times.push(nowMs - lastMs)
      lastMs = nowMs
      onImage?.(times.length)
      if (nowMs - startMs > maxMs && times.length >= minMeasured) drain.abort()
    },
  })
  if (ended === 'stopped') return null
  await sealRun({ store, runId: config.runId, clock })
  const records: LabelRecord[] = []
  for await (const record of readRecords(store)) records.push(record)
  return { times, records }
}

/**
 * The mean of a sample with its 95 % interval (Student's t), narrower where much of the whole was seen. One value
 * alone says nothing of the spread: half and twice it stand for that.
 */
export function meanInterval(values: readonly number[], populationSize: number): EstimateRange {
  const n = values.length
  const mid = values.reduce((sum, value) => sum + value, 0) / n
  if (n === 1) return { low: mid / 2, mid, high: mid * 2 }
  const variance = values.reduce((sum, value) => sum + (value - mid) ** 2, 0) / (n - 1)
  const unseen = Math.sqrt(Math.max(0, 1 - n / Math.max(n, populationSize)))
  const half = studentQuantile(n - 1) * Math.sqrt(variance / n) * unseen
  return { low: Math.max(0, mid - half), mid, high: mid + half }
}

/** Of Student's t, two-sided 95 %, for degrees of freedom from 1 on; beyond ten, by its expansion. */
const studentTable = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]
function studentQuantile(degrees: number): number {
  return studentTable[degrees - 1] ?? 1.96 + 2.4 / degrees + 2.8 / degrees ** 2
}
