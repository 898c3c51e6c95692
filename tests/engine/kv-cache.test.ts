// The cache's memory layout, seen as a list of rows per layer and head.
import { describe, expect, it } from 'vitest'
import { SuffixCache } from '../../gpu-worker/engine/kv-cache.ts'
import type { CacheRows, NewRows } from '../../gpu-worker/engine/kv-cache.ts'
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
function rowsIn(cache: CacheRows, slots: readonly number[]): number[] {
  return slots.map((slot) => {
    const seen = new Set<number>()
    for (const [layer, keys] of cache.keys.entries()) {
      for (let head = 0; head < shape.kvHeadCount; head++) {
        for (const column of [0, 1]) {
          const at = (head * cache.length + slot) * 2 + column
          const rest = 100 * layer + 10 * head + column
          seen.add(((keys[at] ?? NaN) - rest) / 1000)
          const turned = (head * 2 + column) * cache.length + slot
          seen.add((-(cache.values[layer]?.[turned] ?? NaN) - rest) / 1000)
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

  it('grows by a quarter, but not beyond what was promised', () => {
    const lengths = [Infinity, 260].map((most) => {
      const suffix = new SuffixCache(shape)
      suffix.append(
        numbered(1, 256),
        range(256).map(() => 0),
        most,
      )
      suffix.append(numbered(257, 1), [0], most)
      return suffix.rows.length
    })
    expect(lengths).toEqual([320, 320])
    const large = new SuffixCache(shape)
    for (const first of [0, 1024])
      large.append(
        numbered(first + 1, 1024 >> ((first >> 10) * 10)),
        range(1024 >> ((first >> 10) * 10)).map(() => 0),
        1030,
      )
    expect(large.rows.length).toBe(1088)
  })

  it('wants an owner for every row', () => {
    expect(() => new SuffixCache(shape).append(numbered(1, 2), [0])).toThrow(InvariantError)
  })
})
