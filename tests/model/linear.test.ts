// Each storage format of a large matrix: the product of the graph against plain loops over the same numbers.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSession } from '../../gpu-worker/engine/session.ts'
import { GraphBuilder } from '../../gpu-worker/model/graph.ts'
import type { Graph, Value } from '../../gpu-worker/model/graph.ts'
import { linear } from '../../gpu-worker/model/linear.ts'
import type { MatrixRole } from '../../gpu-worker/model/linear-frame.ts'
import type { Matrix } from '../../gpu-worker/model/matrix.ts'
import { encodeModel } from '../../gpu-worker/model/onnx.ts'
import type { WeightPlace } from '../../gpu-worker/model/onnx.ts'
import { blockSize, quantizeRowsBlock } from '../../gpu-worker/model/quantize.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import type { QuantizedMatrix, WeightFormat } from '../../schemas/model-manifest.ts'

const rows = 48
const columns = 96

/** Roughly Gaussian numbers, the same in every run. */
function noise(count: number, seed: number): Float32Array<ArrayBuffer> {
  const random = seededRandom(seed)
  return Float32Array.from({ length: count }, () => random() + random() + random() + random() - 2)
}

/** A few channels far larger than the rest, as language models have, and one hot row. */
function outlierInput(rowCount: number): Float32Array {
  return noise(rowCount * columns, 1).map((value, index) => {
    const channel = index % columns
    return value * (channel % 31 === 7 ? 30 : 1) * (Math.floor(index / columns) === 1 ? 8 : 1)
  })
}

const weights = noise(rows * columns, 2)
const matrix = matrixOf(weights, columns)

function matrixOf(values: Float32Array<ArrayBuffer>, width: number): Matrix {
  return {
    name: 'test',
    rows: values.length / width,
    columns: width,
    readRows: (first, count) => Promise.resolve(values.slice(first * width, (first + count) * width)),
  }
}

