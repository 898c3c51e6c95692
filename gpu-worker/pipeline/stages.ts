// Which of an image's units are asked here and in which order, and which go on to the workers of another model. Pure; it
// does not know engines or messages.
import type { Failure } from '../../schemas/failure.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import type { TaskRole, TaskSpec } from '../../schemas/task-spec.ts'
import {
  maxUpstreamBytes,
  maxUpstreamChars,
  messageText,
  type Upstream,
  utf8Bytes,
} from '../../schemas/work-message.ts'
import { taskOf } from '../tasks/registry.ts'
import type { RecordUnit } from './record.ts'

export type StagePlan = {
  /** Asked first; one that is not kept is asked only because others come after it. */
  first: { unit: RecordUnit; isKept: boolean }[]
  /** Asked here once what they come after is known. */
  second: RecordUnit[]
  /** Answered by workers that hold another model. */
  elsewhere: RecordUnit[]
}

type PlanStages = {
  isDone: (recordId: string) => boolean
  isWanted: (spec: TaskSpec) => boolean
  /** Whether this worker's model answers a role. */
  isServed: (role: TaskRole) => boolean
  /** What the message brings from an earlier stage. */
  upstream: Upstream
}

/** Plans the units without a record. What the first stage has said already is not asked again when the message has it. */
export function planStages(
  units: readonly RecordUnit[],
  { isDone, isWanted, isServed, upstream }: PlanStages,
): StagePlan {
  const isServedHere = ({ spec }: RecordUnit) => isServed(spec.role ?? 'chat')
  const isBrought = (task: string) => Object.hasOwn(upstream, task)
  // What another stage's worker has failed on is its own business: the message does not bring it, so it is not ours.
  const isReachable = ({ spec }: RecordUnit) =>
    spec.after === undefined || isBrought(spec.after) || isServed('chat')
  const pending = units.filter((unit) => isWanted(unit.spec) && isReachable(unit) && !isDone(unit.recordId))
  const here = new Set(pending.filter(isServedHere))
  const needed = new Set(
    pending.map(({ spec }) => spec.after).filter((task) => task !== undefined && !isBrought(task)),
  )
  return {
    first: units
      .filter((unit) => unit.spec.after === undefined)
      .filter((unit) => here.has(unit) || (needed.has(unit.spec.task) && unit.spec.ordinal === 0))
      .map((unit) => ({ unit, isKept: here.has(unit) })),
    second: [...here].filter(({ spec }) => spec.after !== undefined),
    elsewhere: pending.filter((unit) => !here.has(unit)),
  }
}

/** The units that get a record, here or elsewhere. */
export function pendingOf({ first, second, elsewhere }: StagePlan): RecordUnit[] {
  return [...first.filter(({ isKept }) => isKept).map(({ unit }) => unit), ...second, ...elsewhere]
}

/** What a task said of this image, or why it said nothing. */
export type TaskSaid = { ok: true; output: TaskOutput } | { ok: false; failure: Failure }

/** A unit whose prompts are known, or why they cannot be. */
export type Followed = { ok: true; unit: RecordUnit } | { ok: false; unit: RecordUnit; failure: Failure }

/** Fills in the prompts of units from what they come after. */
export function followUnits(units: readonly RecordUnit[], said: ReadonlyMap<string, TaskSaid>): Followed[] {
  return units.map((unit) => {
    const { spec } = unit
    const before = said.get(spec.after ?? '')
    if (before === undefined || !before.ok) return { ok: false, unit, failure: upstreamFailure(spec, before) }
    const plan = taskOf(spec).follow?.(spec, before.output)
    if (plan === undefined || !plan.ok) {
      const message = plan?.message ?? `the task ${spec.task} cannot come after another`
      return { ok: false, unit, failure: { code: 'task-upstream-failed', message } }
    }
    const inputs = { ...unit.inputs, [spec.after ?? '']: before.output }
    return { ok: true, unit: { ...unit, spec: { ...spec, ...plan.plan }, inputs } }
  })
}

/** What goes on to the workers of one role: the outputs they need of this stage. */
export type Forward = { role: TaskRole; upstream: Upstream }

/** What goes on, and the units that cannot because what they come after is not there. */
export function forwardUnits(
  units: readonly RecordUnit[],
  said: ReadonlyMap<string, TaskSaid>,
): { forwards: Forward[]; failed: Extract<Followed, { ok: false }>[] } {
  const forwards = new Map<TaskRole, Forward>()
  const failed: Extract<Followed, { ok: false }>[] = []
  for (const unit of units) {
    const { role = 'chat', after } = unit.spec
    const forward = forwards.get(role) ?? { role, upstream: {} }
    const before = after === undefined ? undefined : said.get(after)
    const failure = after === undefined ? null : carriageProblem(unit.spec, { before, forward })
    if (failure !== null) {
      failed.push({ ok: false, unit, failure })
      continue
    }
    if (after !== undefined && before?.ok === true) forward.upstream[after] = before.output
    forwards.set(role, forward)
  }
  return { forwards: [...forwards.values()], failed }
}

/** Why an output cannot go on: it is not there, or is too long for a message beside the others that go the same way. */
function carriageProblem(
  spec: TaskSpec,
  { before, forward }: { before: TaskSaid | undefined; forward: Forward },
): Failure | null {
  if (before === undefined || !before.ok) return upstreamFailure(spec, before)
  const chars = JSON.stringify(before.output).length
  const upstream = { ...forward.upstream, [spec.after ?? '']: before.output }
  const sizeBytes = utf8Bytes(messageText(upstream))
  if (chars <= maxUpstreamChars && sizeBytes <= maxUpstreamBytes) return null
  const message =
    `the output of ${spec.after} has ${chars} characters, and all that is passed on ${sizeBytes} bytes; ` +
    `at most ${maxUpstreamChars} and ${maxUpstreamBytes} are`
  return { code: 'task-upstream-failed', message }
}

function upstreamFailure({ after }: TaskSpec, before: Extract<TaskSaid, { ok: false }> | undefined): Failure {
  const why = before === undefined ? 'it was not asked' : `${before.failure.code}: ${before.failure.message}`
  return { code: 'task-upstream-failed', message: `${after}, which this comes after, failed: ${why}` }
}
