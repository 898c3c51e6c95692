// Rotary tables against numbers computed with the released code's order of rounding, at the first 1000 positions.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { rotaryTables, roundToBfloat16 } from '../../gpu-worker/engine/rotary.ts'

type GoldenTable = {
  theta: number
  mode: 'fp32' | 'fp32_from_bf16_inv' | 'bf16'
  position: number
  cos: number[]
  sin: number[]
}

const golden = JSON.parse(readFileSync(new URL('./rotary-golden.json', import.meta.url), 'utf8')) as {
  indices: number[]
  tables: GoldenTable[]
}

const headDim = 128

function frequencies(theta: number): number[] {
  return Array.from({ length: headDim / 2 }, (_, index) => Math.fround(1 / theta ** ((2 * index) / headDim)))
}

describe('rotary tables', () => {
  it.each(golden.tables)('theta $theta, $mode, position $position', ({ theta, mode, position, cos, sin }) => {
    const inverseFrequencies = mode === 'fp32' ? frequencies(theta) : frequencies(theta).map(roundToBfloat16)
    const tables = rotaryTables(
      { theta, mode: mode === 'bf16' ? 'reference-bf16' : 'fp32', inverseFrequencies },
      position + 1,
    )
    for (const [at, index] of golden.indices.entries()) {
      expect(tables.cos[(position * headDim) / 2 + index]).toBeCloseTo(cos[at] ?? NaN, 5)
      expect(tables.sin[(position * headDim) / 2 + index]).toBeCloseTo(sin[at] ?? NaN, 5)
    }
  })

  it('does not change an entry when the table grows', () => {
    const rotary = { theta: 10_000, mode: 'fp32' as const, inverseFrequencies: frequencies(10_000) }
    const [small, large] = [rotaryTables(rotary, 5), rotaryTables(rotary, 300)]
    expect(large.cos.slice(0, small.cos.length)).toEqual(small.cos)
    expect(large.sin.slice(0, small.sin.length)).toEqual(small.sin)
  })

  it.each([
    [256, 256],
    [257, 256],
    [259, 260],
    [258, 258],
    [-1.00390625, -1],
    [1.01171875, 1.015625],
    [0, 0],
  ])('rounds %f to the bfloat16 %f, ties to even', (value, rounded) => {
    expect(roundToBfloat16(value)).toBe(rounded)
  })
})
