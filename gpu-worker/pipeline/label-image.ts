// The life of one image: read it, decode it, show it to the model once, ask everything at once, make one record
// for each task, whatever happens on the way. It does not know folders, queues or parts: see run.ts.
import type { SecondAnswers } from '../../dataset/checks/check.ts'
import { recordIdOf, recordSeed, sha256Of } from '../../dataset/identity.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { InvariantError } from '../../schemas/errors.ts'
import type { Failure } from '../../schemas/failure.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { modelOfRole, type RunConfig } from '../../schemas/run-config.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import type { WorkItem } from '../../schemas/work-item.ts'
import type { Upstream } from '../../schemas/work-message.ts'
import type { Engine, Picture } from '../engine/contract.ts'
import type { DecodeLimits } from '../image/decode.ts'
import type { ImageDecoder, PreparedImage } from '../image/prepare.ts'
import { wantsExisting } from '../tasks/existing-caption.ts'
import type { PromptItem } from '../tasks/variables.ts'
import { taskOf } from '../tasks/registry.ts'
import { type AnsweredUnit, askModel, failUnits } from './ask-model.ts'
import { readExistingCaption } from './existing-captions.ts'
import { type FetchedImage, fetchImage, type KnownVersion } from './fetch.ts'
import { asksAgain, asksAlone, asksBlind, gateRecords, openRunTexts, type RunTexts } from './gates.ts'
import type { Duplicate } from './duplicates.ts'
import { specsOfItem, type HashedSpec } from './item-specs.ts'
import { type ImageFacts, makeRecord, type RecordUnit, type UnitAnswers } from './record.ts'
import { type Forward, forwardUnits, pendingOf, planStages, type StagePlan, type TaskSaid } from './stages.ts'

export type LabelContext = {
  config: RunConfig
  /** The run's specs with their hashes, computed once. */
  specs: readonly HashedSpec[]
  /** Where the item's key leads. */
  source: ObjectStore
  /** What the message that asked for the image says of it; left out where no message did. */
  delivery?: Delivered
  engine: Engine
  /** Lets a limited number of images into the engine at a time. */
  inEngine: <T>(job: () => Promise<T>) => Promise<T>
  /** Whether a record is there already; such a one is not made again. */
  isDone: (recordId: string) => boolean
  /** Whether these records are this worker's to make now; true when left out. */
  claim?: ((recordIds: readonly string[]) => Promise<boolean>) | undefined
  /** Reads images; `limits` are its own. */
  decoder: ImageDecoder
  limits: DecodeLimits
  /** The image that one repeats, asked once it is to be labelled; the sha256 is of its bytes, null when unread. */
  duplicateOf?: DuplicateOf | undefined
  /** What checks compare with other images of the run; each image is compared with nothing when left out. */
  texts?: RunTexts
  /** Keeps a small picture while the model answers; waited for, so that it is there before the records. */
  thumbnails?: ImageThumbnails | undefined
  clock: () => Date
  signal: AbortSignal
}

export type DuplicateOf = (
  key: string,
  sha256: string | null,
) => Duplicate | undefined | Promise<Duplicate | undefined>

export type Delivered = KnownVersion & {
  attempt: number
  bucket: string
  /** Of the bytes an earlier stage read. */
  sha256?: string | undefined
  upstream?: Upstream | undefined
  /** How often the image has changed models. */
  stage: number
  /** Whether the message asks for this spec of the run. */
  isWanted: (spec: TaskSpec) => boolean
}

export type LabelledItem = {
  records: LabelRecord[]
  /** What workers of other roles go on with, once the records are durable. */
  forwards: Forward[]
  /** Of the bytes; null when they were not read. */
  sha256: string | null
}

/** Of one run; images are named by the sha256 of the file's bytes. */
export type ImageThumbnails = {
  /** Whether there is none yet. */
  wants: (sha256: string) => boolean
  /** Takes a WebP. Never rejects. */
  keep: (sha256: string, webp: Uint8Array) => Promise<void>
}

/**
 * Labels one image: exactly one record for each spec that has none yet; none when all have.
 * Throws only when the run cannot go on: the signal fired, or one of the three errors that are not about an image.
 */
