// The cache's memory layout, seen as a list of rows per layer and head.
import { describe, expect, it } from 'vitest'
import { laneStep, planLanes, SuffixCache } from '../../gpu-worker/engine/kv-cache.ts'
import type { NewRows } from '../../gpu-worker/engine/kv-cache.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import { InvariantError } from '../../schemas/errors.ts'

const shape = { layerCount: 2, kvHeadCount: 3, headDim: 2 }

/** Rows whose numbers say where they belong: 1000 row + 100 layer + 10 head + column, values negative. */
function numbered(first: number, length: number): NewRows {
  const side = (sign: number): Float32Array[] =>
    Array.from({ length: shape.layerCount }, (_, layer) =>
      Float32Array.from({ length: shape.kvHeadCount * length * shape.headDim }, (__, index) => {
        const [head, row, column] = [
          Math.floor(index / (length * 2)),
          Math.floor(index / 2) % length,
          index % 2,
        ]
        return sign * (1000 * (first + row) + 100 * layer + 10 * head + column)
      }),
    )
  return { length, keys: side(1), values: side(-1) }
}

/** The row numbers held in slots, checked to be the same in every layer, head and column, in keys and values. */
function rowsIn(cache: NewRows, slots: readonly number[]): number[] {
  return slots.map((slot) => {
    const seen = new Set<number>()
    for (const [layer, keys] of cache.keys.entries()) {
      for (let head = 0; head < shape.kvHeadCount; head++) {
        for (const column of [0, 1]) {
          const at = (head * cache.length + slot) * 2 + column
          const rest = 100 * layer + 10 * head + column
          seen.add(((keys[at] ?? NaN) - rest) / 1000)
          seen.add((-(cache.values[layer]?.[at] ?? NaN) - rest) / 1000)
        }
      }
    }
    expect(seen.size).toBe(1)
    return [...seen][0] ?? NaN
  })
}

function range(count: number, start = 0): number[] {
  return Array.from({ length: count }, (_, index) => start + index)
}

