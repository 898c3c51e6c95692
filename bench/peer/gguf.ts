// Writes GGUF files, version 3, a matrix at a time: what llama.cpp reads. Knows the file format, not models.
import { open } from 'node:fs/promises'
import { toFloat16 } from '../../gpu-worker/model/quantize.ts'
import { forEachTile } from '../../gpu-worker/model/matrix.ts'
import type { Matrix } from '../../gpu-worker/model/matrix.ts'

/** Numbers of the format's tensor types. */
const tensorTypes = { f32: 0, f16: 1, q4_0: 2, q8_0: 8 } as const
export type TensorType = keyof typeof tensorTypes

export type GgufValue =
  | { kind: 'u32' | 'i32' | 'f32'; value: number }
  | { kind: 'bool'; value: boolean }
  | { kind: 'string'; value: string }
  | { kind: 'strings'; value: readonly string[] }
  | { kind: 'f32s' | 'i32s'; value: readonly number[] }

export type GgufTensor = {
  name: string
  type: TensorType
  /** As in the checkpoint, rows first; the file has them the other way round. */
  shape: readonly number[]
  matrix: Matrix
}

export type Gguf = { fields: Readonly<Record<string, GgufValue>>; tensors: readonly GgufTensor[] }

const alignment = 32

/** Streams the tensors into a file; no more than a tile of one is in memory. */
export async function writeGguf(path: string, { fields, tensors }: Gguf): Promise<void> {
  const file = await open(path, 'w')
  try {
    let position = 0
    const put = async (bytes: Uint8Array): Promise<void> => {
      await file.write(bytes, 0, bytes.byteLength, position)
      position += bytes.byteLength
    }
    await put(encodeHeader({ fields, tensors }))
    for (const { type, matrix } of tensors) {
      await put(new Uint8Array(paddedTo(position) - position))
      await forEachTile(matrix, (tile) => put(encodeNumbers(tile, type)))
    }
  } finally {
    await file.close()
  }
}

/** Magic, version, counts, fields, and of each tensor its name, shape, type and place. */
function encodeHeader({ fields, tensors }: Gguf): Buffer {
  const entries = Object.entries(fields)
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(entries.length)]
  for (const [key, value] of entries) parts.push(string(key), encodeValue(value))
  let offset = 0
  for (const { name, type, shape, matrix } of tensors) {
    const sizes = shape.toReversed()
    parts.push(string(name), u32(sizes.length), ...sizes.map(u64), u32(tensorTypes[type]), u64(offset))
    offset = paddedTo(offset + byteCountOf(type, matrix.rows * matrix.columns))
  }
  const header = Buffer.concat(parts)
  return Buffer.concat([header, Buffer.alloc(paddedTo(header.length) - header.length)])
}

/** Numbers as a tensor type holds them. The block types take 32 numbers a block, all of one row. */
export function encodeNumbers(numbers: Float32Array<ArrayBuffer>, type: TensorType): Uint8Array {
  switch (type) {
    case 'f32':
      return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
    case 'f16':
      return new Uint8Array(toFloat16(numbers).buffer)
    case 'q4_0':
    case 'q8_0':
      return encodeBlocks(numbers, type)
  }
}

const blockSize = 32
const blockBytes = { q4_0: 2 + blockSize / 2, q8_0: 2 + blockSize }

/**
 * Each block is a scale in half precision, then its codes. q8_0: 127 times the number by the largest magnitude. q4_0:
 * codes of 4 bits around 8, the number of largest magnitude gets -8; the low halves of the bytes hold the first 16.
 */
function encodeBlocks(numbers: Float32Array<ArrayBuffer>, type: 'q4_0' | 'q8_0'): Uint8Array {
  const count = numbers.length / blockSize
  const scales = new Float32Array(count)
  const bytes = new Uint8Array(count * blockBytes[type])
  for (let block = 0; block < count; block++) {
    const values = numbers.subarray(block * blockSize, (block + 1) * blockSize)
    const extreme = extremeOf(values)
    const scale = type === 'q4_0' ? extreme / -8 : Math.abs(extreme) / 127
    scales[block] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    const at = block * blockBytes[type] + 2
    for (let index = 0; index < blockSize; index++) {
      const scaled = (values[index] ?? 0) * inverse
      if (type === 'q8_0') {
        bytes[at + index] = Math.round(scaled)
        continue
      }
      const code = Math.min(15, Math.trunc(scaled + 8.5))
      const byte = at + (index % 16)
      bytes[byte] = (bytes[byte] ?? 0) | (index < 16 ? code : code << 4)
    }
  }
  const halves = new DataView(bytes.buffer)
  for (const [block, half] of toFloat16(scales).entries())
    halves.setUint16(block * blockBytes[type], half, true)
  return bytes
}

function extremeOf(values: Float32Array): number {
  let extreme = 0
  for (const value of values) if (Math.abs(value) > Math.abs(extreme)) extreme = value
  return extreme
}

function byteCountOf(type: TensorType, count: number): number {
  if (type === 'f32') return count * 4
  return type === 'f16' ? count * 2 : (count / blockSize) * blockBytes[type]
}

function encodeValue(value: GgufValue): Buffer {
  switch (value.kind) {
    case 'u32':
      return Buffer.concat([u32(4), u32(value.value)])
    case 'i32':
      return Buffer.concat([u32(5), i32(value.value)])
    case 'f32':
      return Buffer.concat([u32(6), f32(value.value)])
    case 'bool':
      return Buffer.concat([u32(7), Buffer.of(value.value ? 1 : 0)])
    case 'string':
      return Buffer.concat([u32(8), string(value.value)])
    case 'strings':
      return list(8, value.value.map(string))
    case 'f32s':
      return list(6, value.value.map(f32))
    case 'i32s':
      return list(5, value.value.map(i32))
  }
}

function list(elementType: number, elements: readonly Buffer[]): Buffer {
  return Buffer.concat([u32(9), u32(elementType), u64(elements.length), ...elements])
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([u64(bytes.length), bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function paddedTo(position: number): number {
  return Math.ceil(position / alignment) * alignment
}