export async function labelImage(item: WorkItem, context: LabelContext): Promise<LabelledItem> {
  const { source, limits, signal, delivery, claim } = context
  const fetched = await fetchImage(source, {
    key: item.key,
    maxBytes: limits.maxBytes,
    ...(delivery === undefined ? {} : { known: delivery }),
  })
  const sha256 = sha256Of(fetched.identity)
  const known = await withExisting(item, context)
  const plan = planImage(known, fetched, context)
  const pending = pendingOf(plan)
  if (pending.length === 0) return { records: [], forwards: [], sha256 }
  signal.throwIfAborted()
  // The stages of an image have the same records pending where those of the first are there already.
  const stage = delivery === undefined || delivery.stage === 0 ? [] : [`stage ${delivery.stage}`]
  if (claim !== undefined && !(await claim([...stage, ...pending.map(({ recordId }) => recordId)])))
    return { records: [], forwards: [], sha256 }

  const isAskedHere = plan.rounds.length > 0
  const repeated = await context.duplicateOf?.(item.key, sha256)
  const prepared: Prepared | null =
    repeated !== undefined
      ? { ok: false, answered: answerOfDuplicate(repeated), decodeMs: 0 }
      : isAskedHere
        ? await prepareImage(fetched, context)
        : null
  signal.throwIfAborted()
  const said = saidBefore(delivery, sha256)
  const asked =
    prepared?.ok === true
      ? await askModel(
          prepared.shown,
          { plan, said },
          {
            ...context,
            asksAgain: asksAgain(context.config),
            asksAlone: asksAlone(context.config, sha256),
            asksBlind: asksBlind(context.config, sha256),
          },
        )
      : {
          answers: prepared === null ? [] : pending.map((unit) => ({ unit, answered: prepared.answered })),
          prefillMs: 0,
          generateMs: 0,
        }
  if (prepared?.ok === true) await prepared.thumbnail
  // An image that cannot be shown to this model cannot be shown to another.
  const { forwards, failed } = forwardUnits(prepared?.ok === false ? [] : plan.elsewhere, said)

  const facts: ImageFacts = {
    item,
    fetched,
    decoded: prepared?.decoded ?? null,
    timing: roundTiming({ ...asked, fetchMs: fetched.fetchMs, decodeMs: prepared?.decodeMs ?? 0 }),
    attempt: delivery?.attempt ?? 1,
  }
  const { config, engine, clock } = context
  const unsent = failed.flatMap(({ unit, failure }) => failUnits([unit], failure))
  const records = [...asked.answers, ...unsent].map(({ unit, answered }) =>
    makeRecord({ config, engine: engine.info, unit, facts, answered, createdAt: clock() }),
  )
  const gated = gateRecords(records, config, {
    texts: context.texts ?? openRunTexts(),
    twice: twiceAnswered(asked.answers),
  })
  return { records: gated, forwards, sha256 }
}

type KnownItem = WorkItem & Pick<PromptItem, 'existing'>

/** The item with the caption that stands beside it, where the run asks for that. */
async function withExisting(item: WorkItem, { specs, source }: LabelContext): Promise<KnownItem> {
  if (!wantsExisting(specs.map(({ spec }) => spec))) return item
  return { ...item, existing: await readExistingCaption(source, item.key) }
}

function planImage(item: KnownItem, fetched: FetchedImage, context: LabelContext): StagePlan {
  const { config, specs, isDone, delivery } = context
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
      ...fillUnit(spec, item),
      specHash,
      recordId,
      sampling: { ...config.sampling, seed: recordSeed(config.sampling.seed, recordId) },
    }
  })
  return planStages(units, {
    isDone,
    isWanted: delivery?.isWanted ?? (() => true),
    isOneModel: modelOfRole(config, 'grounding').digest === modelOfRole(config).digest,
    stage: delivery?.stage ?? 0,
    upstream: delivery?.upstream ?? {},
  })
}

