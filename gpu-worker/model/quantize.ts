// Rounding weights to 8 and 4 bits, and floats to half precision. Pure: arrays in, arrays out.
import { UserError } from '../../schemas/errors.ts'

/** Elements per scale of the block formats. */
export const blockSize = 32

/** Some rows [.., columns] of a matrix whose codes `target` takes turned: [columns, targetRows], from `firstRow` on. */
export type TurnedRows<Codes> = {
  tile: Float32Array
  columns: number
  target: Codes
  targetRows: number
  firstRow: number
}

/**
 * Rounds each row to int8 with its own scale, value = scale * q with q in [-127, 127].
 * Writes column-major: `target` is [columns, rows] of the whole matrix, as MatMulInteger wants its right side.
 */
export function quantizeRowsInt8(
  { tile, columns, target, targetRows, firstRow }: TurnedRows<Int8Array>,
  scales: Float32Array,
): void {
  const rowCount = tile.length / columns
  for (let row = 0; row < rowCount; row++) {
    const scale = largestMagnitude(tile, row * columns, columns) / 127
    const inverse = scale === 0 ? 0 : 1 / scale
    scales[firstRow + row] = scale
    let to = firstRow + row
    for (let from = row * columns; from < (row + 1) * columns; from++, to += targetRows) {
      target[to] = Math.round((tile[from] ?? 0) * inverse)
    }
  }
}

/**
 * Rounds rows to blocks of 32 in the layout of com.microsoft.MatMulNBits: quants [rows, blocks, 32 * bits / 8],
 * low nibble first, implicit zero point 2^(bits-1); scales [rows, blocks]. A short last block is padded with zeros.
 * The value of largest magnitude takes the one code that has no positive twin (-8 or -128), which uses the full range.
 */
export function quantizeRowsBlock({
  tile,
  columns,
  bits,
}: {
  tile: Float32Array
  columns: number
  bits: 4 | 8
}): { quants: Uint8Array; scales: Float32Array } {
  const rowCount = tile.length / columns
  const blockCount = Math.ceil(columns / blockSize)
  const bytesPerBlock = (blockSize * bits) / 8
  const zero = 2 ** (bits - 1)
  const quants = new Uint8Array(rowCount * blockCount * bytesPerBlock)
  const scales = new Float32Array(rowCount * blockCount)
  const codes = new Uint8Array(blockSize)
  for (let block = 0; block < rowCount * blockCount; block++) {
    const firstColumn = (block % blockCount) * blockSize
    const start = Math.floor(block / blockCount) * columns + firstColumn
    const length = Math.min(blockSize, columns - firstColumn)
    scales[block] = encodeBlock({ tile, start, length, zero, codes })
    packCodes({ codes, bits, target: quants, at: block * bytesPerBlock })
  }
  return { quants, scales }
}

/**
 * Rounds rows to the same blocks, for DequantizeLinear: `target` is [columns, rows] of the whole matrix, codes from -8 to 7,
 * two a byte, low nibble first; `scales` [blocks, rows] are in steps of the row, so that what comes out is within +-127 and
 * `rowScales` [rows] say what a step is.
 */
export function quantizeRowsInt4(
  { tile, columns, target, targetRows, firstRow }: TurnedRows<Uint8Array>,
  { scales, rowScales }: { scales: Float32Array; rowScales: Float32Array },
): void {
  const [zero, blockCount] = [8, Math.ceil(columns / blockSize)]
  const codes = new Uint8Array(blockSize)
  const ofBlocks = new Float32Array(blockCount)
  for (let from = 0, row = firstRow; from < tile.length; from += columns, row++) {
    for (let block = 0; block < blockCount; block++) {
      const firstColumn = block * blockSize
      const length = Math.min(blockSize, columns - firstColumn)
      ofBlocks[block] = encodeBlock({ tile, start: from + firstColumn, length, zero, codes })
      for (let index = 0; index < length; index++) {
        const at = (firstColumn + index) * targetRows + row
        target[at >> 1] =
          (target[at >> 1] ?? 0) | ((((codes[index] ?? 0) - zero) & 15) << (at % 2 === 0 ? 0 : 4))
      }
    }
    // A block's largest code is -8.
    const step = Math.fround((largestMagnitude(ofBlocks, 0, blockCount) * zero) / 127)
    rowScales[row] = step
    for (const [block, scale] of ofBlocks.entries())
      scales[block * targetRows + row] = step === 0 ? 0 : scale / step
  }
}

