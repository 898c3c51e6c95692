// Asking the model about one image: it is shown once, every prompt is decoded together, and what waits for an answer
// follows in the same session. It does not know where images or records are.
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import type { Failure } from '../../schemas/failure.ts'
import {
  type Answer,
  type Engine,
  EngineCrashError,
  type ImageSession,
  type Picture,
  type PromptRequest,
} from '../engine/contract.ts'
import { taskOf } from '../tasks/registry.ts'
import { judgeAnswers, type RecordUnit, type UnitAnswers } from './record.ts'
import { chooseAnswer, maxTries, samplingOf, samplingOfTry } from './samples.ts'
import { followUnits, keptOf, type StagePlan, type TaskSaid } from './stages.ts'

export type AnsweredUnit = { unit: RecordUnit; answered: UnitAnswers }

type AskContext = {
  engine: Engine
  /** Whether an answer shall be drawn again; never when left out. */
  asksAgain?: (unit: RecordUnit, answered: UnitAnswers) => boolean
  /** Whether each prompt is asked a second time, by itself. */
  asksAlone?: boolean
  /** Whether each prompt of a task is asked a second time, without the image. */
  asksBlind?: (task: string) => boolean
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
  image: Float32Array | Picture,
  stages: Stages,
  {
    engine,
    inEngine,
    signal,
    asksAgain = () => false,
    asksAlone = false,
    asksBlind = () => false,
  }: AskContext,
): Promise<Asked> {
  const { plan, said } = stages
  if (!hasPrompts(stages)) {
    const unasked = await askStages({ session: null, signal, asksAgain }, stages)
    return { answers: unasked, prefillMs: 0, generateMs: 0 }
  }
  return await inEngine(async () => {
    const startMs = performance.now()
    let prefilledMs = startMs
    try {
      const session = await engine.openImage(image, signal)
      prefilledMs = performance.now()
      const among = await askAndClose({ session, signal, asksAgain }, stages)
      // The image's place in the cache is free by then: a second one does not wait for the first.
      const alone = asksAlone ? await askEachAlone(among, { engine, image, signal }) : among
      const answers = await askBlind(alone, { engine, signal, asksBlind })
      return { answers, prefillMs: prefilledMs - startMs, generateMs: performance.now() - prefilledMs }
    } catch (error) {
      const failure = engineFailure(error, signal)
      for (const { unit } of plan.rounds.flat()) said.set(unit.spec.task, { ok: false, failure })
      return {
        answers: failUnits(keptOf(plan), failure),
        prefillMs: prefilledMs - startMs,
        generateMs: 0,
      }
    }
  })
}

/** What follows from a message is known; what follows from this image's first round is not yet. */
function hasPrompts({ plan: { rounds }, said }: Stages): boolean {
  const [first = []] = rounds
  const followed = followUnits(
    first.map(({ unit }) => unit),
    said,
  )
  return rounds.length > 1 || followed.some((one) => one.ok && promptsOf(one.unit).length > 0)
}

/** The same failure for each unit. */
export function failUnits(units: readonly RecordUnit[], failure: Failure): AnsweredUnit[] {
  return units.map((unit) => ({ unit, answered: { ok: false, failure } }))
}

/**
 * The same answers with what each prompt gets by itself, from an image that is shown anew: what was shared is not, and
 * nothing else is in the batch.
 */
async function askEachAlone(
  answers: readonly AnsweredUnit[],
  { engine, image, signal }: { engine: Engine; image: Float32Array | Picture; signal: AbortSignal },
): Promise<AnsweredUnit[]> {
  const session = await engine.openImage(image, signal)
  try {
    const twice: AnsweredUnit[] = []
    for (const one of answers) {
      const { unit, answered } = one
      const alone: string[] = []
      for (const prompt of answered.ok ? promptsOf(unit) : [])
        alone.push((await session.generate([prompt], signal))[0]?.text ?? '')
      twice.push(answered.ok ? { unit, answered: { ...answered, alone } } : one)
    }
    return twice
  } finally {
    await session.close()
  }
}

type Blind = { engine: Engine; signal: AbortSignal; asksBlind: (task: string) => boolean }

/** The same answers with what their prompts get from a model that is shown no image. */
async function askBlind(
  answers: readonly AnsweredUnit[],
  { engine, signal, asksBlind }: Blind,
): Promise<AnsweredUnit[]> {
  const promptsOnce = ({ unit, answered }: AnsweredUnit): PromptRequest[] => {
    if (!answered.ok || !asksBlind(unit.spec.task)) return []
    const { samples: _samples, ...spec } = unit.spec
    return promptsOf({ ...unit, spec })
  }
  const promptsEach = answers.map(promptsOnce)
  const prompts = promptsEach.flat()
  if (prompts.length === 0) return [...answers]
  const session = await engine.openImage(null, signal)
  try {
    const said = dealOut(await session.generate(prompts, signal), promptsEach)
    return answers.map((one, index) => {
      const blind = (said[index] ?? []).map(({ text }) => text)
      return one.answered.ok && blind.length > 0 ? { ...one, answered: { ...one.answered, blind } } : one
    })
  } finally {
    await session.close()
  }
}

type Asking = Required<Pick<AskContext, 'asksAgain' | 'signal'>> & {
  /** Null where nothing is left to ask. */
  session: ImageSession | null
}

