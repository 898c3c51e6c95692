// Reads and writes .safetensors files. Headers come from outside and are checked before anything is believed.
// Knows nothing of architectures.
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../schemas/errors.ts'

/** Largest header accepted, in bytes; the cap of the safetensors reference implementation. */
const maxHeaderBytes = 100_000_000
const maxTensorCount = 200_000

const bytesPerElement = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const
export type StoredType = keyof typeof bytesPerElement

export type StoredTensor = {
  name: string
  storedType: StoredType
  shape: readonly number[]
  /** Byte range in the file, absolute. */
  begin: number
  end: number
}

export type SafetensorsFile = {
  path: string
  sizeBytes: number
  metadata: Readonly<Record<string, string>>
  tensors: ReadonlyMap<string, StoredTensor>
  /** Reads bytes [begin, end) of one tensor, counted from its own start. */
  readBytes(tensor: StoredTensor, begin: number, end: number): Promise<Buffer>
  close(): Promise<void>
}

const HeaderEntry = z.object({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()).max(16),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
})

/**
 * Opens a file and checks its header: sizes, types, bounds and overlaps.
 * Throws UserError naming the file and the first thing that is wrong.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await open(path, 'r').catch((cause: unknown) => {
    throw new UserError(`cannot open the weights file ${path}; check that it was downloaded completely`, {
      cause,
    })
  })
  try {
    const sizeBytes = (await handle.stat()).size
    const { header, dataStart } = await readHeader(handle, path, sizeBytes)
    const tensors = checkTensors({ header, dataStart, sizeBytes, path })
    const readBytes = (tensor: StoredTensor, begin: number, end: number): Promise<Buffer> =>
      readExactly({ handle, path, position: tensor.begin + begin, byteCount: end - begin })
    const metadata = z
      .record(z.string(), z.string())
      .catch({})
      .parse(header['__metadata__'] ?? {})
    return { path, sizeBytes, metadata, tensors, readBytes, close: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function readHeader(
  handle: FileHandle,
  path: string,
  sizeBytes: number,
): Promise<{ header: Record<string, unknown>; dataStart: number }> {
  const name = basename(path)
  if (sizeBytes < 10) {
    throw new UserError(
      `${name} is ${sizeBytes} bytes long, too short for a safetensors file; download it again`,
    )
  }
  const lengthField = await readExactly({ handle, path, position: 0, byteCount: 8 })
  const headerBytes = Number(lengthField.readBigUInt64LE())
  if (headerBytes > maxHeaderBytes || headerBytes + 8 > sizeBytes) {
    throw new UserError(
      `${name} says its header has ${headerBytes} bytes, but the file has ${sizeBytes} (and ${maxHeaderBytes} is the most accepted); ` +
        'it is cut short or is not a safetensors file (a git-lfs pointer?); download it again',
    )
  }
  const text = (await readExactly({ handle, path, position: 8, byteCount: headerBytes })).toString('utf8')
  let header: unknown
  try {
    header = JSON.parse(text)
  } catch (cause) {
    throw new UserError(`the header of ${name} is not JSON; the file is damaged, download it again`, {
      cause,
    })
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) {
    throw new UserError(`the header of ${name} is not a JSON object; the file is damaged, download it again`)
  }
  return { header: Object.fromEntries(Object.entries(header)), dataStart: 8 + headerBytes }
}

function checkTensors({
  header,
  dataStart,
  sizeBytes,
  path,
}: {
  header: Record<string, unknown>
  dataStart: number
  sizeBytes: number
  path: string
}): Map<string, StoredTensor> {
  const file = basename(path)
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__')
  if (entries.length > maxTensorCount) {
    throw new UserError(`${file} lists ${entries.length} tensors; at most ${maxTensorCount} are accepted`)
  }
  const tensors = entries.map(([name, value]) => checkTensor({ name, value, dataStart, sizeBytes, file }))
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end)
  checkNeighbours({ tensors, dataStart, sizeBytes, file })
  return new Map(tensors.map((tensor) => [tensor.name, tensor]))
}

/** The format has no gaps, nor anything behind the last tensor: one is a tensor that the header lost, or names twice. */
function checkNeighbours({
  tensors,
  dataStart,
  sizeBytes,
  file,
}: {
  tensors: readonly StoredTensor[]
  dataStart: number
  sizeBytes: number
  file: string
}): void {
  let end = dataStart
  for (const [index, tensor] of tensors.entries()) {
    if (tensor.begin < end) {
      throw new UserError(
        `in ${file} the tensors ${tensors[index - 1]?.name} and ${tensor.name} overlap; the file is damaged`,
      )
    }
    if (tensor.begin > end) {
      throw new UserError(
        `in ${file} ${tensor.begin - end} bytes before the tensor ${tensor.name} belong to none; the file is damaged, download it again`,
      )
    }
    end = tensor.end
  }
  if (end < sizeBytes) {
    throw new UserError(
      `in ${file} ${sizeBytes - end} bytes behind the last tensor belong to none; the file is damaged, download it again`,
    )
  }
}

