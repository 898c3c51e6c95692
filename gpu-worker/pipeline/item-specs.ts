// What is asked of one image: the run's specs, or its own where its manifest line has some. It does not know how.
import { specHash } from '../../dataset/identity.ts'
import { modelOfRole, type RunConfig } from '../../schemas/run-config.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import type { WorkItem } from '../../schemas/work-item.ts'
import { planItemTasks } from '../tasks/registry.ts'

export type HashedSpec = { spec: TaskSpec; specHash: string }

/** A task's specs with the hash that each has in this run. */
export function hashSpecs(specs: readonly TaskSpec[], config: RunConfig): HashedSpec[] {
  return specs.map((spec) => {
    const { digest } = modelOfRole(config, spec.role)
    return { spec, specHash: specHash(spec, { modelDigest: digest, sampling: config.sampling }) }
  })
}

/** `specs` are the run's. Of a task for which the image brings its own questions or phrases, only those are asked. */
export function specsOfItem(
  item: WorkItem,
  { config, specs }: { config: RunConfig; specs: readonly HashedSpec[] },
): readonly HashedSpec[] {
  const { questions, phrases } = item
  // As the run's own tasks are held to a form or not; a run of an earlier build holds none.
  const isConstrained = config.tasks.some(({ constraint }) => constraint !== undefined)
  const brought = { template: config.template, questions, phrases, isConstrained }
  const own = planItemTasks(config.itemTasks ?? [], brought)
  if (own.length === 0) return specs
  const replaced = new Set(own.map(({ task }) => task))
  return [...specs.filter(({ spec }) => !replaced.has(spec.task)), ...hashSpecs(own, config)]
}
