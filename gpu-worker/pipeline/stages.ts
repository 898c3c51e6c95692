// Which of an image's units are asked here and in which order, and which go on to the workers of another model. Pure; it
// does not know engines or messages.
import type { Failure } from '../../schemas/failure.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import { stagesOf } from '../../schemas/task-graph.ts'
import { type TaskRole, type TaskSpec, upstreamOf } from '../../schemas/task-spec.ts'
import {
  maxUpstreamBytes,
  maxUpstreamChars,
  maxUpstreamOutputs,
  messageText,
  type Upstream,
  utf8Bytes,
} from '../../schemas/work-message.ts'
import { taskOf } from '../tasks/registry.ts'
import type { RecordUnit } from './record.ts'

export type StagePlan = {
  /**
   * Asked here, round after round: each unit once what it comes after is known. One that is not kept is asked only
   * because others come after it.
   */
  rounds: { unit: RecordUnit; isKept: boolean }[][]
  /** Answered by workers that hold another model. */
  elsewhere: ForeignUnit[]
}

/** `takes` are the tasks answered before it gets there whose outputs it, or what it waits for there, needs. */
export type ForeignUnit = { unit: RecordUnit; takes: string[]; to: NextStage }

/** The workers that an image goes on to. */
export type NextStage = { role: TaskRole; stage: number }

type PlanStages = {
  isDone: (recordId: string) => boolean
  isWanted: (spec: TaskSpec) => boolean
  /** Whether one model answers both roles. */
  isOneModel: boolean
  /** How often the image has changed models (schemas/task-graph.ts). */
  stage: number
  /** What the message brings from earlier stages. */
  upstream: Upstream
}

/**
 * Plans the units without a record. Each is asked in one stage: here, or by a worker of the other model that the image
 * goes on to, and back. What an earlier stage has said is not asked again when the message has it.
 */
export function planStages(
  units: readonly RecordUnit[],
  { isDone, isWanted, isOneModel, stage, upstream }: PlanStages,
): StagePlan {
  const firsts = new Map(
    units.filter(({ spec }) => spec.ordinal === 0).map((unit) => [unit.spec.task, unit] as const),
  )
  const stageOfSpec = stagesOf(units.map(({ spec }) => spec))
  const stageOf = ({ spec }: RecordUnit) => (isOneModel ? 0 : stageOfSpec(spec))
  const isHere = (unit: RecordUnit) => stageOf(unit) === stage
  /** Units whose outputs have to be found out before this one is asked. */
  const waitsFor = ({ spec }: RecordUnit) =>
    upstreamOf(spec)
      .filter((task) => !Object.hasOwn(upstream, task))
      .flatMap((task) => firsts.get(task) ?? [])
  // What an earlier stage's worker has failed on is its own business: the message does not bring it, so it is not ours.
  const isReachable = remember(
    (unit: RecordUnit): boolean => stageOf(unit) >= stage && waitsFor(unit).every(isReachable),
  )
  const pending = units.filter((unit) => isWanted(unit.spec) && isReachable(unit) && !isDone(unit.recordId))
  const needed = new Set(pending)
  // A set that grows is walked to its end.
  for (const unit of needed) for (const before of waitsFor(unit)) needed.add(before)
  const kept = new Set(pending.filter(isHere))
  const roundOf = remember((unit: RecordUnit): number =>
    Math.max(0, ...waitsFor(unit).map((before) => 1 + roundOf(before))),
  )
  const byRound = Map.groupBy(
    units.filter((unit) => isHere(unit) && needed.has(unit)),
    roundOf,
  )
  const takesOf = remember(({ spec }: RecordUnit): string[] => {
    const all = upstreamOf(spec).flatMap((task) => {
      const before = firsts.get(task)
      return before === undefined || stageOf(before) <= stage || Object.hasOwn(upstream, task)
        ? [task]
        : takesOf(before)
    })
    return [...new Set(all)]
  })
  const to: NextStage = { role: stage % 2 === 0 ? 'grounding' : 'chat', stage: stage + 1 }
  return {
    rounds: [...byRound]
      .toSorted(([left], [right]) => left - right)
      .map(([, round]) => round.map((unit) => ({ unit, isKept: kept.has(unit) }))),
    elsewhere: pending.filter((unit) => !isHere(unit)).map((unit) => ({ unit, takes: takesOf(unit), to })),
  }
}

/** The same function, which works each unit out once: paths through a graph are many, its units few. */
function remember<Value>(workOut: (unit: RecordUnit) => Value): (unit: RecordUnit) => Value {
  const known = new Map<RecordUnit, Value>()
  return (unit) => {
    const value = known.get(unit) ?? workOut(unit)
    known.set(unit, value)
    return value
  }
}

