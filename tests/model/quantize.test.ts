// Rounding of weights: half precision against the language's own, 8 and 4 bits against their error bounds.
import { describe, expect, it } from 'vitest'
import {
  activationError,
  blockSize,
  expectFloat16,
  quantizeRowsBlock,
  quantizeRowsInt8,
  toFloat16,
} from '../../gpu-worker/model/quantize.ts'
import { UserError } from '../../schemas/errors.ts'
import { seededUniform } from '../helpers/random-checkpoint.ts'

function floats(count: number, seed: number, spread = 1): Float32Array<ArrayBuffer> {
  const uniform = seededUniform(seed)
  return Float32Array.from({ length: count }, () => spread * (uniform() + uniform() - 1))
}

describe('half precision', () => {
  const expectSame = (values: Float32Array<ArrayBuffer>): void => {
    const [seen, expected] = [toFloat16(values), new Uint16Array(Float16Array.from(values).buffer)]
    const wrong = values.findIndex((value, index) => !Number.isNaN(value) && seen[index] !== expected[index])
    expect(wrong, `${values[wrong]} becomes ${seen[wrong]}, expected ${expected[wrong]}`).toBe(-1)
  }

  it('is exact for every half-precision number and rounds halfway between each two to even', () => {
    const halves = Float32Array.from(
      new Float16Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer),
    )
    expectSame(halves)
    const between = halves.slice(0, 0x7c00).map((value, index) => (value + (halves[index + 1] ?? 0)) / 2)
    expectSame(between)
    const nudged = new Float32Array(
      new Uint32Array(between.buffer).map((bits, index) => bits + (index % 2 === 0 ? 1 : -1)).buffer,
    )
    expectSame(nudged)
  })

  it.each([1e-9, 1e-7, 6e-8, 6e-5, 1e-3, 1, 1000, 65_504, 200_000, 1e30])(
    'agrees for random numbers around %f',
    (spread) => {
      expectSame(floats(20_000, 3, spread))
    },
  )

  it('knows the edges', () => {
    expectSame(
      Float32Array.of(
        0,
        -0,
        65_504,
        65_519.99,
        65_520,
        -65_520,
        65_536,
        Infinity,
        -Infinity,
        2 ** -24,
        2 ** -25,
        2 ** -25 * 1.0001,
        2 ** -14,
        1e-45,
      ),
    )
    expect((toFloat16(Float32Array.of(NaN))[0] ?? 0) & 0x7fff).toBeGreaterThan(0x7c00)
  })

  it('reads a view at its own place', () => {
    const values = floats(100, 1)
    expect(toFloat16(values.subarray(30, 50))).toEqual(toFloat16(values).slice(30, 50))
  })
})

describe('int8 rows', () => {
  const [rows, columns] = [7, 33]
  const tile = floats(rows * columns, 2)
  tile.fill(0, columns, 2 * columns)

  const quantize = (pieces: number[]): { target: Int8Array; scales: Float32Array } => {
    const [target, scales] = [new Int8Array(rows * columns), new Float32Array(rows)]
    let firstRow = 0
    for (const count of pieces) {
      quantizeRowsInt8(
        {
          tile: tile.slice(firstRow * columns, (firstRow + count) * columns),
          columns,
          target,
          targetRows: rows,
          firstRow,
        },
        scales,
      )
      firstRow += count
    }
    return { target, scales }
  }

  it('come back within half a step, column-major, zero rows as zero', () => {
    const { target, scales } = quantize([rows])
    for (const [index, value] of tile.entries()) {
      const [row, column] = [Math.floor(index / columns), index % columns]
      const code = target[column * rows + row] ?? NaN
      expect(Math.abs(code)).toBeLessThanOrEqual(127)
      expect(Math.abs(code * (scales[row] ?? NaN) - value)).toBeLessThanOrEqual((scales[row] ?? 0) * 0.5001)
    }
    expect(Math.max(...target.map(Math.abs))).toBe(127)
  })

  it('do not depend on how they were cut into tiles', () => {
    expect(quantize([3, 1, 3])).toEqual(quantize([rows]))
  })
})

