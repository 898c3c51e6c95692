// The loop: a bounded number of images under way, their records gathered into parts. It does not know where the
// images or the parts are, nor who watches: progress is told as events.
import type { ImageSource } from '../../dataset/ingest.ts'
import type { IdIndex } from '../../dataset/id-index.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { type LabelRecord, type RecordStatus, statusRank } from '../../schemas/label-record.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import type { WorkItem } from '../../schemas/work-item.ts'
import type { Engine } from '../engine/contract.ts'
import { type DecodeLimits, defaultDecodeLimits } from '../image/decode.ts'
import { decodeHere, type ImageDecoder } from '../image/prepare.ts'
import { limitConcurrency } from './concurrency.ts'
import { watchEngine } from './engine-streak.ts'
import { openRunTexts } from './gates.ts'
import { hashSpecs } from './item-specs.ts'
import { type DuplicateOf, type LabelContext, labelImage } from './label-image.ts'
import { type PartLimits, PartWriter } from './part-writer.ts'

export type RunLimits = PartLimits & {
  /** Images being read, decoded or answered at once: each holds its decoded pixels. */
  imagesInFlight: number
  /** Images that the engine is asked about at once: it answers up to four together, and may let one wait for memory. */
  imagesInEngine: number
  /** Images in a row on which the engine fails before the run is given up: then it is not the images. */
  engineFailuresInRow: number
  decode: DecodeLimits
}

export const defaultRunLimits: RunLimits = {
  imagesInFlight: 8,
  imagesInEngine: 4,
  engineFailuresInRow: 8,
  imagesPerPart: 32,
  partAgeMs: 10_000,
  decode: defaultDecodeLimits,
}

export type RunEvent =
  | {
      kind: 'image'
      key: string
      statuses: RecordStatus[]
      /** Made now; none when all were there. */
      made: readonly LabelRecord[]
      wasDone: boolean
    }
  | { kind: 'part'; key: string; records: number }

export type RunOptions = {
  config: RunConfig
  engine: Engine
  /** Reads images; this process itself when left out. */
  decoder?: ImageDecoder
  source: ImageSource
  /** The run folder or prefix. */
  store: ObjectStore
  /** Records that are sealed already; those made now are added. */
  done: IdIndex
  clock: () => Date
  /** First: take no new image, finish those under way. */
  drain: AbortSignal
  /** Then: stop now; what is under way gets no record. */
  stop: AbortSignal
  /** Only the first of the source. */
  maxImages?: number | undefined
  /** Images that get records now, at most; those that have theirs do not count. */
  maxLabelled?: number | undefined
  /** Whether a record needs not be made; by default, those in `done`. */
  isDone?: (recordId: string) => boolean
  limits?: RunLimits
  /** The earlier image of the source that one repeats. */
  duplicateOf?: DuplicateOf | undefined
  onEvent?: (event: RunEvent) => void
}

/** Drained: by the signal, or because enough images are labelled. */
export type RunOutcome = { ended: 'all-done' | 'drained' | 'stopped' }

/**
 * Labels the source's images, in order, those without all their records. When it returns, every record made is
 * durable. Throws UserError when the engine fails on many images in a row, or writing fails.
 */
export async function labelSource(options: RunOptions): Promise<RunOutcome> {
  const { config, engine, source, store, done, clock, drain, stop, maxImages = Infinity } = options
  const { maxLabelled = Infinity, isDone = (recordId) => done.has(recordId) } = options
  const { limits = defaultRunLimits, onEvent = () => {} } = options
  const { imagesAtOnce = 1 } = engine.info
  const writer = new PartWriter({ store, limits, onPart: (part) => onEvent({ kind: 'part', ...part }) })
  const failed = new AbortController()
  const context: LabelContext = {
    config,
    specs: hashSpecs(config.tasks, config),
    source: source.store,
    engine,
    inEngine: limitConcurrency(Math.max(limits.imagesInEngine, imagesAtOnce)),
    isDone,
    decoder: options.decoder ?? decodeHere,
    limits: limits.decode,
    texts: openRunTexts(),
    duplicateOf: options.duplicateOf,
    clock,
    signal: AbortSignal.any([stop, failed.signal]),
  }
  const keep = keepRecords({ writer, done, onEvent, maxFailures: limits.engineFailuresInRow })
  const work = async (item: WorkItem) => await keep.image(item, (await labelImage(item, context)).records)
  const halt = AbortSignal.any([drain, stop, failed.signal])
  try {
    const { isComplete } = await forEachInFlight({
      items: source.items(),
      maxItems: maxImages,
      maxLabelled,
      // Some are read and decoded while others are answered.
      inFlight: Math.max(limits.imagesInFlight, imagesAtOnce + 2),
      halt,
      work,
      failed,
    })
    await keep.rest()
    // A stop between two images throws nowhere.
    if (!isComplete && stop.aborted) return { ended: 'stopped' }
    return { ended: isComplete ? 'all-done' : 'drained' }
  } catch (error) {
    if (!stop.aborted) throw error
    return { ended: 'stopped' }
  } finally {
    // Also after an error: what is finished is kept, and an error of the writer itself is thrown again here.
    await writer.flush()
  }
}

type InFlight = {
  items: AsyncGenerator<WorkItem>
  maxItems: number
  maxLabelled: number
  inFlight: number
  halt: AbortSignal
  /** Returns how many records it made. */
  work: (item: WorkItem) => Promise<number>
  failed: AbortController
}

/** Works on up to `inFlight` items at once until they end or `halt` fires; the first error ends all and is thrown. */
async function forEachInFlight({
  items,
  maxItems,
  maxLabelled,
  inFlight,
  halt,
  work,
  failed,
}: InFlight): Promise<{ isComplete: boolean }> {
  const underWay = new Set<Promise<void>>()
  let [taken, labelled] = [0, 0]
  let isComplete = true
  for await (const item of items) {
    if (taken >= maxItems) break
    // Whether an image needs labelling shows only when its bytes are read: all that are under way may.
    while (labelled + underWay.size >= maxLabelled && underWay.size > 0) await Promise.race(underWay)
    if (halt.aborted || labelled >= maxLabelled) {
      isComplete = false
      break
    }
    taken += 1
    const one = work(item)
      .then((records) => {
        labelled += records > 0 ? 1 : 0
      })
      .catch((error: unknown) => failed.abort(error))
      .finally(() => underWay.delete(one))
    underWay.add(one)
    if (underWay.size >= inFlight) await Promise.race(underWay)
  }
  await Promise.all(underWay)
  failed.signal.throwIfAborted()
  return { isComplete }
}

type Keep = { writer: PartWriter; done: IdIndex; onEvent: (event: RunEvent) => void; maxFailures: number }

/** Hands records to the writer, those of images on which the engine failed not before it answers again. */
function keepRecords({ writer, done, onEvent, maxFailures }: Keep) {
  const streak = watchEngine({ maxFailures })
  const hand = async (records: readonly LabelRecord[]) => {
    for (const record of records) done.set(record.recordId, statusRank[record.status])
    await writer.add(records)
  }
  const image = async (item: WorkItem, records: readonly LabelRecord[]) => {
    await streak.image({ records, hand })
    onEvent({
      kind: 'image',
      key: item.key,
      statuses: records.map((record) => record.status),
      made: records,
      wasDone: records.length === 0,
    })
    return records.length
  }
  return { image, rest: streak.rest }
}
