// Makes a CogVLM checkpoint of random weights in Hugging Face layout, of any size, one shard at a time.
// For measuring only: the weights have sensible scales, so that activations stay in range, and mean nothing.
//   node bench/random-checkpoint.ts S /tmp/checkpoint-s [seed]
//   node bench/random-checkpoint.ts FULL:2:3 /tmp/part      FULL's matrices, in 2 layers and a tower of 3
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { seededRandom } from '../gpu-worker/engine/sampler.ts'
import { readVariant } from '../gpu-worker/model/variants/config.ts'
import { expectedTensors } from '../gpu-worker/model/variants/tensors.ts'

export type Shape = {
  /** Of the second generation where there are fewer key heads than heads, or as many. */
  kvHeads?: number
  hidden: number
  layers: number
  heads: number
  inner: number
  vocab: number
  vision: { width: number; layers: number; heads: number; inner: number; image: number }
}

/** The shapes that figures in LOG.md are measured on. */
export const shapes: Record<string, Shape> = {
  XS: {
    hidden: 256,
    layers: 4,
    heads: 4,
    inner: 688,
    vocab: 2048,
    vision: { width: 128, layers: 3, heads: 4, inner: 512, image: 112 },
  },
  S: {
    hidden: 1024,
    layers: 24,
    heads: 16,
    inner: 2752,
    vocab: 32000,
    vision: { width: 512, layers: 12, heads: 8, inner: 2048, image: 490 },
  },
  M: {
    hidden: 2048,
    layers: 16,
    heads: 16,
    inner: 5504,
    vocab: 32000,
    vision: { width: 512, layers: 12, heads: 8, inner: 2048, image: 490 },
  },
  FULL: {
    hidden: 4096,
    layers: 32,
    heads: 32,
    inner: 11008,
    vocab: 32000,
    vision: { width: 1792, layers: 63, heads: 16, inner: 15360, image: 490 },
  },
  /** One block of CogVLM2's tower at its 9,217 positions, before a decoder that is hardly there. */
  TOWER2: {
    hidden: 512,
    layers: 1,
    heads: 4,
    kvHeads: 2,
    inner: 512,
    vocab: 512,
    vision: { width: 1792, layers: 1, heads: 16, inner: 15360, image: 1344 },
  },
}

/** As the released checkpoints are cut. */
const maxShardBytes = 2e9

/** Writes config.json, bfloat16 shards and their index. The same seed gives the same bytes. */
export async function writeRandomCheckpoint({
  shape,
  folder,
  seed = 1,
}: {
  shape: Shape
  folder: string
  seed?: number
}): Promise<void> {
  await mkdir(folder, { recursive: true })
  const config = configOf(shape)
  await writeFile(join(folder, 'config.json'), JSON.stringify(config, null, 1))
  const tensors = tensorsOf(shape)
  const shards = splitIntoShards(tensors)
  const pool = bfloat16Pool(seed)
  const weightMap: Record<string, string> = {}
  for (const [index, shard] of shards.entries()) {
    const name = `model-${String(index + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`
    for (const [tensor] of shard) weightMap[tensor] = name
    await writeShard({ path: join(folder, name), shard, pool, seed: seed + index })
  }
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: {}, weight_map: weightMap }),
  )
}

/** What a checkpoint of a shape holds; the convolution is what tells the second generation. */
export function tensorsOf(shape: Shape): NamedShape[] {
  const second = shape.kvHeads === undefined ? [] : ['model.vision.conv.weight']
  const variant = readVariant(configOf(shape), new Set(['vision_expert_query_key_value', ...second]))
  return [...expectedTensors(variant)]
}

export type NamedShape = [name: string, shape: readonly number[]]

