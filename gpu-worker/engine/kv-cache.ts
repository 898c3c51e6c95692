// Cached keys and values of the decoder. A prefix is what an image's prompts share; a suffix holds what came after, one
// slot a row, rows of all sequences side by side. Knows memory layout, not models.
import { InvariantError } from '../../schemas/errors.ts'
import type { CacheFormat } from '../../schemas/model-manifest.ts'
import type { GraphTensor } from './session.ts'

export type CacheShape = { layerCount: number; kvHeadCount: number; headDim: number }

/** Rows as a step makes them: per layer keys and values [kvHeads, length, headDim]. */
export type NewRows = { length: number; keys: readonly Float32Array[]; values: readonly Float32Array[] }

/** Rows as the graph takes them: per layer keys [kvHeads, length, headDim] and values turned [kvHeads, headDim, length]. */
export type CacheRows = { length: number; keys: readonly Float32Array[]; values: readonly Float32Array[] }

/**
 * Per layer keys [kvHeads, headDim, length + 1] and values [kvHeads, length + 1, headDim]. Slot 0 is blank and nobody sees
 * it: no graph is run on a cache without slots.
 */
export type DeviceRows = {
  format: 'device'
  /** Slots but the blank one. */
  length: number
  keys: readonly GraphTensor[]
  values: readonly GraphTensor[]
}

/** An image's rows; in bytes with a scale for each row and head [kvHeads, length] where the cache is int8. */
export type PrefixRows =
  | DeviceRows
  | (CacheRows & { format: 'fp32' })
  | {
      format: 'int8'
      length: number
      keys: readonly Int8Array[]
      values: readonly Int8Array[]
      keyScales: readonly Float32Array[]
      valueScales: readonly Float32Array[]
    }

/** What a step leaves: its rows, or on a device the suffix that has grown by them. */
export type StepRows = NewRows | DeviceRows

/** What sequences wrote behind their prefixes. Slots are taken by sequences and given back when a sequence ends. */
export type Suffix = {
  /** As a step takes them; on a device with the slots that it is to keep. */
  readonly rows: CacheRows | (DeviceRows & { kept: readonly number[] })
  /** Sequence that owns each slot that the next step sees, undefined where none does. */
  readonly owners: readonly (number | undefined)[]
  /** Takes a step's rows, of which row i is `owners[i]`'s. Grows to no more than `maxRows` where it need not. */
  append(rows: StepRows, owners: readonly number[], maxRows?: number): void
  release(owner: number): void
}

/** The suffix grows by whole blocks, at least by a quarter, so that its arrays are seldom copied. */
const blockRows = 64

export function emptyRows({ layerCount }: Pick<CacheShape, 'layerCount'>): CacheRows {
  const nothing = Array.from({ length: layerCount }, () => new Float32Array(0))
  return { length: 0, keys: nothing, values: nothing }
}

/** Nothing before the first token, in the format that the graph takes. */
export function emptyPrefix(shape: CacheShape, format: CacheFormat): PrefixRows {
  const rows = emptyRows(shape)
  if (format === 'fp32') return { format, ...rows }
  const nothing = Array.from({ length: shape.layerCount }, () => new Int8Array(0))
  return { format, length: 0, keys: nothing, values: nothing, keyScales: rows.keys, valueScales: rows.keys }
}

/** A suffix in this process's memory. */
export class SuffixCache implements Suffix {
  readonly #shape: CacheShape
  #rows: CacheRows
  /** Owner of each slot; undefined where free. */
  #owners: (number | undefined)[] = []

  constructor(shape: CacheShape) {
    this.#shape = shape
    this.#rows = emptyRows(shape)
  }

  get rows(): CacheRows {
    return this.#rows
  }

  /** Sequence that owns each slot of `rows`, undefined where none does. */
  get owners(): readonly (number | undefined)[] {
    return this.#owners
  }

