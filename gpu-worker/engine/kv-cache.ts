// Cached keys and values of the decoder. A prefix is what an image's prompts share; a suffix holds what came after, one
// slot a row, rows of all sequences side by side. Knows memory layout, not models.
import { InvariantError } from '../../schemas/errors.ts'
import type { CacheFormat } from '../../schemas/model-manifest.ts'
import type { GraphTensor } from './session.ts'

export type CacheShape = { layerCount: number; kvHeadCount: number; headDim: number }

/** Rows as a step makes them and a suffix holds them: per layer keys and values [kvHeads, length, headDim]. */
export type NewRows = { length: number; keys: readonly Float32Array[]; values: readonly Float32Array[] }

/** Rows of a prefix as the graph takes them: keys [kvHeads, length, headDim] and values turned [kvHeads, headDim, length]. */
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

/**
 * An image's rows; where the cache is int8, codes of keys and values [kvHeads, length, headDim] both, and what they count, by
 * channel: [layers, keys and values, kvHeads, headDim].
 */
export type PrefixRows =
  | DeviceRows
  | (CacheRows & { format: 'fp32' })
  | {
      format: 'int8'
      length: number
      keys: readonly Uint8Array[]
      values: readonly Int8Array[]
      scales: Float32Array
    }

/** Lanes are as long as a whole number of these rows. */
export const laneStep = 16

/** Slots that a sequence of so many rows takes at most, where lanes are short. */
export function wholeLanes(rows: number): number {
  return Math.ceil(rows / laneStep) * laneStep
}

/** Slots that are not worth giving back. */
const fewSlots = 64

/** What a step leaves: its rows, or on a device the suffix that has grown by them. */
export type StepRows = NewRows | DeviceRows

/** What sequences wrote behind their prefixes. Slots are taken by sequences and given back when a sequence ends. */
export type Suffix = {
  /** As a step takes them; on a device with the slots that it is to keep. */
  readonly rows: NewRows | (DeviceRows & { kept: readonly number[] })
  /** Sequence that owns each slot that the next step sees, undefined where none does. */
  readonly owners: readonly (number | undefined)[]
  /** Where the slots lie in lanes: how many a lane has, and whose each lane is. */
  readonly lanes?: { size: number; owners: readonly (number | undefined)[] }
  /** Takes a step's rows, of which row i is `owners[i]`'s. Grows to no more than `maxRows` where it need not. */
  append(rows: StepRows, owners: readonly number[], maxRows?: number): void
  release(owner: number): void
}

export function emptyRows({ layerCount }: Pick<CacheShape, 'layerCount'>): CacheRows {
  const nothing = Array.from({ length: layerCount }, () => new Float32Array(0))
  return { length: 0, keys: nothing, values: nothing }
}

/** Nothing before the first token, in the format that the graph takes. */
export function emptyPrefix(shape: CacheShape, format: CacheFormat): PrefixRows {
  const rows = emptyRows(shape)
  if (format === 'fp32') return { format, ...rows }
  const each = <T>(make: () => T): T[] => Array.from({ length: shape.layerCount }, make)
  return {
    format,
    length: 0,
    keys: each(() => new Uint8Array(0)),
    values: each(() => new Int8Array(0)),
    scales: new Float32Array(2 * shape.layerCount * shape.kvHeadCount * shape.headDim),
  }
}

type Lane = { owner: number | undefined; used: number }

/**
 * A suffix in this process's memory, in lanes of one length. A lane belongs to one sequence, so that a step may have each
 * row look at its own lanes only; a sequence that outgrows its lane takes another.
 */
export class SuffixCache implements Suffix {
  readonly #shape: CacheShape
  #rows: NewRows
  #lanes: Lane[] = []
  #size = 0

  constructor(shape: CacheShape) {
    this.#shape = shape
    this.#rows = emptyRows(shape)
  }

  /** Every lane's slots, lane after lane. */
  get rows(): NewRows {
    return this.#rows
  }

