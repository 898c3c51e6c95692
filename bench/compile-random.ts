// Compiles a checkpoint of random weights that is never there as a whole: each shard is written when one of its tensors
// is first read, and removed when the next one is. What a full-sized compilation takes in memory and time.
//   node bench/compile-random.ts FULL MODEL [--weights int4] [--target cpu] [--scratch /dev/shm/shards] [--tokenizer DIR]
//     [--unwritten]
// With --unwritten there are no shards: weights are drawn in memory as they are read, which is the quickest way to a model.
// Prints a JSON line: seconds in all and in making shards, the most resident memory of this process, bytes of the model.
// The most memory comes to include no shard: where the scratch folder is in memory, they are the system's.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openCheckpoint } from '../gpu-worker/model/checkpoint.ts'
import type { Checkpoint } from '../gpu-worker/model/checkpoint.ts'
import { compileModel } from '../gpu-worker/model/compile.ts'
import { Target, WeightFormat } from '../schemas/model-manifest.ts'
import { memoryMb } from './engine/process-memory.ts'
import { rounded } from './engine/samples.ts'
import {
  bfloat16Pool,
  configOf,
  scaleOf,
  shapeOf,
  splitIntoShards,
  tensorsOf,
  writeShard,
} from './random-checkpoint.ts'
import type { NamedShape, Shape } from './random-checkpoint.ts'

const seed = 1

type Shards = {
  checkpoint: Checkpoint
  /** Spent in writing shards. */
  spentMs(): number
}

/** Vectors, which the compiler reads first and all, have a shard that stays; so the others are each made once or twice. */
async function openShards(shape: Shape, scratch: string): Promise<Shards> {
  const config = configOf(shape)
  const tensors = tensorsOf(shape)
  const isVector = ([, sizes]: NamedShape): boolean => sizes.slice(0, -1).every((size) => size === 1)
  const shards = [tensors.filter(isVector), ...splitIntoShards(tensors.filter((one) => !isVector(one)))]
  const pool = bfloat16Pool(seed)
  let spentMs = 0
  const make = async (index: number): Promise<Checkpoint> => {
    const startMs = performance.now()
    const folder = join(scratch, `shard-${index}`)
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'config.json'), JSON.stringify(config))
    const path = join(folder, 'model.safetensors')
    await writeShard({ path, shard: shards[index] ?? [], pool, seed: seed + index })
    spentMs += performance.now() - startMs
    return openCheckpoint(folder)
  }
  const homes = new Map(shards.flatMap((shard, index) => shard.map(([name]) => [name, index] as const)))
  const vectors = await make(0)
  let current: { index: number; checkpoint: Checkpoint } | undefined
  const shardOf = async (name: string): Promise<Checkpoint> => {
    const index = homes.get(name) ?? 0
    if (index === 0) return vectors
    if (current?.index === index) return current.checkpoint
    await current?.checkpoint.close()
    if (current !== undefined) await rm(current.checkpoint.folder, { recursive: true })
    current = { index, checkpoint: await make(index) }
    return current.checkpoint
  }
  const checkpoint: Checkpoint = {
    folder: scratch,
    config,
    shapes: new Map(tensors),
    totalBytes: bytesOf(tensors),
    readRows: async (name, first, count) => (await shardOf(name)).readRows(name, first, count),
    close: async () => {
      await vectors.close()
      await current?.checkpoint.close()
    },
  }
  return { checkpoint, spentMs: () => spentMs }
}

/** A prime, so that no row of a matrix repeats another. */
const drawnNumbers = 65_521

/** The same shapes from a table of numbers that is read over and over. Each element is the same however it is read. */
function drawWeights(shape: Shape): Shards {
  const tensors = new Map(tensorsOf(shape))
  const pool = bfloat16Pool(seed).subarray(0, drawnNumbers)
  const readRows: Checkpoint['readRows'] = (name, first, count) => {
    const sizes = tensors.get(name) ?? []
    const width = sizes.slice(1).reduce((product, size) => product * size, 1)
    const { spread, mean } = scaleOf(name, sizes)
    const table = pool.map((value) => value * spread + mean)
    const rows = new Float32Array(count * width)
    const start = Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % drawnNumbers, 0)
    let from = (start + first * width) % drawnNumbers
    for (let at = 0; at < rows.length; from = 0) {
      const piece = table.subarray(from, from + rows.length - at)
      rows.set(piece, at)
      at += piece.length
    }
    return Promise.resolve(rows)
  }
  return {
    checkpoint: {
      folder: values.scratch,
      config: configOf(shape),
      shapes: tensors,
      totalBytes: bytesOf([...tensors]),
      readRows,
      close: () => Promise.resolve(),
    },
    spentMs: () => 0,
  }
}

function bytesOf(tensors: readonly NamedShape[]): number {
  return tensors.reduce((sum, [, sizes]) => sum + 2 * sizes.reduce((a, b) => a * b, 1), 0)
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    weights: { type: 'string', default: 'int4' },
    target: { type: 'string', default: 'cpu' },
    scratch: { type: 'string', default: join(tmpdir(), `shards-${process.pid}`) },
    tokenizer: { type: 'string' },
    unwritten: { type: 'boolean', default: false },
  },
})
const [name = '', outFolder] = positionals
const shape = shapeOf(name)
if (shape === undefined || outFolder === undefined)
  throw new Error('usage: node bench/compile-random.ts SHAPE MODEL')
const startMs = performance.now()
await mkdir(values.scratch, { recursive: true })
try {
  const { checkpoint, spentMs } = values.unwritten
    ? drawWeights(shape)
    : await openShards(shape, values.scratch)
  let last = ''
  const manifest = await compileModel(
    {
      checkpointFolder: values.scratch,
      outFolder,
      weights: WeightFormat.parse(values.weights),
      target: Target.parse(values.target),
      ...(values.tokenizer === undefined ? {} : { tokenizerFolder: values.tokenizer }),
      onProgress: ({ weight, writtenBytes, totalBytes }) => {
        const [group = ''] = /^\w+\.\d+/.exec(weight) ?? []
        if (group !== last)
          console.error(`${Math.round(writtenBytes / 1e6)} of ${Math.round(totalBytes / 1e6)} MB, ${group}`)
        last = group
      },
    },
    () => Promise.resolve(checkpoint),
  )
  const numbers = {
    checkpointMb: checkpoint.totalBytes / 1e6,
    modelMb: manifest.files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6,
    seconds: (performance.now() - startMs) / 1000,
    shardSeconds: spentMs() / 1000,
    peakRssMb: memoryMb('VmHWM'),
  }
  const round = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, rounded(value)]))
  console.log(JSON.stringify({ shape: name, weights: manifest.weights, ...round }))
} finally {
  await rm(values.scratch, { recursive: true, force: true })
}