function checkTensor({
  name,
  value,
  dataStart,
  sizeBytes,
  file,
}: {
  name: string
  value: unknown
  dataStart: number
  sizeBytes: number
  file: string
}): StoredTensor {
  const parsed = HeaderEntry.safeParse(value)
  if (!parsed.success) {
    throw new UserError(
      `in ${file} the entry of ${name} is not {dtype, shape, data_offsets}; the file is damaged`,
    )
  }
  const { dtype, shape, data_offsets: offsets } = parsed.data
  if (!isStoredType(dtype)) {
    throw new UserError(`in ${file} the tensor ${name} has the type ${dtype}, which is not supported`)
  }
  const elementCount = shape.reduce((product, size) => product * size, 1)
  const [begin, end] = [dataStart + offsets[0], dataStart + offsets[1]]
  if (!Number.isSafeInteger(elementCount) || end - begin !== elementCount * bytesPerElement[dtype]) {
    throw new UserError(
      `in ${file} the tensor ${name} of shape [${shape.join(', ')}] and type ${dtype} has ${end - begin} bytes, ` +
        `expected ${elementCount * bytesPerElement[dtype]}; the file is damaged`,
    )
  }
  if (end > sizeBytes) {
    throw new UserError(
      `in ${file} the tensor ${name} ends at byte ${end}, but the file has ${sizeBytes}; it is cut short, download it again`,
    )
  }
  return { name, storedType: dtype, shape, begin, end }
}

function isStoredType(text: string): text is StoredType {
  return Object.hasOwn(bytesPerElement, text)
}

async function readExactly({
  handle,
  path,
  position,
  byteCount,
}: {
  handle: FileHandle
  path: string
  position: number
  byteCount: number
}): Promise<Buffer> {
  // A fresh buffer at offset 0, so that typed-array views on it are aligned.
  const buffer = Buffer.from(new ArrayBuffer(byteCount))
  let filled = 0
  while (filled < byteCount) {
    // Linux reads at most 2 GiB at a time.
    const wanted = Math.min(byteCount - filled, 1 << 30)
    const { bytesRead } = await handle.read(buffer, filled, wanted, position + filled)
    if (bytesRead === 0)
      throw new UserError(`${path} ended while reading byte ${position + filled}; was it changed?`)
    filled += bytesRead
  }
  return buffer
}

/** Widens F32, F16 or BF16 bytes to float32. Throws UserError for any other type. */
export function decodeFloats(bytes: Buffer, storedType: StoredType, name: string): Float32Array<ArrayBuffer> {
  if (storedType === 'F32') {
    return new Float32Array(
      bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer,
    ) // Buffers made by readExactly sit on an ArrayBuffer
  }
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
  const floats = new Float32Array(halves.length)
  if (storedType === 'BF16') {
    // bfloat16 is the upper half of a float32.
    const bits = new Uint32Array(floats.buffer)
    for (let index = 0; index < halves.length; index++) bits[index] = (halves[index] ?? 0) << 16
    return floats
  }
  if (storedType === 'F16') {
    const table = float16Table()
    for (let index = 0; index < halves.length; index++) floats[index] = table[halves[index] ?? 0] ?? 0
    return floats
  }
  throw new UserError(`the tensor ${name} has the type ${storedType}; weights must be F32, F16 or BF16`)
}

let cachedFloat16Table: Float32Array | undefined

/** All 65,536 half-precision values; a look-up is several times faster than decoding bits one by one. */
function float16Table(): Float32Array {
  if (cachedFloat16Table !== undefined) return cachedFloat16Table
  const table = new Float32Array(65_536)
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1
    const exponent = (bits >> 10) & 0x1f
    const fraction = bits & 0x3ff
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24
    else if (exponent === 31) table[bits] = fraction === 0 ? sign * Infinity : NaN
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
  }
  cachedFloat16Table = table
  return table
}

export type OutgoingTensor = { name: string; shape: readonly number[]; data: Float32Array | BigInt64Array }

/** The bytes of a .safetensors file holding float32 and int64 tensors, in the order given. */
export function encodeSafetensors(tensors: readonly OutgoingTensor[]): Buffer {
  const header: Record<string, unknown> = {}
  let offset = 0
  for (const { name, shape, data } of tensors) {
    const dtype = data instanceof Float32Array ? 'F32' : 'I64'
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] }
    offset += data.byteLength
  }
  // The header is padded with spaces so that the data starts on a multiple of 8.
  let text = JSON.stringify(header)
  text += ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)))
  const parts = tensors.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return Buffer.concat([length, Buffer.from(text), ...parts])
}
