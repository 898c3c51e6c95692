// Whether an instance holds a model: one rule for plans, which price instances, and for the stacks, which start them.
// It knows bytes only, no types and no prices.

const gib = 1024 ** 3

export type InstanceMemory = {
  /** Of its one GPU, as the driver reports it. */
  gpuGiB: number
  /** Of the host. */
  memoryGiB: number
}

/** Of the GPU, besides the weights: keys and values, activations, the runtime's own. */
const gpuOverhead = { factor: 1.1, bytes: 2 * gib }
/** Of the host: the runtime reads weights here before they go to the GPU, and images are decoded here. */
const hostOverhead = { factor: 1.05, bytes: 4 * gib }
/** Of an instance's memory that ECS can give to tasks: an m5.2xlarge of 32 GiB registers 31 and a bit. */
const taskShare = 0.93

export function holdsModel({ gpuGiB, memoryGiB }: InstanceMemory, modelBytes: number): boolean {
  return (
    modelBytes * gpuOverhead.factor + gpuOverhead.bytes <= gpuGiB * gib &&
    modelBytes * hostOverhead.factor + hostOverhead.bytes <= memoryGiB * taskShare * gib
  )
}

/** What a task may ask for on an instance with so much memory. */
export function taskMemoryMiB(memoryGiB: number): number {
  return Math.floor(memoryGiB * 1024 * taskShare)
}
