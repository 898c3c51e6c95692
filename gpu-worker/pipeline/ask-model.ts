// Asking the model about one image: it is shown once, every prompt is decoded together, and what waits for an answer
// follows in the same session. It does not know where images or records are.
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import type { Failure } from '../../schemas/failure.ts'
import { type Engine, EngineCrashError, type ImageSession } from '../engine/contract.ts'
import { judgeAnswers, type RecordUnit, type UnitAnswers } from './record.ts'
import { type Followed, followUnits, type StagePlan, type TaskSaid } from './stages.ts'

export type AnsweredUnit = { unit: RecordUnit; answered: UnitAnswers }

type AskContext = {
  engine: Engine
  inEngine: <T>(job: () => Promise<T>) => Promise<T>
  signal: AbortSignal
}

type Stages = {
  plan: StagePlan
  /** What earlier stages said; what is said now is added. */
  said: Map<string, TaskSaid>
}

export type Asked = { answers: AnsweredUnit[]; prefillMs: number; generateMs: number }

/**
 * Answers the units of a plan that are asked here and kept. Without a prompt the model is not shown the image.
 * Throws what is not about the image.
 */
export async function askModel(
  pixels: Float32Array,
  stages: Stages,
  { engine, inEngine, signal }: AskContext,
): Promise<Asked> {
  const { plan, said } = stages
  const followed = followUnits(plan.second, said)
  if (plan.first.length === 0 && followed.every((one) => !one.ok || one.unit.spec.prompts.length === 0))
    return { answers: await askFollowed(null, followed, signal), prefillMs: 0, generateMs: 0 }
  return await inEngine(async () => {
    const startMs = performance.now()
    let prefilledMs = startMs
    try {
      const session = await engine.openImage(pixels, signal)
      prefilledMs = performance.now()
      try {
        const answers = await askStages(session, stages, signal)
        return { answers, prefillMs: prefilledMs - startMs, generateMs: performance.now() - prefilledMs }
      } finally {
        await session.close()
      }
    } catch (error) {
      const failure = engineFailure(error, signal)
      for (const { unit } of plan.first) said.set(unit.spec.task, { ok: false, failure })
      const kept = plan.first.filter(({ isKept }) => isKept).map(({ unit }) => unit)
      return {
        answers: failUnits([...kept, ...plan.second], failure),
        prefillMs: prefilledMs - startMs,
        generateMs: 0,
      }
    }
  })
}

/** The same failure for each unit. */
export function failUnits(units: readonly RecordUnit[], failure: Failure): AnsweredUnit[] {
  return units.map((unit) => ({ unit, answered: { ok: false, failure } }))
}

async function askStages(
  session: ImageSession,
  { plan, said }: Stages,
  signal: AbortSignal,
): Promise<AnsweredUnit[]> {
  const answers = await askUnits(
    session,
    plan.first.map(({ unit }) => unit),
    signal,
  )
  for (const { unit, answered } of answers) {
    // Others come after the first output of a task.
    if (unit.spec.ordinal === 0) said.set(unit.spec.task, saidBy(unit, answered))
  }
  const kept = answers.filter((_, index) => plan.first[index]?.isKept)
  return [...kept, ...(await askFollowed(session, followUnits(plan.second, said), signal))]
}

function saidBy(unit: RecordUnit, answered: UnitAnswers): TaskSaid {
  const { output, error } = judgeAnswers(unit.spec, answered)
  if (output !== null) return { ok: true, output }
  return { ok: false, failure: error ?? { code: 'answer-unparsable', message: 'there is no output' } }
}

/** Units that cannot be asked fail, and those with nothing to ask have no answers; the session may be null for these. */
async function askFollowed(
  session: ImageSession | null,
  followed: readonly Followed[],
  signal: AbortSignal,
): Promise<AnsweredUnit[]> {
  const asked = followed.flatMap((one) => (one.ok ? [one.unit] : []))
  const failed = followed.flatMap((one) => (one.ok ? [] : failUnits([one.unit], one.failure)))
  return [...(await askUnits(session, asked, signal)), ...failed]
}

/** Every prompt of every unit decoded together. */
async function askUnits(
  session: ImageSession | null,
  units: readonly RecordUnit[],
  signal: AbortSignal,
): Promise<AnsweredUnit[]> {
  const prompts = units.flatMap(({ spec, sampling }) =>
    spec.prompts.map(({ question }) => ({
      template: spec.template,
      history: [],
      question,
      maxNewTokens: spec.maxNewTokens,
      sampling,
    })),
  )
  const answers = prompts.length === 0 ? [] : ((await session?.generate(prompts, signal)) ?? [])
  if (answers.length !== prompts.length)
    throw new InvariantError(`${prompts.length} prompts got ${answers.length} answers`)
  let from = 0
  return units.map((unit) => {
    const until = from + unit.spec.prompts.length
    const own = answers.slice(from, until)
    from = until
    return { unit, answered: { ok: true, answers: own } }
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