async function askAndClose(asking: Asking, stages: Stages): Promise<AnsweredUnit[]> {
  try {
    return await askStages(asking, stages)
  } finally {
    await asking.session?.close()
  }
}

/** Units that cannot be asked fail, and those with nothing to ask have no answers. */
async function askStages(asking: Asking, { plan, said }: Stages): Promise<AnsweredUnit[]> {
  const kept: AnsweredUnit[] = []
  for (const round of plan.rounds) {
    const followed = followUnits(
      round.map(({ unit }) => unit),
      said,
    )
    const asked = await askUnits(
      asking,
      followed.flatMap((one) => (one.ok ? [one.unit] : [])),
    )
    const answers = followed.flatMap((one) =>
      one.ok ? (asked.shift() ?? []) : failUnits([one.unit], one.failure),
    )
    for (const [index, answer] of answers.entries()) {
      const { unit, answered } = answer
      // Others come after the first output of a task.
      if (unit.spec.ordinal === 0) said.set(unit.spec.task, saidBy(unit, answered))
      if (round[index]?.isKept === true) kept.push(answer)
    }
  }
  return kept
}

function saidBy(unit: RecordUnit, answered: UnitAnswers): TaskSaid {
  const { output, error } = judgeAnswers(unit.spec, answered)
  if (output !== null) return { ok: true, output }
  return { ok: false, failure: error ?? { code: 'answer-unparsable', message: 'there is no output' } }
}

/** Every prompt of every unit decoded together; answers that are worth another try are drawn again, together too. */
async function askUnits(asking: Asking, units: readonly RecordUnit[]): Promise<AnsweredUnit[]> {
  const answered = await askOnce(asking, units)
  for (let attempt = 1; attempt <= maxTries; attempt += 1) {
    const again = answered.flatMap((one, index) => (asking.asksAgain(one.unit, one.answered) ? [index] : []))
    if (again.length === 0) break
    const drawn = await askOnce(
      asking,
      again.map((index) => {
        const unit = units[index]
        if (unit === undefined) throw new InvariantError(`there is no unit ${index}`)
        return { ...unit, sampling: samplingOfTry(unit.sampling, attempt) }
      }),
    )
    for (const [at, index] of again.entries()) {
      const next = drawn[at]
      if (next?.answered.ok === true)
        answered[index] = { unit: next.unit, answered: { ...next.answered, tries: attempt } }
    }
  }
  return answered
}

async function askOnce({ session, signal }: Asking, units: readonly RecordUnit[]): Promise<AnsweredUnit[]> {
  const promptsEach = units.map(promptsOf)
  const prompts = promptsEach.flat()
  const answers = prompts.length === 0 ? [] : ((await session?.generate(prompts, signal)) ?? [])
  const answersEach = dealOut(answers, promptsEach)
  return units.map((unit, index) => {
    const own = answersEach[index] ?? []
    if (unit.problem !== undefined) return { unit, answered: { ok: false, failure: unit.problem } }
    return { unit, answered: { ok: true, ...settleSamples(unit, own) } }
  })
}

/** The answers of each list of prompts, in order, where all were asked together. */
function dealOut(answers: readonly Answer[], promptsEach: readonly (readonly unknown[])[]): Answer[][] {
  const asked = promptsEach.reduce((sum, { length }) => sum + length, 0)
  if (answers.length !== asked) throw new InvariantError(`${asked} prompts got ${answers.length} answers`)
  let from = 0
  return promptsEach.map(({ length }) => answers.slice(from, (from += length)))
}

/** Each prompt as often as the task has samples, the samples of one prompt beside each other. */
function promptsOf({ spec, sampling, problem }: RecordUnit): PromptRequest[] {
  if (problem !== undefined) return []
  const count = spec.samples?.count ?? 1
  const form = spec.constraint ?? taskOf(spec).constraint
  return spec.prompts.flatMap(({ question }) =>
    Array.from({ length: count }, (_, index) => ({
      template: spec.template,
      history: [],
      question: `${spec.prefix ?? ''}${question}`,
      maxNewTokens: spec.maxNewTokens,
      sampling: samplingOf(sampling, index),
      ...(spec.constraint === undefined ? {} : { constraint: spec.constraint }),
      ...(form === undefined ? {} : { form }),
    })),
  )
}

/** The answer of each prompt that stands, and the others in columns: each is one text, as the raw answer is. */
function settleSamples(
  { spec }: RecordUnit,
  answers: readonly Answer[],
): { answers: Answer[]; drawn: string[]; samples?: string[] } {
  const drawn = answers.map(({ text }) => text)
  if (spec.samples === undefined) return { answers: [...answers], drawn }
  const { count, choice } = spec.samples
  const groups = spec.prompts.map((_, index) => answers.slice(index * count, (index + 1) * count))
  const chosen = groups.map((group) => {
    const answered = group.filter(({ failure }) => failure === undefined)
    const among = answered.length === 0 ? group : answered
    const at = chooseAnswer(
      among.map(({ text }) => text),
      choice,
    )
    return group.findIndex((answer) => answer === among[at])
  })
  const others = groups.map((group, at) => group.filter((_, index) => index !== chosen[at]))
  return {
    answers: groups.flatMap((group, at) => group[chosen[at] ?? 0] ?? []),
    drawn,
    samples: Array.from({ length: count - 1 }, (_, column) =>
      others.map((group) => group[column]?.text ?? '').join('\n'),
    ),
  }
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