  /**
   * Writes run rows to free slots. `owners[i]` is the sequence of row i. Grows to no more than `maxRows`, a whole
   * number of blocks, unless the rows themselves need more.
   */
  append(newRows: StepRows, owners: readonly number[], maxRows = Infinity): void {
    if ('format' in newRows) throw new InvariantError('rows of a device do not belong in host memory')
    if (owners.length !== newRows.length) throw new InvariantError('each new cache row needs an owner')
    const slots = this.#claimSlots(owners, maxRows)
    const length = this.#rows.length
    const { kvHeadCount, headDim } = this.#shape
    for (const [layer, source] of newRows.keys.entries()) {
      const keys = this.#rows.keys[layer] ?? source
      const values = this.#rows.values[layer] ?? source
      const newValues = newRows.values[layer] ?? source
      for (let head = 0; head < kvHeadCount; head++) {
        for (const [row, slot] of slots.entries()) {
          const from = (head * newRows.length + row) * headDim
          copyNumbers({ source, from, target: keys, to: (head * length + slot) * headDim, count: headDim })
          const to = head * headDim * length + slot
          copyNumbers({ source: newValues, from, target: values, to, count: headDim, stride: length })
        }
      }
    }
  }

  /**
   * Frees the slots of a sequence that is done. When most slots are free, the others move together; when all are, nothing
   * is kept, so that what comes next is computed as in a fresh process, to the last bit.
   */
  release(owner: number): void {
    this.#owners = this.#owners.map((current) => (current === owner ? undefined : current))
    const kept = this.#owners.flatMap((current, slot) => (current === undefined ? [] : [slot]))
    if (kept.length === 0) {
      this.#rows = emptyRows(this.#shape)
      this.#owners = []
      return
    }
    const enough = Math.max(blockRows, Math.ceil(kept.length / blockRows) * blockRows)
    if (enough <= this.#owners.length / 2) this.#relocate(kept, enough)
  }

  #claimSlots(owners: readonly number[], maxRows: number): number[] {
    const isFree = (owner: number | undefined): boolean => owner === undefined
    const freeCount = this.#owners.filter(isFree).length
    if (freeCount < owners.length) {
      const needed = this.#owners.length - freeCount + owners.length
      const generous = Math.min(Math.max(needed, this.#owners.length * 1.25), Math.max(needed, maxRows))
      this.#relocate([...this.#owners.keys()], Math.ceil(generous / blockRows) * blockRows)
    }
    const slots: number[] = []
    for (let slot = 0; slots.length < owners.length; slot++) {
      if (this.#owners[slot] !== undefined) continue
      this.#owners[slot] = owners[slots.length]
      slots.push(slot)
    }
    return slots
  }

  /** Moves slots `kept` to the front of arrays of another length. */
  #relocate(kept: readonly number[], length: number): void {
    const { kvHeadCount, headDim } = this.#shape
    const old = this.#rows
    const runs = runsOf(kept)
    const move = (source: Float32Array, { lines, width }: { lines: number; width: number }): Float32Array => {
      const target = new Float32Array(lines * length * width)
      for (let line = 0; line < lines; line++) {
        for (const { from, to, count } of runs) {
          const start = (line * old.length + from) * width
          target.set(source.subarray(start, start + count * width), (line * length + to) * width)
        }
      }
      return target
    }
    this.#rows = {
      length,
      keys: old.keys.map((keys) => move(keys, { lines: kvHeadCount, width: headDim })),
      values: old.values.map((values) => move(values, { lines: kvHeadCount * headDim, width: 1 })),
    }
    const owners = kept.map((slot) => this.#owners[slot])
    this.#owners = [...owners, ...Array.from({ length: length - kept.length }, () => undefined)]
  }
}

/** Neighbouring slots as runs, and where each goes. */
function runsOf(slots: readonly number[]): { from: number; to: number; count: number }[] {
  const runs: { from: number; to: number; count: number }[] = []
  for (const [to, from] of slots.entries()) {
    const last = runs.at(-1)
    if (last !== undefined && last.from + last.count === from) last.count += 1
    else runs.push({ from, to, count: 1 })
  }
  return runs
}

/** A plain loop: for a head's few dozen numbers it is faster than making two views. */
function copyNumbers({
  source,
  from,
  target,
  to,
  count,
  stride = 1,
}: {
  source: Float32Array
  from: number
  target: Float32Array
  to: number
  count: number
  stride?: number
}): void {
  for (let index = 0; index < count; index++) target[to + index * stride] = source[from + index] ?? 0
}