  /** Slots of a lane, and whose each lane is. */
  get lanes(): { size: number; owners: readonly (number | undefined)[] } {
    return { size: this.#size, owners: this.#lanes.map(({ owner }) => owner) }
  }

  /** Sequence that owns each slot of `rows`, undefined where none does. */
  get owners(): readonly (number | undefined)[] {
    return this.#lanes.flatMap(({ owner, used }) =>
      Array.from({ length: this.#size }, (_, slot) => (slot < used ? owner : undefined)),
    )
  }

  /**
   * Writes run rows to free slots. `owners[i]` is the sequence of row i. Grows by a quarter, so that arrays are seldom
   * copied, but to no more than `maxRows`, unless the rows themselves need more.
   */
  append(newRows: StepRows, owners: readonly number[], maxRows = Infinity): void {
    if ('format' in newRows) throw new InvariantError('rows of a device do not belong in host memory')
    if (owners.length !== newRows.length) throw new InvariantError('each new cache row needs an owner')
    const slots = this.#claimSlots(owners, maxRows)
    for (const side of ['keys', 'values'] as const)
      for (const [layer, source] of newRows[side].entries())
        scatterRows(source, this.#rows[side][layer] ?? source, {
          ...this.#shape,
          slots,
          length: this.#rows.length,
        })
  }

  /**
   * Frees the slots of a sequence that is done. When most slots are free, the others move together; when all are, nothing
   * is kept, so that what comes next is computed as in a fresh process, to the last bit.
   */
  release(owner: number): void {
    for (const lane of this.#lanes)
      if (lane.owner === owner) Object.assign(lane, { owner: undefined, used: 0 })
    const counts = this.#counts()
    if (counts.size === 0) {
      this.#rows = emptyRows(this.#shape)
      this.#lanes = []
      this.#size = 0
      return
    }
    const plan = planLanes([...counts.values()], Infinity)
    if (Math.max(fewSlots, plan.size * plan.count) <= this.#rows.length / 2) this.#relocate(plan)
  }

  /** Rows of each sequence. */
  #counts(): Map<number, number> {
    const counts = new Map<number, number>()
    for (const { owner, used } of this.#lanes)
      if (owner !== undefined) counts.set(owner, (counts.get(owner) ?? 0) + used)
    return counts
  }

  #claimSlots(owners: readonly number[], maxRows: number): number[] {
    const slots: number[] = []
    for (const [index, owner] of owners.entries()) {
      let lane = this.#laneFor(owner)
      if (lane === undefined) {
        const counts = this.#counts()
        for (const rest of owners.slice(index)) counts.set(rest, (counts.get(rest) ?? 0) + 1)
        const moved = this.#relocate(planLanes([...counts.values()], maxRows))
        for (const [at, slot] of slots.entries()) slots[at] = moved.get(slot) ?? slot
        lane = this.#laneFor(owner)
      }
      const found = this.#lanes[lane ?? -1]
      if (lane === undefined || found === undefined)
        throw new InvariantError('no lane was made for a cache row')
      found.owner = owner
      slots.push(lane * this.#size + found.used)
      found.used += 1
    }
    return slots
  }

  /** The lane that takes a sequence's next row: its own where there is room, a free one otherwise. */
  #laneFor(owner: number): number | undefined {
    const own = this.#lanes.findIndex((lane) => lane.owner === owner && lane.used < this.#size)
    const lane = own === -1 ? this.#lanes.findIndex((free) => free.owner === undefined) : own
    return lane === -1 ? undefined : lane
  }

  /** Moves all rows to arrays of other lanes; where each slot went. */
  #relocate({ size, count }: LanePlan): Map<number, number> {
    const moved = new Map<number, number>()
    const lanes: Lane[] = Array.from({ length: count }, () => ({ owner: undefined, used: 0 }))
    let next = -1
    for (const owner of this.#counts().keys()) {
      let lane: Lane | undefined
      for (const [index, held] of this.#lanes.entries()) {
        for (let at = 0; held.owner === owner && at < held.used; at++) {
          if (lane === undefined || lane.used === size) lane = lanes[++next]
          if (lane === undefined) throw new InvariantError('too few lanes for what the cache holds')
          lane.owner = owner
          moved.set(index * this.#size + at, next * size + lane.used++)
        }
      }
    }
    this.#move(moved, size * count)
    this.#lanes = lanes
    this.#size = size
    return moved
  }

  #move(moved: ReadonlyMap<number, number>, length: number): void {
    const { kvHeadCount, headDim } = this.#shape
    const old = this.#rows.length
    const runs = runsOf(moved)
    const move = (source: Float32Array): Float32Array => {
      const target = new Float32Array(kvHeadCount * length * headDim)
      for (let head = 0; head < kvHeadCount; head++) {
        for (const { from, to, count } of runs) {
          const start = (head * old + from) * headDim
          target.set(source.subarray(start, start + count * headDim), (head * length + to) * headDim)
        }
      }
      return target
    }
    this.#rows = { length, keys: this.#rows.keys.map(move), values: this.#rows.values.map(move) }
  }
}

type LanePlan = { size: number; count: number }

/**
 * Lanes for sequences of so many rows: as long as can be, so that a step has few of them, with a quarter to grow into
 * where `maxRows` leaves it. Sequences of one length come to one lane each; beside a long one, short ones make lanes short.
 */
export function planLanes(counts: readonly number[], maxRows: number): LanePlan {
  const needed = counts.reduce((sum, count) => sum + count, 0)
  const longest = Math.ceil((1.25 * Math.max(...counts)) / laneStep)
  const plans = Array.from({ length: longest }, (_, index) => {
    const size = (index + 1) * laneStep
    return { size, count: counts.reduce((sum, count) => sum + Math.ceil(count / size), 0) }
  })
  const slots = ({ size, count }: LanePlan): number => size * count
  const generous = Math.max(Math.min(1.25 * needed, maxRows), Math.min(...plans.map(slots)))
  return plans.findLast((plan) => slots(plan) <= generous) ?? { size: laneStep, count: 0 }
}

/** Neighbouring slots that stay neighbours, as runs. */
function runsOf(moved: ReadonlyMap<number, number>): { from: number; to: number; count: number }[] {
  const runs: { from: number; to: number; count: number }[] = []
  for (const [from, to] of moved) {
    const last = runs.at(-1)
    if (last !== undefined && last.from + last.count === from && last.to + last.count === to) last.count += 1
    else runs.push({ from, to, count: 1 })
  }
  return runs
}

/**
 * Copies rows [heads, rows, headDim] to slots of [heads, length, headDim]. Plain loops: for a head's few dozen numbers they are
 * faster than views; counting `at` and not both places takes half the time.
 */
function scatterRows(
  source: Float32Array,
  target: Float32Array,
  {
    kvHeadCount,
    headDim,
    slots,
    length,
  }: Pick<CacheShape, 'kvHeadCount' | 'headDim'> & { slots: readonly number[]; length: number },
): void {
  let from = 0
  for (let head = 0; head < kvHeadCount; head++) {
    for (const slot of slots) {
      const begin = (head * length + slot) * headDim
      for (let at = 0; at < headDim; at++) target[begin + at] = source[from + at] ?? 0
      from += headDim
    }
  }
}
