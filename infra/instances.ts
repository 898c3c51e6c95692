// EC2 instance types with one GPU, and which of them a fleet runs on. It knows no prices.
import { UserError } from '../schemas/errors.ts'
import { holdsModel, taskMemoryMiB } from '../schemas/instance-memory.ts'

const gib = 1024 ** 3

/** What a type has. All have NVMe disks, which the model is fetched to. */
type InstanceType = { name: string; gpuGiB: number; memoryGiB: number; diskGB: number }

/**
 * In the order in which they are tried on demand: the smallest GPU that is enough first. Types with a part of a GPU
 * (g6f) are left out: the ECS agent counts no GPU on them (amazon-ecs-agent issue 4786). GPU memory is what drivers
 * report of 24, 48 and 96 GB.
 */
export const instanceTypes: readonly InstanceType[] = [
  { name: 'g6.xlarge', gpuGiB: 22, memoryGiB: 16, diskGB: 250 },
  { name: 'g5.xlarge', gpuGiB: 22, memoryGiB: 16, diskGB: 250 },
  { name: 'g6.2xlarge', gpuGiB: 22, memoryGiB: 32, diskGB: 450 },
  { name: 'g5.2xlarge', gpuGiB: 22, memoryGiB: 32, diskGB: 450 },
  { name: 'g6e.xlarge', gpuGiB: 44, memoryGiB: 32, diskGB: 250 },
  { name: 'g6e.2xlarge', gpuGiB: 44, memoryGiB: 64, diskGB: 450 },
  { name: 'g7e.2xlarge', gpuGiB: 95, memoryGiB: 64, diskGB: 1900 },
]

export type InstanceChoice = {
  names: string[]
  /** That a task may have on each of them. */
  taskMemoryMiB: number
}

/** The types that hold a model of so many bytes. Throws UserError when none does. */
export function chooseInstances({
  sizeBytes,
  names,
}: {
  sizeBytes: number
  names: readonly string[]
}): InstanceChoice {
  const known = new Map(instanceTypes.map((type) => [type.name, type]))
  const wanted = names.length === 0 ? instanceTypes : names.map((name) => known.get(name) ?? unknown(name))
  const fitting = wanted.filter((type) => holdsModel(type, sizeBytes))
  const [smallest] = fitting
  const unfit = wanted.find((type) => names.length > 0 && !holdsModel(type, sizeBytes))
  if (smallest === undefined || unfit !== undefined)
    throw new UserError(
      `a model of ${(sizeBytes / gib).toFixed(1)} GiB does not fit ${unfit?.name ?? 'any instance with one GPU'}; ` +
        'compile it with --weights int8 or int4, or name larger instanceTypes',
    )
  // The same GPU or the next larger: a fleet shall not be paid for at three times its price for want of a small one.
  const most = smallest.gpuGiB * 2.2
  const chosen = names.length > 0 ? fitting : fitting.filter(({ gpuGiB }) => gpuGiB <= most)
  return {
    names: chosen.map(({ name }) => name),
    taskMemoryMiB: taskMemoryMiB(Math.min(...chosen.map(({ memoryGiB }) => memoryGiB))),
  }
}

function unknown(name: string): never {
  throw new UserError(
    `${name} is no instance type that is known to have one GPU; name some of ${instanceTypes.map((type) => type.name).join(', ')}`,
  )
}
