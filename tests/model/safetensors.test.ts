// Weights files as they come from strangers: each broken header has its own sentence, and none does anything worse.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { decodeFloats, encodeSafetensors, openSafetensors } from '../../gpu-worker/model/safetensors.ts'
import { UserError } from '../../schemas/errors.ts'
import { encodeHeader, encodeTensors, seededUniform } from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-safetensors-'))
afterAll(() => rmSync(scratch, { recursive: true }))

let fileCount = 0

function fileOf(bytes: Uint8Array): string {
  const path = join(scratch, `${fileCount++}.safetensors`)
  writeFileSync(path, bytes)
  return path
}

/** Opens the bytes as a file and reads every tensor. */
async function readAll(bytes: Uint8Array): Promise<Record<string, number[]>> {
  const file = await openSafetensors(fileOf(bytes))
  try {
    const read: Record<string, number[]> = {}
    for (const tensor of file.tensors.values()) {
      read[tensor.name] = [
        ...decodeFloats(
          await file.readBytes(tensor, 0, tensor.end - tensor.begin),
          tensor.storedType,
          tensor.name,
        ),
      ]
    }
    return read
  } finally {
    await file.close()
  }
}

function withHeader(header: unknown, dataBytes = 16): Buffer {
  return Buffer.concat([
    encodeHeader(typeof header === 'string' ? header : JSON.stringify(header)),
    Buffer.alloc(dataBytes),
  ])
}

const good = { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] }

/** A length field that says `length`, before `rest`. */
function lengthField(length: bigint, rest: string): Buffer {
  const field = Buffer.alloc(8)
  field.writeBigUInt64LE(length)
  return Buffer.concat([field, Buffer.from(rest)])
}

