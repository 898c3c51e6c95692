// The life of one image: read it, decode it, show it to the model once, ask everything at once, make one record
// for each task, whatever happens on the way. It does not know folders, queues or parts: see run.ts.
import { recordIdOf, recordSeed } from '../../dataset/identity.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import type { Failure } from '../../schemas/failure.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import type { WorkItem } from '../../schemas/work-item.ts'
import { type Answer, type Engine, EngineCrashError } from '../engine/contract.ts'
import { decodeImage, type DecodedImage, type DecodeLimits } from '../image/decode.ts'
import { perceptualHash } from '../image/perceptual-hash.ts'
import { preprocess } from '../image/preprocess.ts'
import { type FetchedImage, fetchImage, type KnownVersion } from './fetch.ts'
import { specsOfItem, type HashedSpec } from './item-specs.ts'
import { type ImageFacts, makeRecord, type RecordUnit, type UnitAnswers } from './record.ts'

export type LabelContext = {
  config: RunConfig
  /** The run's specs with their hashes, computed once. */
  specs: readonly HashedSpec[]
  /** Where the item's key leads. */
  source: ObjectStore
  /** What the message that asked for the image says of it; left out where no message did. */
  delivery?: KnownVersion & { attempt: number; bucket: string }
  engine: Engine
  /** Lets a limited number of images into the engine at a time. */
  inEngine: <T>(job: () => Promise<T>) => Promise<T>
  /** Whether a record is there already; such a one is not made again. */
  isDone: (recordId: string) => boolean
  limits: DecodeLimits
  /** Makes a small picture while the model answers; waited for, so that it is there before the records. Never rejects. */
  keepThumbnail?: (image: UprightPixels) => Promise<void>
  clock: () => Date
  signal: AbortSignal
}

/** What was decoded, named by the sha256 of the file's bytes. */
export type UprightPixels = Pick<DecodedImage, 'rgb' | 'width' | 'height'> & { sha256: string }

/**
 * Labels one image: exactly one record for each spec that has none yet; an empty list when all have.
 * Throws only when the run cannot go on: the signal fired, or one of the three errors that are not about an image.
 */
export async function labelImage(item: WorkItem, context: LabelContext): Promise<LabelRecord[]> {
  const { source, limits, signal, delivery } = context
  const fetched = await fetchImage(source, {
    key: item.key,
    maxBytes: limits.maxBytes,
    ...(delivery === undefined ? {} : { known: delivery }),
  })
  const units = pendingUnits(item, fetched, context)
  if (units.length === 0) return []

  signal.throwIfAborted()
  const prepared = await prepareImage(fetched, context)
  signal.throwIfAborted()
  const asked = prepared.ok
    ? await askModel(prepared.pixels, units, context)
    : { answered: prepared, prefillMs: 0, generateMs: 0 }
  if (prepared.ok) await prepared.thumbnail

  const facts: ImageFacts = {
    item,
    fetched,
    decoded: prepared.ok ? prepared.decoded : null,
    timing: roundTiming({ ...asked, fetchMs: fetched.fetchMs, decodeMs: prepared.decodeMs }),
    attempt: delivery?.attempt ?? 1,
  }
  return units.map((unit, index) =>
    makeRecord({
      config: context.config,
      engine: context.engine.info,
      unit,
      facts,
      answered: answersOfUnit(asked.answered, units, index),
      createdAt: context.clock(),
    }),
  )
}

function pendingUnits(
  item: WorkItem,
  fetched: FetchedImage,
  { config, specs, isDone, delivery }: LabelContext,
): RecordUnit[] {
  const units = specsOfItem(item, { config, specs }).map(({ spec, specHash }) => {
    const { task, ordinal } = spec
    const recordId = recordIdOf({
      runId: config.runId,
      specHash,
      image: fetched.identity,
      bucket: delivery?.bucket,
      key: item.key,
      task,
      ordinal,
    })
    return {
      spec,
      specHash,
      recordId,
      sampling: { ...config.sampling, seed: recordSeed(config.sampling.seed, recordId) },
    }
  })
  return units.filter((unit) => !isDone(unit.recordId))
}