/** The units that are asked here and get a record. */
export function keptOf({ rounds }: StagePlan): RecordUnit[] {
  return rounds.flatMap((round) => round.filter(({ isKept }) => isKept).map(({ unit }) => unit))
}

/** The units that get a record, here or elsewhere. */
export function pendingOf(plan: StagePlan): RecordUnit[] {
  return [...keptOf(plan), ...plan.elsewhere.map(({ unit }) => unit)]
}

/** What a task said of this image, or why it said nothing. */
export type TaskSaid = { ok: true; output: TaskOutput } | { ok: false; failure: Failure }

/** A unit whose prompts are known, or why they cannot be. */
export type Followed = { ok: true; unit: RecordUnit } | { ok: false; unit: RecordUnit; failure: Failure }

/** Fills in the prompts of units from what they come after; those that come after nothing stay as they are. */
export function followUnits(units: readonly RecordUnit[], said: ReadonlyMap<string, TaskSaid>): Followed[] {
  return units.map((unit) => {
    const { spec } = unit
    const names = upstreamOf(spec)
    if (names.length === 0) return { ok: true, unit }
    const outputs: Record<string, TaskOutput> = {}
    for (const name of names) {
      const before = said.get(name)
      if (before === undefined || !before.ok)
        return { ok: false, unit, failure: upstreamFailure(name, before) }
      outputs[name] = before.output
    }
    const plan = taskOf(spec).follow?.(spec, outputs)
    if (plan === undefined || !plan.ok) {
      const message = plan?.message ?? `the task ${spec.task} cannot come after another`
      return { ok: false, unit, failure: { code: 'task-upstream-failed', message } }
    }
    const inputs = { ...unit.inputs, ...outputs }
    return { ok: true, unit: { ...unit, spec: { ...spec, ...plan.plan }, inputs } }
  })
}

/** What goes on to the next stage: the outputs that it and those behind it need. */
export type Forward = NextStage & { upstream: Upstream }

/** What goes on, and the units that cannot because what they come after is not there. */
export function forwardUnits(
  units: readonly ForeignUnit[],
  said: ReadonlyMap<string, TaskSaid>,
): { forwards: Forward[]; failed: Extract<Followed, { ok: false }>[] } {
  const forwards = new Map<number, Forward>()
  const failed: Extract<Followed, { ok: false }>[] = []
  for (const { unit, takes, to } of units) {
    const forward = forwards.get(to.stage) ?? { ...to, upstream: {} }
    const carried = carry(takes, { said, forward })
    if (!carried.ok) {
      failed.push({ ok: false, unit, failure: carried.failure })
      continue
    }
    forwards.set(to.stage, { ...to, upstream: carried.upstream })
  }
  return { forwards: [...forwards.values()], failed }
}

/** What goes on with these outputs besides, or why one cannot: it is not there, or is too long for a message. */
function carry(
  takes: readonly string[],
  { said, forward }: { said: ReadonlyMap<string, TaskSaid>; forward: Forward },
): { ok: true; upstream: Upstream } | { ok: false; failure: Failure } {
  const upstream = { ...forward.upstream }
  for (const name of takes) {
    const before = said.get(name)
    if (before === undefined || !before.ok) return { ok: false, failure: upstreamFailure(name, before) }
    upstream[name] = before.output
    const chars = JSON.stringify(before.output).length
    const sizeBytes = utf8Bytes(messageText(upstream))
    const { length: count } = Object.keys(upstream)
    if (chars <= maxUpstreamChars && sizeBytes <= maxUpstreamBytes && count <= maxUpstreamOutputs) continue
    const message =
      `the output of ${name} has ${chars} characters, and the ${count} outputs passed on ${sizeBytes} bytes; ` +
      `at most ${maxUpstreamChars}, ${maxUpstreamOutputs} and ${maxUpstreamBytes} are`
    return { ok: false, failure: { code: 'task-upstream-failed', message } }
  }
  return { ok: true, upstream }
}

function upstreamFailure(name: string, before: Extract<TaskSaid, { ok: false }> | undefined): Failure {
  if (before === undefined)
    return {
      code: 'task-upstream-failed',
      message: `${name}, which this comes after, failed: it was not asked`,
    }
  const { code, message } = before.failure
  // Along a chain the first cause is told once.
  const why = code === 'task-upstream-failed' ? message : `${code}: ${message}`
  return { code: 'task-upstream-failed', message: `${name}, which this comes after, failed: ${why}` }
}