const hostile: { name: string; bytes: Buffer; says: RegExp }[] = [
  { name: 'empty file', bytes: Buffer.alloc(0), says: /0 bytes long, too short/ },
  {
    name: 'git-lfs pointer',
    bytes: Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n'),
    says: /git-lfs pointer/,
  },
  {
    name: 'header longer than the file',
    bytes: lengthField(5000n, '{}'),
    says: /header has 5000 bytes, but the file has 10/,
  },
  {
    name: 'header length of 2^64 - 1',
    bytes: lengthField(2n ** 64n - 1n, '{}'),
    says: /cut short or is not a safetensors file/,
  },
  { name: 'header that is not JSON', bytes: withHeader('{"a": '), says: /not JSON/ },
  { name: 'header that is a list', bytes: withHeader([good]), says: /not a JSON object/ },
  { name: 'header that is null', bytes: withHeader('null'), says: /not a JSON object/ },
  {
    name: 'unknown type',
    bytes: withHeader({ a: { ...good, dtype: 'F8_E4M3' } }),
    says: /a has the type F8_E4M3/,
  },
  {
    name: 'a type that is a name of Object',
    bytes: withHeader({ a: { ...good, dtype: 'constructor' } }),
    says: /type constructor/,
  },
  {
    name: 'type that is no text',
    bytes: withHeader({ a: { ...good, dtype: 7 } }),
    says: /not \{dtype, shape, data_offsets\}/,
  },
  {
    name: 'negative size',
    bytes: withHeader({ a: { ...good, shape: [-2, -2] } }),
    says: /not \{dtype, shape/,
  },
  {
    name: 'fractional size',
    bytes: withHeader({ a: { ...good, shape: [2.5, 2] } }),
    says: /not \{dtype, shape/,
  },
  {
    name: 'negative offset',
    bytes: withHeader({ a: { ...good, data_offsets: [-16, 0] } }),
    says: /not \{dtype, shape/,
  },
  {
    name: 'offsets the wrong way round',
    bytes: withHeader({ a: { ...good, data_offsets: [16, 0] } }),
    says: /has -16 bytes, expected 16/,
  },
  {
    name: 'shape and offsets that do not fit',
    bytes: withHeader({ a: { ...good, shape: [2, 3] } }),
    says: /shape \[2, 3\].*has 16 bytes, expected 24/,
  },
  {
    name: 'huge shape',
    bytes: withHeader({ a: { ...good, shape: [2 ** 40, 2 ** 40] } }),
    says: /has 16 bytes, expected/,
  },
  {
    name: 'a shape whose product wraps to nothing',
    bytes: withHeader({ a: { ...good, shape: [2 ** 32, 2 ** 32] } }),
    says: /has 16 bytes, expected/,
  },
  {
    name: 'too many axes',
    bytes: withHeader({ a: { ...good, shape: Array.from({ length: 5000 }, () => 1) } }),
    says: /not \{dtype, shape/,
  },
  {
    name: 'tensor beyond the end',
    bytes: withHeader({ a: { ...good, data_offsets: [8, 24] } }),
    says: /ends at byte .* cut short/,
  },
  { name: 'truncated data', bytes: withHeader({ a: good }, 15), says: /cut short/ },
  {
    name: 'bytes behind the last tensor',
    bytes: withHeader({ a: good }, 18),
    says: /2 bytes behind the last tensor belong to none/,
  },
  {
    name: 'overlap',
    bytes: withHeader({ a: good, b: { ...good, data_offsets: [8, 24] } }, 24),
    says: /a and b overlap/,
  },
  {
    name: 'a name given twice, of which only the last is kept',
    bytes: withHeader(
      `{"a": ${JSON.stringify(good)}, "a": ${JSON.stringify({ ...good, data_offsets: [16, 32] })}}`,
      32,
    ),
    says: /16 bytes before the tensor a belong to none/,
  },
  { name: 'the same bytes twice', bytes: withHeader({ a: good, b: good }), says: /overlap/ },
  {
    name: 'whole numbers for weights',
    bytes: withHeader({ a: { ...good, dtype: 'I32' } }),
    says: /a has the type I32; weights must be/,
  },
]

describe('a weights file', () => {
  it.each(hostile)('$name: refused with a sentence', async ({ bytes, says }) => {
    await expect(readAll(bytes)).rejects.toThrow(UserError)
    await expect(readAll(bytes)).rejects.toThrow(says)
  })

  it('that is missing is named', async () => {
    await expect(openSafetensors(join(scratch, 'none.safetensors'))).rejects.toThrow(
      /cannot open the weights file .*none/,
    )
  })

  it('may hold names that mean something to JavaScript', async () => {
    const bytes = withHeader(
      '{"__proto__": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "constructor": {"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      8,
    )
    const file = await openSafetensors(fileOf(bytes))
    expect([...file.tensors.keys()]).toEqual(['__proto__', 'constructor'])
    await file.close()
  })

  it.each([
    { storedType: 'F32', values: [1.5, -2, 3e38, 1e-45] },
    { storedType: 'F16', values: [1.5, -2, 65_504, 2 ** -24, 0] },
    { storedType: 'BF16', values: [1.5, -2, 2 ** 100, -0] },
  ] as const)('$storedType numbers are read as they were written', async ({ storedType, values }) => {
    const tensors = new Map([['x', { shape: [values.length], data: Float32Array.from(values) }]])
    expect((await readAll(encodeTensors(tensors, storedType)))['x']).toEqual([...Float32Array.from(values)])
  })

  it('is written so that it can be read', async () => {
    const bytes = encodeSafetensors([
      { name: 'ä', shape: [3], data: Float32Array.of(1, 2, 3) },
      { name: 'b', shape: [2, 2], data: Float32Array.of(4, 5, 6, 7) },
      { name: 'none', shape: [0, 5], data: new Float32Array(0) },
    ])
    expect(await readAll(bytes)).toEqual({ ä: [1, 2, 3], b: [4, 5, 6, 7], none: [] })
  })

  it('with random damage in its header is read or refused, never anything else', async () => {
    const uniform = seededUniform(1)
    const tensors = new Map(
      ['one', 'two', 'three'].map((name, index) => [
        name,
        { shape: [index + 1, 4], data: new Float32Array(4 * (index + 1)).fill(index) },
      ]),
    )
    const whole = encodeTensors(tensors)
    const headerEnd = 8 + Number(whole.readBigUInt64LE(0))
    let refused = 0
    for (let round = 0; round < 500; round++) {
      const bytes = Buffer.from(whole)
      for (let flip = 0; flip <= round % 4; flip++)
        bytes[Math.floor(uniform() * headerEnd)] = Math.floor(uniform() * 256)
      const outcome = await readAll(bytes).catch((error: unknown) => error)
      if (outcome instanceof Error) {
        expect(outcome, outcome.stack).toBeInstanceOf(UserError)
        refused++
      }
    }
    expect(refused).toBeGreaterThan(300)
  })
})
