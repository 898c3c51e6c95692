// Cached keys and values of the decoder. A prefix is what an image's prompts share; a suffix holds what came after, one
// slot a row, rows of several sequences side by side. Knows memory layout, not models.
import { InvariantError } from '../../schemas/errors.ts'

export type CacheShape = { layerCount: number; kvHeadCount: number; headDim: number }

/** Rows of all layers: per layer keys and values [kvHeads, length, headDim], ready to be a graph input. */
export type CacheRows = { length: number; keys: readonly Float32Array[]; values: readonly Float32Array[] }

/** The suffix grows by whole blocks, so that its arrays are seldom copied. */
const blockRows = 64

export function emptyRows({ layerCount }: CacheShape): CacheRows {
  const nothing = Array.from({ length: layerCount }, () => new Float32Array(0))
  return { length: 0, keys: nothing, values: nothing }
}

/** Two runs of rows, one after the other. */
export function joinRows(shape: CacheShape, first: CacheRows, second: CacheRows): CacheRows {
  const join = (a: readonly Float32Array[], b: readonly Float32Array[]): Float32Array[] =>
    a.map((rows, layer) =>
      joinLayer(shape, { a: rows, aLength: first.length, b: b[layer] ?? rows, bLength: second.length }),
    )
  return {
    length: first.length + second.length,
    keys: join(first.keys, second.keys),
    values: join(first.values, second.values),
  }
}

function joinLayer(
  { kvHeadCount, headDim }: CacheShape,
  { a, aLength, b, bLength }: { a: Float32Array; aLength: number; b: Float32Array; bLength: number },
): Float32Array {
  const joined = new Float32Array(kvHeadCount * (aLength + bLength) * headDim)
  for (let head = 0; head < kvHeadCount; head++) {
    const at = head * (aLength + bLength) * headDim
    joined.set(a.subarray(head * aLength * headDim, (head + 1) * aLength * headDim), at)
    joined.set(b.subarray(head * bLength * headDim, (head + 1) * bLength * headDim), at + aLength * headDim)
  }
  return joined
}

/** A suffix being written. Slots are taken by sequences and given back when a sequence ends. */
export class SuffixCache {
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

  /** Writes run rows to free slots. `owners[i]` is the sequence of row i; new rows are [kvHeads, rowCount, headDim]. */
  append(newRows: CacheRows, owners: readonly number[]): void {
    if (owners.length !== newRows.length) throw new InvariantError('each new cache row needs an owner')
    const slots = this.#claimSlots(owners)
    const { kvHeadCount, headDim } = this.#shape
    for (const [side, target] of [
      [newRows.keys, this.#rows.keys],
      [newRows.values, this.#rows.values],
    ] as const) {
      for (const [layer, source] of side.entries()) {
        const rows = target[layer] ?? source
        for (let head = 0; head < kvHeadCount; head++) {
          for (const [row, slot] of slots.entries()) {
            const from = (head * newRows.length + row) * headDim
            copyRow({
              source,
              from,
              target: rows,
              to: (head * this.#rows.length + slot) * headDim,
              length: headDim,
            })
          }
        }
      }
    }
  }

  /** Frees the slots of a sequence that is done. */
  release(owner: number): void {
    this.#owners = this.#owners.map((current) => (current === owner ? undefined : current))
  }

  #claimSlots(owners: readonly number[]): number[] {
    const free = this.#owners.flatMap((owner, slot) => (owner === undefined ? [slot] : []))
    if (free.length < owners.length) {
      const added = Math.ceil((owners.length - free.length) / blockRows) * blockRows
      free.push(...Array.from({ length: added }, (_, index) => this.#rows.length + index))
      this.#grow(added)
    }
    return owners.map((owner, index) => {
      const slot = free[index] ?? 0
      this.#owners[slot] = owner
      return slot
    })
  }

  #grow(added: number): void {
    const { kvHeadCount, headDim, layerCount } = this.#shape
    const blank = new Float32Array(kvHeadCount * added * headDim)
    const rows = Array.from({ length: layerCount }, () => blank)
    this.#rows = joinRows(this.#shape, this.#rows, { length: added, keys: rows, values: rows })
    this.#owners.push(...Array.from({ length: added }, () => undefined))
  }
}

/** A plain loop: for a head's few dozen numbers it is faster than making two views. */
function copyRow({
  source,
  from,
  target,
  to,
  length,
}: {
  source: Float32Array
  from: number
  target: Float32Array
  to: number
  length: number
}): void {
  for (let index = 0; index < length; index++) target[to + index] = source[from + index] ?? 0
}
