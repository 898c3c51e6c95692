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
      const upstream = firstOf(specs, name)
      if (upstream === undefined) return `"${spec.task}" comes after "${name}", which is no task of the run`
      // A worker of the second model sends nothing back.
      if (upstream.role === 'grounding' && spec.role !== 'grounding')
        return `"${spec.task}" comes after "${name}", which the second model of the run answers: what that says is not passed back`
    }
  }
  const cycle = findCycle(specs)
  if (cycle === null) return null
  return `the tasks ${cycle.map((name) => `"${name}"`).join(' after ')} wait for each other in a circle`
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