export function configOf({
  hidden,
  layers,
  heads,
  kvHeads,
  inner,
  vocab,
  vision,
}: Shape): Record<string, unknown> {
  return {
    architectures: ['CogVLMForCausalLM'],
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    ...(kvHeads === undefined ? {} : { num_multi_query_heads: kvHeads }),
    intermediate_size: inner,
    vocab_size: vocab,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 2048,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    template_version: 'chat',
    torch_dtype: 'bfloat16',
    vision_config: {
      image_size: vision.image,
      patch_size: 14,
      num_positions: (vision.image / 14) ** 2 + 1,
      in_channels: 3,
      hidden_size: vision.width,
      num_heads: vision.heads,
      num_hidden_layers: vision.layers,
      intermediate_size: vision.inner,
      layer_norm_eps: 1e-6,
      hidden_act: 'gelu',
    },
  }
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

export function splitIntoShards(tensors: readonly NamedShape[]): NamedShape[][] {
  const shards: NamedShape[][] = [[]]
  let bytes = 0
  for (const tensor of tensors) {
    const size = elementsOf(tensor[1]) * 2
    if (bytes + size > maxShardBytes && bytes > 0) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)?.push(tensor)
    bytes += size
  }
  return shards
}

export async function writeShard({
  path,
  shard,
  pool,
  seed,
}: {
  path: string
  shard: readonly NamedShape[]
  pool: Float32Array
  seed: number
}): Promise<void> {
  let offset = 0
  const header = Object.fromEntries(
    shard.map(([name, shape]) => {
      const begin = offset
      offset += elementsOf(shape) * 2
      return [name, { dtype: 'BF16', shape, data_offsets: [begin, offset] }]
    }),
  )
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const file = await open(path, 'w')
  try {
    await file.write(length)
    await file.write(text)
    const random = seededRandom(seed)
    for (const [name, shape] of shard) await writeTensor({ file, name, shape, pool, random })
  } finally {
    await file.close()
  }
}

const pieceElements = 8 << 20

async function writeTensor({
  file,
  name,
  shape,
  pool,
  random,
}: {
  file: Awaited<ReturnType<typeof open>>
  name: string
  shape: readonly number[]
  pool: Float32Array
  random: () => number
}): Promise<void> {
  const { spread, mean } = scaleOf(name, shape)
  const table = toBfloat16(pool, spread, mean)
  const count = elementsOf(shape)
  for (let start = 0; start < count; start += pieceElements) {
    const piece = new Uint16Array(Math.min(pieceElements, count - start))
    // xorshift over a table of normal numbers: a few nanoseconds an element.
    let state = Math.floor(random() * 0xffff_fffe) + 1
    for (let index = 0; index < piece.length; index++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      piece[index] = table[state & 0xffff] ?? 0
    }
    await file.write(new Uint8Array(piece.buffer))
  }
}

/** Of the numbers of a tensor, so that activations stay in range. */
export function scaleOf(name: string, shape: readonly number[]): { spread: number; mean: number } {
  if (/norm\d?\.weight$/.test(name)) return { spread: 0.1, mean: 1 }
  if (name.includes('embed_tokens')) return { spread: 1, mean: 0 }
  const isMatrix = shape.length > 1 && shape[0] !== 1
  return { spread: isMatrix ? 1 / Math.sqrt(elementsOf(shape.slice(1))) : 0.02, mean: 0 }
}

/** 65,536 normal numbers. */
export function bfloat16Pool(seed: number): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from(
    { length: 65_536 },
    () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  )
}

function toBfloat16(pool: Float32Array, spread: number, mean: number): Uint16Array {
  const bits = new Uint32Array(pool.map((value) => value * spread + mean).buffer)
  return Uint16Array.from(bits, (value) => (value + 0x7fff + ((value >>> 16) & 1)) >>> 16)
}

/** A shape by its name, or with other numbers of layers: NAME:LAYERS:TOWER-LAYERS. */
export function shapeOf(text: string): Shape | undefined {
  const [name = '', layers, towerLayers] = text.split(':')
  const shape = shapes[name]
  if (shape === undefined || layers === undefined) return shape
  const vision = { ...shape.vision, layers: Number(towerLayers ?? shape.vision.layers) }
  return { ...shape, layers: Number(layers), vision }
}

if (import.meta.main) {
  const [name = 'S', folder = '', seed = '1'] = process.argv.slice(2)
  const shape = shapeOf(name)
  if (shape === undefined || folder === '')
    throw new Error(`usage: node bench/random-checkpoint.ts ${Object.keys(shapes).join('|')} FOLDER [SEED]`)
  await writeRandomCheckpoint({ shape, folder, seed: Number(seed) })
}
