// Assembling one record from what became of an image and a task. Pure; it does not know how either was made.
import type { FetchedImage } from './fetch.ts'
import type { Failure } from '../../schemas/failure.ts'
import {
  labelRecordVersion,
  type LabelRecord,
  type RecordCheck,
  type RecordTiming,
} from '../../schemas/label-record.ts'
import { modelOfRole, type RunConfig } from '../../schemas/run-config.ts'
import type { Sampling } from '../../schemas/sampling.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import type { JsonValue } from '../tasks/variables.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import type { WorkItem } from '../../schemas/work-item.ts'
import type { Answer, EngineInfo } from '../engine/contract.ts'
import type { DecodedImage } from '../image/decode.ts'
import { taskOf } from '../tasks/registry.ts'

/** One record to be made: a spec of the run with the id and the sampling it has on this image. */
export type RecordUnit = {
  /** With the prompts as they are asked; `specHash` is of the run's spec, where some may still be blank. */
  spec: TaskSpec
  specHash: string
  recordId: string
  sampling: Sampling
  /** What the prompts took from elsewhere: outputs by task, variables by name. */
  inputs?: Record<string, JsonValue | TaskOutput>
  /** Why it cannot be asked at all. */
  problem?: Failure
}

export type ImageFacts = {
  item: WorkItem
  fetched: FetchedImage
  /** Null when the image was not decoded. */
  decoded: { image: Omit<DecodedImage, 'rgb'>; perceptualHash: string } | null
  timing: RecordTiming
  attempt: number
}

/** What the model said to a unit's prompts, or why it could not be asked. */
export type TurnedDown = { check: RecordCheck; duplicateOf?: string }

export type UnitAnswers =
  | {
      ok: true
      /** One for each prompt of the spec. */
      answers: readonly Answer[]
      /** Other answers to the same prompts, of a task that draws several. */
      samples?: readonly string[]
      /** Every answer that was drawn, also those that do not stand, and each again by itself where that was wanted. */
      drawn?: readonly string[]
      alone?: readonly string[]
      /** What each prompt gets without the image, where that was wanted. */
      blind?: readonly string[]
      /** How often the unit was asked again because its answer could not be kept. */
      tries?: number
    }
  | { ok: false; failure: Failure }
  /** The image was turned down before anything was asked of it. */
  | { ok: false; failure: null; turnedDown: TurnedDown }

type MakeRecord = {
  config: RunConfig
  engine: EngineInfo
  unit: RecordUnit
  facts: ImageFacts
  answered: UnitAnswers
  createdAt: Date
}

/** The record of one unit: ok with an output, or failed with a code and the raw answer. */
export function makeRecord({ config, engine, unit, facts, answered, createdAt }: MakeRecord): LabelRecord {
  const { spec } = unit
  const answers = answered.ok ? answered.answers : []
  const verdict = judgeAnswers(spec, answered)
  const repairs = [...verdict.repairs, ...describeTries(answered)]
  return {
    v: labelRecordVersion,
    recordId: unit.recordId,
    runId: config.runId,
    specHash: unit.specHash,
    task: spec.task,
    taskVersion: spec.taskVersion,
    ordinal: spec.ordinal,
    attempt: facts.attempt,
    source: describeSource(facts),
    image: describeImage(facts),
    status: verdict.output !== null ? 'ok' : verdict.error === null ? 'filtered' : 'failed',
    output: verdict.output,
    raw: rawOf(answers),
    ...(repairs.length === 0 ? {} : { repairs }),
    ...(answered.ok && answered.samples !== undefined ? { samples: [...answered.samples] } : {}),
    ...(unit.inputs === undefined ? {} : { inputs: unit.inputs }),
    finishReason: finishReasonOf(answers),
    usage: {
      promptTokens: sum(answers.map((answer) => answer.usage.promptTokens)),
      imageTokens: Math.max(0, ...answers.map((answer) => answer.usage.imageTokens)),
      outputTokens: sum(answers.map((answer) => answer.usage.outputTokens)),
    },
    model: { ...modelOfRole(config, spec.role), engine: engine.engine, engineVersion: engine.engineVersion },
    prompt: {
      template: spec.template,
      text: (answered.ok
        ? answers.map((answer) => answer.promptText)
        : spec.prompts.map((prompt) => prompt.question)
      ).join('\n'),
    },
    sampling: unit.sampling,
    ...describeTurnedDown(answered),
    ...(facts.item.meta === undefined ? {} : { meta: facts.item.meta }),
    error: verdict.error,
    timing: facts.timing,
    createdAt: createdAt.toISOString(),
  }
}

