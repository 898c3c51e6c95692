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

/** What records an image of the run gets, and by what spec where that is its own. */
export function recordsOfItem(
  item: Pick<WorkItem, 'questions' | 'phrases'>,
  { config, specs }: { config: RunConfig; specs: readonly HashedSpec[] },
): { task: string; ordinal: number; ownSpecHash?: string }[] {
  const shared = new Set(specs)
  return specsOfItem(item, { config, specs }).map((hashed) => ({
    task: hashed.spec.task,
    ordinal: hashed.spec.ordinal,
    ...(shared.has(hashed) ? {} : { ownSpecHash: hashed.specHash }),
  }))
}

/** `specs` are the run's. Of a task for which the image brings its own questions or phrases, only those are asked. */
export function specsOfItem(
  item: Pick<WorkItem, 'questions' | 'phrases'>,
  { config, specs }: { config: RunConfig; specs: readonly HashedSpec[] },
): readonly HashedSpec[] {
  const own = planItemTasks(config, item)
  if (own.length === 0) return specs
  const replaced = new Set(own.map(({ task }) => task))
  return [...specs.filter(({ spec }) => !replaced.has(spec.task)), ...hashSpecs(own, config)]
}