describe('a suffix', () => {
  it('keeps what was written while it grows over several blocks', () => {
    const suffix = new SuffixCache(shape)
    for (const start of [0, 50, 100, 150])
      suffix.append(
        numbered(start + 1, 50),
        range(50).map(() => start),
      )
    expect(suffix.rows.length).toBeGreaterThanOrEqual(200)
    expect(suffix.owners.length).toBe(suffix.rows.length)
    const slots = suffix.owners.flatMap((owner, slot) => (owner === undefined ? [] : [slot]))
    expect(rowsIn(suffix.rows, slots).toSorted((a, b) => a - b)).toEqual(range(200, 1))
    for (const [slot, owner] of suffix.owners.entries()) {
      if (owner !== undefined)
        expect(Math.floor(((rowsIn(suffix.rows, [slot])[0] ?? 0) - 1) / 50) * 50).toBe(owner)
    }
  })

  it('gives freed slots to the next rows and leaves the others alone', () => {
    const suffix = new SuffixCache(shape)
    suffix.append(
      numbered(1, 60),
      range(60).map((row) => row % 3),
    )
    const length = suffix.rows.length
    suffix.release(1)
    expect(suffix.owners.filter((owner) => owner === 1)).toEqual([])
    suffix.append(
      numbered(101, 20),
      range(20).map(() => 7),
    )
    expect(suffix.rows.length).toBe(length)
    const held = (owner: number): number[] =>
      rowsIn(
        suffix.rows,
        suffix.owners.flatMap((own, slot) => (own === owner ? [slot] : [])),
      )
    expect(held(7).toSorted((a, b) => a - b)).toEqual(range(20, 101))
    expect(held(0)).toEqual(range(20).map((index) => 1 + 3 * index))
    expect(held(2)).toEqual(range(20).map((index) => 3 + 3 * index))
  })

  it('does not grow while sequences of bounded length come and go', () => {
    const suffix = new SuffixCache(shape)
    const add = (id: number): void =>
      suffix.append(
        numbered(1, 30),
        range(30).map(() => id),
      )
    add(0)
    for (const id of range(100, 1)) {
      add(id)
      suffix.release(id - 1)
    }
    expect(suffix.rows.length).toBe(64)
  })

  it('moves what is left together when most is free, and keeps nothing when all is', () => {
    const suffix = new SuffixCache(shape)
    suffix.append(
      numbered(1, 200),
      range(200).map((row) => row % 4),
    )
    for (const owner of [0, 1, 3]) suffix.release(owner)
    expect(suffix.rows.length).toBe(64)
    const held = suffix.owners.flatMap((owner, slot) => (owner === 2 ? [slot] : []))
    expect(rowsIn(suffix.rows, held)).toEqual(range(50).map((index) => 3 + 4 * index))
    suffix.release(2)
    expect(suffix.rows.length).toBe(0)
  })

  it('keeps lanes apart: a lane has one owner, and its free slots are behind what was written', () => {
    const suffix = new SuffixCache(shape)
    for (const start of range(40)) suffix.append(numbered(3 * start + 1, 3), [7, 8, start < 20 ? 9 : 10])
    const { size, owners } = suffix.lanes
    for (const [lane, owner] of owners.entries()) {
      const held = suffix.owners.slice(lane * size, (lane + 1) * size)
      const used = held.filter((own) => own !== undefined).length
      expect(held).toEqual(range(size).map((slot) => (slot < used ? owner : undefined)))
    }
    const held = suffix.owners.flatMap((own, slot) => (own === 8 ? [slot] : []))
    expect(rowsIn(suffix.rows, held)).toEqual(range(40).map((index) => 2 + 3 * index))
  })

  it('grows by a quarter, but not beyond what was promised', () => {
    const lengths = [Infinity, 272].map((most) => {
      const suffix = new SuffixCache(shape)
      const owners = range(256).map(() => 0)
      suffix.append(numbered(1, 256), owners, most)
      suffix.append(numbered(257, 1), [0], most)
      return suffix.rows.length
    })
    expect(lengths).toEqual([320, 272])
  })

  it('wants an owner for every row', () => {
    expect(() => new SuffixCache(shape).append(numbered(1, 2), [0])).toThrow(InvariantError)
  })
})

describe('lanes for sequences of given lengths', () => {
  it.each([
    { name: 'equal ones get one lane each, with room to grow', counts: [72, 72, 72], size: 80, count: 3 },
    { name: 'one that just outgrew its lane', counts: [65, 65], size: 80, count: 2 },
    { name: 'beside a long one short ones do not make it wide', counts: [600, 40, 40], size: 80, count: 10 },
    {
      name: 'nothing is promised beyond the rows themselves',
      counts: [33, 33],
      most: 66,
      size: 48,
      count: 2,
    },
    { name: 'one row', counts: [1], size: 16, count: 1 },
  ])('$name', ({ counts, most = Infinity, size, count }) => {
    expect(planLanes(counts, most)).toEqual({ size, count })
  })

  it('never take more than a quarter above the rows, or than lanes of the least length do', () => {
    const random = seededRandom(5)
    for (let round = 0; round < 500; round++) {
      const counts = range(1 + Math.floor(random() * 20)).map(() => 1 + Math.floor(random() ** 3 * 900))
      const rows = counts.reduce((sum, own) => sum + own, 0)
      const least = counts.reduce((sum, own) => sum + Math.ceil(own / laneStep) * laneStep, 0)
      const { size, count } = planLanes(counts, Infinity)
      expect(count).toBe(counts.reduce((sum, own) => sum + Math.ceil(own / size), 0))
      expect(size * count).toBeLessThanOrEqual(Math.max(1.25 * rows, least))
      expect(planLanes(counts, least).size * planLanes(counts, least).count).toBeLessThanOrEqual(least)
    }
  })
})
