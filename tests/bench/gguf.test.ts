// The GGUF writer of the comparison with llama.cpp, read back by a reader of its own.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encodeNumbers, writeGguf } from '../../bench/peer/gguf.ts'
import type { TensorType } from '../../bench/peer/gguf.ts'
import type { Matrix } from '../../gpu-worker/model/matrix.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

describe('blocks of 32 numbers', () => {
  const random = seededRandom(5)
  const numbers = Float32Array.from({ length: 128 }, () => random() * 2 - 1)

  test.each([
    { type: 'f32', error: 0 },
    { type: 'f16', error: 2 ** -11 },
    // Half a step of 1/127 and of 1/8 of the largest number, and a whole one where -8 has no twin.
    { type: 'q8_0', error: 0.0045 },
    { type: 'q4_0', error: 0.126 },
  ] as const)('$type gives every number back within its step', ({ type, error }) => {
    const bytes = encodeNumbers(numbers, type)
    const restored = decode(bytes, type)
    expect(restored).toHaveLength(numbers.length)
    const largest = Math.max(...restored.map((value, index) => Math.abs(value - (numbers[index] ?? 0))))
    expect(largest).toBeLessThanOrEqual(error)
  })

  test('a block of zeros stays zeros', () => {
    for (const type of ['q4_0', 'q8_0'] as const)
      expect(decode(encodeNumbers(new Float32Array(32), type), type)).toEqual(
        Array.from({ length: 32 }, () => 0),
      )
  })
})

test('A file has its fields, and each tensor where its header says', async () => {
  const path = join(await tempFolder(), 'a.gguf')
  const first = matrixOf(3, 32)
  const second = matrixOf(2, 64)
  await writeGguf(path, {
    fields: {
      'general.name': { kind: 'string', value: 'ö' },
      'sizes': { kind: 'i32s', value: [1, -2] },
      'is': { kind: 'bool', value: true },
    },
    tensors: [
      { name: 'first', type: 'q8_0', shape: [3, 32], matrix: first.matrix },
      { name: 'second', type: 'f32', shape: [2, 8, 8], matrix: second.matrix },
    ],
  })
  const { fields, tensors, data } = readGguf(await readFile(path))
  expect(fields).toEqual({ 'general.name': 'ö', 'sizes': [1, -2], 'is': 1 })
  expect(tensors).toMatchObject([
    { name: 'first', sizes: [32, 3], type: 8 },
    { name: 'second', sizes: [8, 8, 2], type: 0 },
  ])
  const [one, two] = tensors.map(({ offset }) => data.subarray(offset))
  expect(one?.subarray(0, 102)).toEqual(Buffer.from(encodeNumbers(first.numbers, 'q8_0')))
  expect(decode(two?.subarray(0, 512) ?? new Uint8Array(), 'f32')).toEqual([...second.numbers])
})

function matrixOf(rows: number, columns: number): { matrix: Matrix; numbers: Float32Array<ArrayBuffer> } {
  const numbers = Float32Array.from({ length: rows * columns }, (_, index) => index)
  const readRows = (at: number, count: number) =>
    Promise.resolve(numbers.slice(at * columns, (at + count) * columns))
  return { matrix: { name: 'm', rows, columns, readRows }, numbers }
}

/** From the format's own words: a half-precision scale, then codes. */
function decode(bytes: Uint8Array, type: TensorType): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (type === 'f32')
    return Array.from({ length: bytes.length / 4 }, (_, at) => view.getFloat32(at * 4, true))
  if (type === 'f16')
    return Array.from({ length: bytes.length / 2 }, (_, at) => half(view.getUint16(at * 2, true)))
  const blockBytes = type === 'q4_0' ? 18 : 34
  return Array.from({ length: bytes.length / blockBytes }, (_, block) => {
    const at = block * blockBytes
    const scale = half(view.getUint16(at, true))
    return Array.from({ length: 32 }, (__, index) => {
      if (type === 'q8_0') return scale * view.getInt8(at + 2 + index) + 0
      const pair = view.getUint8(at + 2 + (index % 16))
      return scale * ((index < 16 ? pair & 15 : pair >> 4) - 8) + 0
    })
  }).flat()
}

function half(bits: number): number {
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15)
  return (bits & 0x8000) === 0 ? size : -size
}

function readGguf(bytes: Buffer): {
  fields: Record<string, unknown>
  tensors: { name: string; sizes: number[]; type: number; offset: number }[]
  data: Buffer
} {
  let at = 0
  const u32 = (): number => bytes.readUInt32LE((at += 4) - 4)
  const u64 = (): number => Number(bytes.readBigUInt64LE((at += 8) - 8))
  const text = (): string => {
    const length = u64()
    return bytes.subarray(at, (at += length)).toString()
  }
  const value = (type: number): unknown => {
    if (type === 8) return text()
    if (type === 7) return bytes[at++]
    if (type === 5) return bytes.readInt32LE((at += 4) - 4)
    if (type !== 9) throw new Error(`type ${type}`)
    const element = u32()
    return Array.from({ length: u64() }, () => value(element))
  }
  expect(bytes.subarray(0, 4).toString()).toBe('GGUF')
  at = 4
  expect(u32()).toBe(3)
  const [tensorCount, fieldCount] = [u64(), u64()]
  const fields = Object.fromEntries(Array.from({ length: fieldCount }, () => [text(), value(u32())]))
  const tensors = Array.from({ length: tensorCount }, () => ({
    name: text(),
    sizes: Array.from({ length: u32() }, u64),
    type: u32(),
    offset: u64(),
  }))
  return { fields, tensors, data: bytes.subarray(Math.ceil(at / 32) * 32) }
}