async function runLinear(
  format: {
    weights: WeightFormat
    role: MatrixRole
    gains?: Float32Array
    inputsAreMeans?: boolean
    levels?: number
    matrix?: Matrix
  },
  input: Float32Array,
): Promise<{ product: Float32Array; quantized: QuantizedMatrix[] }> {
  const builder = new GraphBuilder('test')
  const { matrix: factor = matrix } = format
  const x = builder.input('x', 'float32', ['T', factor.columns])
  const quantized: QuantizedMatrix[] = []
  const levels = builder.input('activation_levels', 'float32', [])
  const zeroPoint = builder.input('activation_zero', 'uint8', [])
  const lowWeight = builder.op('Div', [builder.float32([0.5], []), levels])
  const stored = new Map()
  const target = 'cpu' as const
  const codes = { levels, zeroPoint, lowWeight }
  const context = { weights: format.weights, target, codes, quantized, stored }
  const y = linear(builder, context, x, {
    name: 'linear',
    matrix: factor,
    role: format.role,
    ...(format.gains === undefined ? {} : { inputGains: format.gains }),
    inputsAreMeans: format.inputsAreMeans ?? false,
  })
  builder.output('y', y, ['T', factor.rows])
  const folder = mkdtempSync(join(tmpdir(), 'coglabel-linear-'))
  try {
    const places = await writeWeights(builder.graph, join(folder, 'weights'))
    writeFileSync(join(folder, 'graph.onnx'), encodeModel(builder.graph, places))
    const session = await openSession({ graph: join(folder, 'graph.onnx'), threads: 1 })
    const { levels: range = 63 } = format
    const { y: tensor } = await session.run(
      {
        x: { type: 'float32', data: input, dims: [input.length / factor.columns, factor.columns] },
        activation_levels: { type: 'float32', data: Float32Array.of(range), dims: [] },
        activation_zero: { type: 'uint8', data: Uint8Array.of(range + 1), dims: [] },
      },
      ['y'],
    )
    await session.close()
    return { product: Float32Array.from(tensor?.type === 'float32' ? tensor.data : []), quantized }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function writeWeights(graph: Graph, path: string): Promise<Map<Value, WeightPlace>> {
  const pieces: Uint8Array[] = []
  const places = new Map<Value, WeightPlace>()
  let offset = 0
  for (const weight of graph.weights) {
    places.set(weight.value, { fileName: 'weights', offset })
    await weight.write((piece) => {
      pieces.push(Uint8Array.from(piece))
      return Promise.resolve()
    })
    offset += weight.byteCount
  }
  writeFileSync(path, Buffer.concat(pieces))
  return places
}

function plainProduct(input: Float32Array, matrixRows: Float32Array, width = columns): Float32Array {
  const [rowCount, outCount] = [input.length / width, matrixRows.length / width]
  return Float32Array.from({ length: rowCount * outCount }, (_, index) => {
    const [token, out] = [Math.floor(index / outCount), index % outCount]
    let sum = 0
    for (let k = 0; k < width; k++)
      sum += (input[token * width + k] ?? 0) * (matrixRows[out * width + k] ?? 0)
    return sum
  })
}

function relativeError(seen: Float32Array, expected: Float32Array): number {
  expect(seen.length).toBe(expected.length)
  let [errors, squares] = [0, 0]
  for (const [index, value] of expected.entries()) {
    errors += (value - (seen[index] ?? 0)) ** 2
    squares += value ** 2
  }
  return Math.sqrt(errors / Math.max(squares, 1e-30))
}

/** The numbers that a block-packed matrix stands for; its blocks are padded to whole ones. */
function unpackBlocks(bits: 4 | 8, tile = weights, width = columns): Float32Array {
  const { quants, scales } = quantizeRowsBlock({ tile, columns: width, bits })
  const zero = 2 ** (bits - 1)
  const padded = Math.ceil(width / blockSize) * blockSize
  return Float32Array.from(tile, (_, index) => {
    const at = Math.floor(index / width) * padded + (index % width)
    const byte = bits === 8 ? quants[at] : (quants[at >> 1] ?? 0) >> (at % 2 === 0 ? 0 : 4)
    return (((byte ?? 0) & (2 * zero - 1)) - zero) * (scales[Math.floor(at / blockSize)] ?? 0)
  })
}

const input = outlierInput(5)
const exact = plainProduct(input, weights)

describe('a product with a large matrix', () => {
  it.each([
    { name: 'fp32', format: { weights: 'fp32', role: 'tower' }, packing: undefined, most: 1e-6 },
    {
      name: 'int8, inputs in two bytes of 7 bits',
      format: { weights: 'int8', role: 'languageExpert' },
      packing: 'int8-split',
      most: 0.006,
    },
    {
      name: 'int8, inputs in one byte where the norm says it is enough',
      format: { weights: 'int8', role: 'languageExpert', gains: new Float32Array(columns).fill(1) },
      packing: 'int8',
      most: 0.05,
    },
    {
      name: 'int8, inputs in one byte behind attention',
      format: { weights: 'int8', role: 'tower', inputsAreMeans: true },
      packing: 'int8',
      most: 0.05,
    },
    {
      name: 'int8, inputs in one byte in the visual expert',
      format: { weights: 'int8', role: 'visionExpert' },
      packing: 'int8',
      most: 0.05,
    },
    {
      name: 'int8, two bytes in the head',
      format: { weights: 'int8', role: 'head' },
      packing: 'int8-split',
      most: 0.006,
    },
    {
      name: 'int8, outlier channels keep two bytes',
      format: {
        weights: 'int8',
        role: 'visionExpert',
        gains: Float32Array.from({ length: columns }, (_, c) => (c % 31 === 7 ? 60 : 1)),
      },
      packing: 'int8-split',
      most: 0.006,
    },
    {
      name: '4-bit blocks',
      format: { weights: 'int4', role: 'languageExpert' },
      packing: 'int4',
      most: 0.12,
    },
    {
      name: '4-bit blocks, widened in the visual expert',
      format: { weights: 'int4', role: 'visionExpert' },
      packing: 'int4-widened',
      most: 0.12,
    },
    {
      name: '4-bit blocks, widened, outlier channels keep two bytes',
      format: {
        weights: 'int4',
        role: 'visionExpert',
        gains: Float32Array.from({ length: columns }, (_, c) => (c % 31 === 7 ? 60 : 1)),
      },
      packing: 'int4-widened-split',
      most: 0.12,
    },
    {
      name: '8-bit blocks for the head',
      format: { weights: 'int4', role: 'head' },
      packing: 'int8-block',
      most: 0.02,
    },
  ] as const)('$name: close to the exact product', async ({ format, packing, most }) => {
    const { product, quantized } = await runLinear(format, input)
    expect(quantized[0]?.format).toBe(packing)
    expect(relativeError(product, exact)).toBeLessThan(most)
  })

  it.each([4, 8] as const)(
    '%i-bit blocks: the graph multiplies the numbers that were packed',
    async (bits) => {
      const plain = noise(5 * columns, 3)
      const { product } = await runLinear(
        { weights: 'int4', role: bits === 4 ? 'languageExpert' : 'head' },
        plain,
      )
      // What is left is the rounding of inputs to 8 bits per block.
      expect(relativeError(product, plainProduct(plain, unpackBlocks(bits)))).toBeLessThan(0.01)
    },
  )

  // Odd sizes end within a block and within a byte.
  it.each([
    [48, 96],
    [47, 90],
    [5, 20],
    [1, 33],
    [3, 1],
  ])(
    'widened 4-bit blocks of %i x %i: the graph multiplies the numbers that were packed',
    async (height, width) => {
      const values = noise(height * width, 4)
      values.fill(0, 0, Math.min(40, width))
      const plain = noise(7 * width, 3)
      const { product } = await runLinear(
        { weights: 'int4', role: 'visionExpert', levels: 127, matrix: matrixOf(values, width) },
        plain,
      )
      expect(relativeError(product, plainProduct(plain, unpackBlocks(4, values, width), width))).toBeLessThan(
        0.015,
      )
    },
  )

  // In int8 it stands behind a branch that is not taken without rows.
  it.each(['fp32', 'int4'] as const)('%s: no rows in, no rows out', async (format) => {
    const { product } = await runLinear({ weights: format, role: 'languageExpert' }, new Float32Array(0))
    expect(product.length).toBe(0)
  })

  it.each(['languageExpert', 'visionExpert'] as const)('int8, %s: a row of zeros stays one', async (role) => {
    const withZeros = Float32Array.from(input, (value, index) => (index < columns ? 0 : value))
    const { product } = await runLinear({ weights: 'int8', role }, withZeros)
    expect([...product.subarray(0, rows)].every((value) => value === 0)).toBe(true)
    expect(relativeError(product, plainProduct(withZeros, weights))).toBeLessThan(0.05)
  })

  it('two bytes for an input are better than one', async () => {
    const { product } = await runLinear({ weights: 'int8', role: 'languageExpert' }, input)
    const single = await runLinear(
      { weights: 'int8', role: 'visionExpert', gains: new Float32Array(columns).fill(1) },
      input,
    )
    expect(relativeError(product, exact) * 4).toBeLessThan(relativeError(single.product, exact))
  })
})
