// Products timed alone: what the machine can do at most, and what a prefill's products cost without the rest.
// Knows matrices, not models.
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSession } from '../../gpu-worker/engine/session.ts'
import type { HostTensor, Session } from '../../gpu-worker/engine/session.ts'
import { GraphBuilder } from '../../gpu-worker/model/graph.ts'
import type { Graph, Value } from '../../gpu-worker/model/graph.ts'
import { encodeModel } from '../../gpu-worker/model/onnx.ts'
import type { WeightPlace } from '../../gpu-worker/model/onnx.ts'
import { median, sampleMs } from './samples.ts'

export type Product = {
  format: 'fp32' | 'int8' | 'int4' | 'int8-block'
  /** Rows of the left side; twice the rows of a run where each input is two bytes. */
  rows: number
  depth: number
  width: number
}

const rooflineSide = 4096
/** 17 x 64 MiB: more than a gigabyte of distinct weights, several times any cache here. */
const rooflineCount = 17

/** Bytes a second that fp32 MatMul reads its weights at, one row at a time. */
export async function measureRoofline(runs: number): Promise<number> {
  const builder = new GraphBuilder('roofline')
  let x = builder.input('x', 'float32', [1, rooflineSide])
  for (let index = 0; index < rooflineCount; index++) {
    const weight = noiseWeight(builder, 'float32', { dims: [rooflineSide, rooflineSide], seed: index })
    x = builder.op('MatMul', [x, weight])
  }
  builder.output('y', x, [1, rooflineSide])
  return await withGraph(builder.graph, async (session) => {
    const feeds = { x: floats([1, rooflineSide]) }
    const samples = await sampleMs(runs, () => session.run(feeds, ['y']))
    return (rooflineCount * rooflineSide ** 2 * 4) / (median(samples) / 1000)
  })
}

/** Median time of one product. Only a row of the result is returned: the binding copies what is. */
export async function measureProduct(product: Product, runs: number): Promise<number> {
  const { rows, depth, width, format } = product
  const builder = new GraphBuilder('product')
  const integer = format === 'int8'
  const x = builder.input('x', integer ? 'uint8' : 'float32', [rows, depth])
  const y = multiply(builder, x, product)
  const row = builder.op('Slice', [y, builder.int64([0]), builder.int64([1]), builder.int64([0])])
  builder.output('y', row, [1, width])
  const codes: HostTensor = { type: 'uint8', data: noiseBytes(rows * depth), dims: [rows, depth] }
  const feeds = { x: integer ? codes : floats([rows, depth]) }
  return await withGraph(builder.graph, async (session) =>
    median(await sampleMs(runs, () => session.run(feeds, ['y']))),
  )
}

function multiply(builder: GraphBuilder, x: Value, { format, depth, width }: Product): Value {
  switch (format) {
    case 'fp32':
      return builder.op('Gemm', [x, noiseWeight(builder, 'float32', { dims: [width, depth] })], {
        attributes: { transB: 1 },
      })
    case 'int8': {
      const zero = builder.input('zero', 'uint8', [])
      return builder.op('MatMulInteger', [x, noiseWeight(builder, 'int8', { dims: [depth, width] }), zero], {
        elementType: 'int32',
      })
    }
    case 'int4':
    case 'int8-block': {
      const bits = format === 'int4' ? 4 : 8
      const blocks = Math.ceil(depth / 32)
      const weight = noiseWeight(builder, 'uint8', { dims: [width, blocks, bits * 4] })
      const scales = noiseWeight(builder, 'float32', { dims: [width * blocks] })
      return builder.op('MatMulNBits', [x, weight, scales], {
        domain: 'com.microsoft',
        attributes: { K: depth, N: width, bits, block_size: 32, accuracy_level: 4 },
      })
    }
  }
}

/** Weights of another seed hold other numbers: the runtime packs equal ones once, and reads them from its caches. */
function noiseWeight(
  builder: GraphBuilder,
  elementType: 'float32' | 'int8' | 'uint8',
  { dims, seed = 0 }: { dims: readonly number[]; seed?: number },
): Value {
  const count = dims.reduce((product, size) => product * size, 1)
  const byteCount = elementType === 'float32' ? count * 4 : count
  return builder.weight('weight', {
    elementType,
    dims,
    byteCount,
    write: async (sink) => {
      const piece = elementType === 'float32' ? bytesOf(noiseFloats(1 << 20, seed)) : noiseBytes(1 << 22)
      for (let at = 0; at < byteCount; at += piece.length) await sink(piece.subarray(0, byteCount - at))
    },
  })
}

/** Small numbers from a short cycle: kernels do not look at values, and denormals would slow them. */
function noiseFloats(count: number, seed = 0): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => ((((index + seed) * 37) % 101) - 50) / 2000)
}

function noiseBytes(count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, index) => (index * 37) % 251)
}

function floats(dims: readonly number[]): HostTensor {
  return { type: 'float32', data: noiseFloats(dims.reduce((product, size) => product * size, 1)), dims }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

async function withGraph<T>(graph: Graph, job: (session: Session) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'coglabel-kernels-'))
  try {
    const session = await openSession({ graph: await writeGraph(graph, folder) })
    try {
      return await job(withZero(session))
    } finally {
      await session.close()
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Feeds the integer product's zero point where the graph has one. */
function withZero(session: Session): Session {
  const zero: HostTensor = { type: 'uint8', data: Uint8Array.of(128), dims: [] }
  return { ...session, run: (feeds, names) => session.run({ ...feeds, zero }, names) }
}

async function writeGraph(graph: Graph, folder: string): Promise<string> {
  const places = new Map<Value, WeightPlace>()
  const file = await open(join(folder, 'graph.weights'), 'w')
  try {
    let offset = 0
    for (const weight of graph.weights) {
      places.set(weight.value, { fileName: 'graph.weights', offset })
      await weight.write(async (piece) => {
        await file.write(piece)
      })
      offset += weight.byteCount
    }
  } finally {
    await file.close()
  }
  const path = join(folder, 'graph.onnx')
  await writeFile(path, encodeModel(graph, places))
  return path
}