/** The prompts for this image; the hash stays that of the run's spec. */
function fillUnit(spec: TaskSpec, item: KnownItem): Pick<RecordUnit, 'spec' | 'inputs' | 'problem'> {
  const filled = taskOf(spec).fill?.(spec, item)
  if (filled === undefined) return { spec }
  if (!filled.ok) return { spec, problem: { code: 'prompt-incomplete', message: filled.message } }
  const { prompts, options, inputs } = filled
  return { spec: { ...spec, prompts, options }, ...(Object.keys(inputs).length === 0 ? {} : { inputs }) }
}

/** What the message brings of an earlier stage; nothing can be built on it when that stage read other bytes. */
function saidBefore(delivery: Delivered | undefined, sha256: string | null): Map<string, TaskSaid> {
  const message = 'the image was overwritten after that task saw it; send it again'
  const isSame = delivery?.sha256 === undefined || delivery.sha256 === sha256
  return new Map(
    Object.entries(delivery?.upstream ?? {}).map(([task, output]) => [
      task,
      isSame ? { ok: true, output } : { ok: false, failure: { code: 'task-upstream-failed', message } },
    ]),
  )
}

type Prepared = { decodeMs: number } & (
  | {
      ok: true
      /** The image in the form that the engine takes. */
      shown: Float32Array | Picture
      decoded: ImageFacts['decoded']
      thumbnail: Promise<void> | undefined
    }
  | { ok: false; answered: Exclude<UnitAnswers, { ok: true }>; decoded?: ImageFacts['decoded'] }
)

async function prepareImage(fetched: FetchedImage, context: LabelContext): Promise<Prepared> {
  const { engine, decoder, limits, thumbnails, config, signal } = context
  if (!fetched.ok) return { ok: false, answered: unasked(fetched.failure), decodeMs: 0 }
  const startMs = performance.now()
  const sha256 = sha256Of(fetched.identity)
  const result = await decoder.prepare(
    fetched.bytes,
    {
      limits,
      rules: config.input,
      form: engine.info.image,
      hasThumbnail: sha256 !== null && thumbnails?.wants(sha256) === true,
    },
    signal,
  )
  const decodeMs = performance.now() - startMs
  if (!result.ok) return { ok: false, answered: unasked(result.failure), decodeMs }
  const { image, perceptualHash, turnedDown: check, shown, thumbnail: webp } = result.prepared
  const decoded = { image, perceptualHash }
  if (check !== null || shown === null) return { ok: false, answered: turnedDown(check), decoded, decodeMs }
  const thumbnail = sha256 === null || webp === null ? undefined : thumbnails?.keep(sha256, webp)
  return { ok: true, shown, decoded, decodeMs, thumbnail }
}

function turnedDown(check: PreparedImage['turnedDown']): Exclude<UnitAnswers, { ok: true }> {
  if (check === null)
    throw new InvariantError('an image that no rule turns down was not made ready to be shown')
  return { ok: false, failure: null, turnedDown: { check } }
}

function unasked(failure: Failure): Exclude<UnitAnswers, { ok: true }> {
  return { ok: false, failure }
}

function answerOfDuplicate({ of, kind, bucket }: Duplicate): Exclude<UnitAnswers, { ok: true }> {
  const target = `${JSON.stringify(of)}${bucket === undefined ? '' : ` in ${bucket}`}`
  const evidence = kind === 'exact' ? `equal bytes to ${target}` : `looks like ${target}`
  const check = { name: 'image-duplicate', pass: false, score: null, evidence }
  return { ok: false, failure: null, turnedDown: { check, duplicateOf: of } }
}

/** By record: what was asked a second time. */
function twiceAnswered(answers: readonly AnsweredUnit[]): Map<string, SecondAnswers> {
  return new Map(
    answers.flatMap(({ unit, answered }): [string, SecondAnswers][] => {
      if (!answered.ok) return []
      const { drawn = [], alone, blind } = answered
      const { prompts } = unit.spec
      const second = {
        ...(alone && { alone: alone.map((by, index) => ({ among: drawn[index] ?? '', by })) }),
        ...(blind && {
          blind: blind.map((by, index) => ({
            question: prompts[index]?.question ?? '',
            among: answered.answers[index]?.text ?? '',
            by,
          })),
        }),
      }
      return [[unit.recordId, second]]
    }),
  )
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