export type Verdict = Pick<LabelRecord, 'output' | 'error'> & { repairs: string[] }

/** The output that a unit's answers make, or why they make none. */
export function judgeAnswers(spec: TaskSpec, answered: UnitAnswers): Verdict {
  if (!answered.ok) return { output: null, error: answered.failure, repairs: [] }
  const tooLong = answered.answers.findIndex((answer) => answer.finishReason === 'prompt-too-long')
  if (tooLong !== -1) {
    const { promptTokens, imageTokens } = answered.answers[tooLong]?.usage ?? {
      promptTokens: 0,
      imageTokens: 0,
    }
    const message = `the prompt has ${promptTokens} tokens and the image ${imageTokens}, which leaves no room for an answer; ask something shorter`
    return { output: null, error: { code: 'prompt-too-long', message }, repairs: [] }
  }
  const failure = answered.answers.find((answer) => answer.failure !== undefined)?.failure
  const said = answered.answers.flatMap((answer) => answer.repairs ?? [])
  if (failure !== undefined) return { output: null, error: failure, repairs: said }
  const task = taskOf(spec)
  const parsed = task.parse(
    spec,
    answered.answers.map((answer) => answer.text),
  )
  const repairs = [...said, ...parsed.repairs]
  if (!parsed.ok) return { output: null, error: { code: parsed.code, message: parsed.message }, repairs }
  return { output: task.outputSchema.parse(parsed.output), error: null, repairs }
}

function describeTurnedDown(answered: UnitAnswers): Pick<LabelRecord, 'checks' | 'duplicateOf'> {
  if (answered.ok || answered.failure !== null) return { checks: [] }
  const { check, duplicateOf } = answered.turnedDown
  return { checks: [check], ...(duplicateOf === undefined ? {} : { duplicateOf }) }
}

function describeTries(answered: UnitAnswers): string[] {
  if (!answered.ok || answered.tries === undefined) return []
  return [
    `asked again ${answered.tries} time${answered.tries === 1 ? '' : 's'}, since the answer repeated itself`,
  ]
}

function describeSource({ fetched, item, decoded }: ImageFacts): LabelRecord['source'] {
  return {
    uri: fetched.uri,
    key: item.key,
    ...('sha256' in fetched.identity
      ? { sha256: fetched.identity.sha256 }
      : { sha256: null, unread: true as const }),
    bytes: fetched.sizeBytes,
    mime: decoded?.image.mime ?? null,
    ...(fetched.versionId === undefined ? {} : { versionId: fetched.versionId }),
    ...(decoded === null ? {} : { perceptualHash: decoded.perceptualHash }),
  }
}

function describeImage({ decoded }: ImageFacts): LabelRecord['image'] {
  if (decoded === null) return null
  const { width, height, storedWidth, storedHeight, orientation } = decoded.image
  return { width, height, storedWidth, storedHeight, orientation }
}

/** The model's own words; null where a failed request left none. */
function rawOf(answers: readonly Answer[]): string | null {
  const words = answers.map(({ raw, text }) => raw ?? text)
  const isAnswered = answers.some(({ failure }, index) => failure === undefined || words[index] !== '')
  return isAnswered ? words.join('\n') : null
}

function finishReasonOf(answers: readonly Answer[]): LabelRecord['finishReason'] {
  const asked = answers.filter(
    ({ finishReason, failure }) => finishReason !== 'prompt-too-long' && failure === undefined,
  )
  if (asked.length === 0) return null
  return asked.some((answer) => answer.finishReason === 'length') ? 'length' : 'stop'
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
