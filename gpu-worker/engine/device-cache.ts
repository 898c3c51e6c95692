// Keys and values that stay where a GPU's graph left them. The graph makes the grown cache; here is only who owns which
// slot, and when the memory of an older one is given back. Where the runtime cannot hold memory on the device for us, the
// same tensors lie in this process.
import { InvariantError } from '../../schemas/errors.ts'
import type { CacheShape, DeviceRows, StepRows, Suffix } from './kv-cache.ts'
import { freeTensor, type GraphTensor } from './session.ts'

/** Nothing but the blank slot. */
export function blankRows({ layerCount, kvHeadCount, headDim }: CacheShape): DeviceRows {
  const zeros = new Float32Array(kvHeadCount * headDim)
  const every = (dims: readonly number[]): GraphTensor[] =>
    Array.from({ length: layerCount }, () => ({ type: 'float32', data: zeros, dims }))
  return {
    format: 'device',
    length: 0,
    keys: every([kvHeadCount, headDim, 1]),
    values: every([kvHeadCount, 1, headDim]),
  }
}

/** Gives the memory back; rows are not to be used any more. */
export function freeRows({ keys, values }: DeviceRows): void {
  for (const tensor of [...keys, ...values]) freeTensor(tensor)
}

/** What sequences wrote behind their prefixes. Slots of those that are done are left out by the next step. */
export class DeviceSuffix implements Suffix {
  readonly #shape: CacheShape
  #rows: DeviceRows
  /** Owner of each slot of `#rows` behind the blank one; undefined where it is done. */
  #owners: (number | undefined)[] = []

  constructor(shape: CacheShape) {
    this.#shape = shape
    this.#rows = blankRows(shape)
  }

  /** With the slots that the next step keeps, besides the blank one. */
  get rows(): DeviceRows & { kept: readonly number[] } {
    const kept = this.#owners.flatMap((owner, slot) => (owner === undefined ? [] : [slot + 1]))
    return { ...this.#rows, kept }
  }

  /** Of the slots that are kept. */
  get owners(): readonly (number | undefined)[] {
    return this.#owners.filter((owner) => owner !== undefined)
  }

  /** Takes the suffix that a step has grown: what was kept, then its rows. */
  append(grown: StepRows, owners: readonly number[]): void {
    if (!('format' in grown)) throw new InvariantError('a suffix on a device is grown by its graph')
    const kept = this.#owners.filter((owner) => owner !== undefined)
    if (grown.length !== kept.length + owners.length)
      throw new InvariantError(`the suffix has ${grown.length} rows, expected ${kept.length + owners.length}`)
    freeRows(this.#rows)
    this.#rows = grown
    this.#owners = [...kept, ...owners]
  }

  /** When all are done nothing is kept, so that what comes next is computed as in a fresh process. */
  release(owner: number): void {
    this.#owners = this.#owners.map((current) => (current === owner ? undefined : current))
    if (this.#owners.some((current) => current !== undefined)) return
    freeRows(this.#rows)
    this.#rows = blankRows(this.#shape)
    this.#owners = []
  }
}
