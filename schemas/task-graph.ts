// The specs of a run as a graph: which waits for which, and whether that can be asked at all. It does not know images.
import { type TaskSpec, upstreamOf } from './task-spec.ts'

type GraphSpec = Pick<TaskSpec, 'task' | 'ordinal' | 'role' | 'after' | 'besides'>

/** The spec of a task whose output others take: its first. */
function firstOf<Spec extends GraphSpec>(specs: readonly Spec[], task: string): Spec | undefined {
  return specs.find((spec) => spec.task === task && spec.ordinal === 0)
}

/** Why the specs of a run cannot be asked in any order, in a sentence; null when they can. */
export function graphProblem(specs: readonly GraphSpec[]): string | null {
  for (const spec of specs) {
    for (const name of upstreamOf(spec)) {
      if (firstOf(specs, name) === undefined)
        return `"${spec.task}" comes after "${name}", which is no task of the run`
    }
  }
  const cycle = findCycle(specs)
  if (cycle !== null)
    return `the tasks ${cycle.map((name) => `"${name}"`).join(' after ')} wait for each other in a circle`
  const stages = stagesOf(specs)
  const last = specs.find((spec) => stages(spec) > maxStages)
  if (last === undefined) return null
  return `before "${last.task}" an image would go from one model to the other ${stages(last)} times; at most ${maxStages} times it does`
}

/** Each change of model fetches, decodes and prefills the image once more. */
export const maxStages = 8

/**
 * How often an image has changed models before a spec is asked: 0 where the first model answers, 1 where the second
 * does, and one more for each time that a spec comes after what the other model said. Specs of one model have no roles.
 */
export function stagesOf(specs: readonly GraphSpec[]): (spec: GraphSpec) => number {
  const known = new Map<GraphSpec, number>()
  const stageOf = (spec: GraphSpec): number => {
    const found = known.get(spec)
    if (found !== undefined) return found
    const { role = 'chat' } = spec
    const before = upstreamOf(spec).flatMap((name) => firstOf(specs, name) ?? [])
    const stage = Math.max(
      role === 'chat' ? 0 : 1,
      ...before.map((other) => stageOf(other) + ((other.role ?? 'chat') === role ? 0 : 1)),
    )
    known.set(spec, stage)
    return stage
  }
  return stageOf
}

/** The names along a circle, the first again at its end. */
function findCycle(specs: readonly GraphSpec[]): string[] | null {
  const done = new Set<string>()
  const walk = (task: string, path: readonly string[]): string[] | null => {
    if (path.includes(task)) return [...path.slice(path.indexOf(task)), task]
    if (done.has(task)) return null
    const after = specs.filter((spec) => spec.task === task).flatMap(upstreamOf)
    for (const name of new Set(after)) {
      const cycle = walk(name, [...path, task])
      if (cycle !== null) return cycle
    }
    done.add(task)
    return null
  }
  for (const { task } of specs) {
    const cycle = walk(task, [])
    if (cycle !== null) return cycle
  }
  return null
}