/** Fills `codes` and returns the scale of one block. */
function encodeBlock({
  tile,
  start,
  length,
  zero,
  codes,
}: {
  tile: Float32Array
  start: number
  length: number
  zero: number
  codes: Uint8Array
}): number {
  let extreme = 0
  for (let index = start; index < start + length; index++) {
    const value = tile[index] ?? 0
    if (Math.abs(value) > Math.abs(extreme)) extreme = value
  }
  const scale = Math.fround(extreme / -zero)
  const inverse = scale === 0 ? 0 : 1 / scale
  codes.fill(zero)
  for (let index = 0; index < length; index++) {
    const code = Math.round((tile[start + index] ?? 0) * inverse) + zero
    // The scale of the smallest floats is rounded so far that a code may leave the range on either side.
    codes[index] = Math.max(0, Math.min(2 * zero - 1, code))
  }
  return scale
}

function packCodes({
  codes,
  bits,
  target,
  at,
}: {
  codes: Uint8Array
  bits: 4 | 8
  target: Uint8Array
  at: number
}): void {
  if (bits === 8) {
    target.set(codes, at)
    return
  }
  for (let pair = 0; pair < codes.length / 2; pair++) {
    target[at + pair] = (codes[2 * pair] ?? 0) | ((codes[2 * pair + 1] ?? 0) << 4)
  }
}

function largestMagnitude(values: Float32Array, start: number, length: number): number {
  let largest = 0
  for (let index = start; index < start + length; index++) {
    const magnitude = Math.abs(values[index] ?? 0)
    if (magnitude > largest) largest = magnitude
  }
  return largest
}

/** What is rounded beyond the largest number of half precision, 65504. */
const float16Overflow = 65_520

/** Half precision of what is in its range. Throws UserError that names the tensor: infinities make every answer nonsense. */
export function expectFloat16(values: Float32Array<ArrayBuffer>, name: string): Uint16Array<ArrayBuffer> {
  const largest = largestMagnitude(values, 0, values.length)
  if (largest >= float16Overflow) {
    throw new UserError(
      `the tensor ${name} holds ${largest}, beyond half precision (65504); compile with --weights fp32`,
    )
  }
  return toFloat16(values)
}

/** Rounds float32 to half precision, nearest even; beyond the range it becomes infinity. */
export function toFloat16(values: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let index = 0; index < values.length; index++)
    halves[index] = float16Bits(bits[index] ?? 0, values[index] ?? 0)
  return halves
}

function float16Bits(bits: number, value: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fff_ffff
  if (magnitude > 0x7f80_0000) return sign | 0x7e00 // NaN
  if (magnitude >= 0x4780_0000) return sign | 0x7c00 // 65536 and more
  if (magnitude < 0x3880_0000) return sign | roundHalfEven(Math.abs(value) * 2 ** 24) // subnormal: multiples of 2^-24
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
  return sign | ((rounded - 0x3800_0000) >>> 13)
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

/**
 * Relative error that 8-bit activations with one scale a token bring into a product, for inputs that are a normalised
 * vector times `gains` (one per channel, the weight of the norm before the product).
 * Sampled on 64 Gaussian vectors from a fixed seed; the product's own weights are taken as independent of the error.
 */
export function activationError(gains: Float32Array): number {
  const sampleCount = 64
  const random = gaussianSource(1)
  let errorSquares = 0
  let squares = 0
  const sample = new Float32Array(gains.length)
  for (let count = 0; count < sampleCount; count++) {
    for (let index = 0; index < gains.length; index++) sample[index] = random() * (gains[index] ?? 0)
    const scale = largestMagnitude(sample, 0, sample.length) / 127
    if (scale === 0) continue
    for (const value of sample) {
      errorSquares += (value - Math.round(value / scale) * scale) ** 2
      squares += value ** 2
    }
  }
  return squares === 0 ? 0 : Math.sqrt(errorSquares / squares)
}

/** Box-Muller over a 32-bit mixing generator (mulberry32); the same seed gives the same numbers everywhere. */
function gaussianSource(seed: number): () => number {
  let state = seed >>> 0
  const uniform = (): number => {
    state = (state + 0x6d2b_79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}