it('beyond half precision a weight is refused by name, since every answer would be infinite', () => {
  const refuse = (value: number) => () => expectFloat16(Float32Array.of(1, value), 'model.embed')
  expect(refuse(-70_000)).toThrow(/model\.embed holds 70000, beyond half precision.*--weights fp32/)
  expect(refuse(65_520)).toThrow(UserError)
  expect(refuse(65_519)()).toEqual(Uint16Array.of(0x3c00, 0x7bff))
})

describe.each([4, 8] as const)('%i-bit blocks', (bits) => {
  const zero = 2 ** (bits - 1)

  it.each([32, 64, 33, 50, 1])('%i columns come back within one step of their block', (columns) => {
    const rows = 5
    const tile = floats(rows * columns, 4)
    tile.fill(0, 0, Math.min(columns, blockSize))
    const { quants, scales } = quantizeRowsBlock({ tile, columns, bits })
    const blocks = Math.ceil(columns / blockSize)
    expect(quants.length).toBe((rows * blocks * blockSize * bits) / 8)
    for (let row = 0; row < rows; row++) {
      for (let padded = 0; padded < blocks * blockSize; padded++) {
        const at = row * blocks * blockSize + padded
        const code =
          bits === 8 ? (quants[at] ?? NaN) : ((quants[at >> 1] ?? NaN) >> (at % 2 === 0 ? 0 : 4)) & 15
        const scale = scales[Math.floor(at / blockSize)] ?? NaN
        const value = padded < columns ? (tile[row * columns + padded] ?? NaN) : 0
        // The twin of the extreme value has no code of its own and loses up to a whole step; the rest half of one.
        expect(Math.abs((code - zero) * scale - value)).toBeLessThanOrEqual(Math.abs(scale) * 1.0001)
        if (padded >= columns) expect(code).toBe(zero)
      }
    }
  })

  it('of the smallest floats there are stay codes, and none spoils its neighbour', () => {
    const least = 2 ** -149
    for (let extreme = 1; extreme < 300; extreme++) {
      for (const sign of [1, -1]) {
        const tile = Float32Array.from({ length: blockSize }, (_, index) => (index % 3 === 0 ? least : 0))
        tile[4] = sign * extreme * least
        const { quants, scales } = quantizeRowsBlock({ tile, columns: blockSize, bits })
        for (const [column, value] of tile.entries()) {
          const code =
            bits === 8
              ? (quants[column] ?? NaN)
              : ((quants[column >> 1] ?? NaN) >> (column % 2 === 0 ? 0 : 4)) & 15
          expect(Math.abs((code - zero) * (scales[0] ?? NaN) - value) / least).toBeLessThanOrEqual(extreme)
        }
      }
    }
  })

  it('keep the value of largest magnitude exactly', () => {
    const tile = floats(blockSize, 6)
    tile[5] = -1.75
    const { quants, scales } = quantizeRowsBlock({ tile, columns: blockSize, bits })
    const code = bits === 8 ? quants[5] : ((quants[2] ?? 0) >> 4) & 15
    expect(((code ?? 0) - zero) * (scales[0] ?? 0)).toBe(-1.75)
  })
})

describe('the error of 8-bit inputs', () => {
  it('is under one in a hundred for equal channels and grows with outliers', () => {
    const equal = activationError(new Float32Array(512).fill(0.3))
    const outlier = activationError(
      Float32Array.from({ length: 512 }, (_, index) => (index === 7 ? 30 : 0.3)),
    )
    expect(equal).toBeGreaterThan(0.004)
    expect(equal).toBeLessThan(0.01)
    expect(outlier).toBeGreaterThan(2 * equal)
    expect(activationError(new Float32Array(8))).toBe(0)
  })
})