type Prepared = { decodeMs: number } & (
  | {
      ok: true
      pixels: Float32Array
      decoded: { image: Omit<DecodedImage, 'rgb'>; perceptualHash: string }
      thumbnail: Promise<void> | undefined
    }
  | { ok: false; failure: Failure }
)

async function prepareImage(fetched: FetchedImage, context: LabelContext): Promise<Prepared> {
  const { engine, limits, keepThumbnail } = context
  if (!fetched.ok) return { ok: false, failure: fetched.failure, decodeMs: 0 }
  const startMs = performance.now()
  const result = await decodeImage(fetched.bytes, limits)
  if (!result.ok) return { ok: false, failure: result.failure, decodeMs: performance.now() - startMs }
  const { rgb, ...image } = result.image
  const pixels = preprocess({ rgb, width: image.width, height: image.height, ...engine.info.image })
  const decoded = { image, perceptualHash: perceptualHash({ rgb, width: image.width, height: image.height }) }
  const { identity } = fetched
  const decodeMs = performance.now() - startMs
  const thumbnail =
    'sha256' in identity
      ? keepThumbnail?.({ rgb, width: image.width, height: image.height, sha256: identity.sha256 })
      : undefined
  return { ok: true, pixels, decoded, decodeMs, thumbnail }
}

type Asked = { answered: UnitAnswers; prefillMs: number; generateMs: number }

/** One prefill of the image, then every prompt of every unit decoded together; answers in the order of the units. */
async function askModel(
  pixels: Float32Array,
  units: readonly RecordUnit[],
  { engine, inEngine, signal }: LabelContext,
): Promise<Asked> {
  const prompts = units.flatMap(({ spec, sampling }) =>
    spec.prompts.map(({ question }) => ({
      template: spec.template,
      history: [],
      question,
      maxNewTokens: spec.maxNewTokens,
      sampling,
    })),
  )
  return await inEngine(async () => {
    const startMs = performance.now()
    let prefilledMs = startMs
    try {
      const session = await engine.openImage(pixels, signal)
      prefilledMs = performance.now()
      try {
        const answers = await session.generate(prompts, signal)
        if (answers.length !== prompts.length)
          throw new InvariantError(`${prompts.length} prompts got ${answers.length} answers`)
        return {
          answered: { ok: true, answers },
          prefillMs: prefilledMs - startMs,
          generateMs: performance.now() - prefilledMs,
        }
      } finally {
        await session.close()
      }
    } catch (error) {
      return {
        answered: { ok: false, failure: engineFailure(error, signal) },
        prefillMs: prefilledMs - startMs,
        generateMs: 0,
      }
    }
  })
}

/** What the engine's error means for this image; rethrows what is not about the image. */
function engineFailure(error: unknown, signal: AbortSignal): Failure {
  const isAboutTheRun = [UserError, RetryableError, InvariantError].some((kind) => error instanceof kind)
  if (signal.aborted || isAboutTheRun) throw error
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof EngineCrashError)
    return { code: 'engine-crashed', message: `${message}; the image was given up` }
  return { code: 'engine-error', message: `the engine failed on this image: ${message}` }
}

/** The answers of one unit, cut from those of all. */
function answersOfUnit(answered: UnitAnswers, units: readonly RecordUnit[], index: number): UnitAnswers {
  if (!answered.ok) return answered
  const from = units.slice(0, index).reduce((count, unit) => count + unit.spec.prompts.length, 0)
  const answers: readonly Answer[] = answered.answers.slice(
    from,
    from + (units[index]?.spec.prompts.length ?? 0),
  )
  return { ok: true, answers }
}

/** To a tenth of a millisecond: more digits are noise that gzip has to carry. */
function roundTiming({
  fetchMs,
  decodeMs,
  prefillMs,
  generateMs,
}: ImageFacts['timing']): ImageFacts['timing'] {
  const round = (ms: number) => Math.round(ms * 10) / 10
  return {
    fetchMs: round(fetchMs),
    decodeMs: round(decodeMs),
    prefillMs: round(prefillMs),
    generateMs: round(generateMs),
  }
}
