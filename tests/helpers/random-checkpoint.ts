// Random CogVLM and CogVLM2 checkpoints in Hugging Face layout, of any size, type and number of shards. The tensor list
// is written out from the facts about the family and not taken from the compiler, so that the two check each other.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export type CheckpointShape = {
  family: 'cogvlm' | 'cogvlm2'
  hidden: number
  inner: number
  layers: number
  heads: number
  /** Equal to `heads` in the first generation. */
  kvHeads: number
  vocab: number
  epsilon: number
  vision: {
    width: number
    inner: number
    layers: number
    heads: number
    imageSize: number
    patchSize: number
    epsilon: number
  }
}

export type RandomTensor = { shape: readonly number[]; data: Float32Array }
export type FloatType = 'F32' | 'F16' | 'BF16'

/** A small model of the first generation; tests change what they care about. */
export const smallShape: CheckpointShape = {
  family: 'cogvlm',
  hidden: 48,
  inner: 68,
  layers: 2,
  heads: 4,
  kvHeads: 4,
  vocab: 131,
  epsilon: 1e-5,
  vision: { width: 24, inner: 40, layers: 2, heads: 2, imageSize: 28, patchSize: 14, epsilon: 1e-6 },
}

/** Uniform numbers in [0, 1), seeded (xorshift32 started from a mixed seed). */
export function seededUniform(seed: number): () => number {
  let state = (Math.imul(seed ^ 0x9e37_79b9, 0x85eb_ca6b) ^ 0x27d4_eb2f) | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** config.json as the released checkpoints write it. */
export function configOf(shape: CheckpointShape): Record<string, unknown> {
  const { vision } = shape
  return {
    architectures: ['CogVLMForCausalLM'],
    vocab_size: shape.vocab,
    hidden_size: shape.hidden,
    intermediate_size: shape.inner,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    ...(shape.family === 'cogvlm2' ? { num_multi_query_heads: shape.kvHeads } : {}),
    rms_norm_eps: shape.epsilon,
    max_position_embeddings: 2048,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    template_version: 'chat',
    tie_word_embeddings: false,
    vision_config: {
      image_size: vision.imageSize,
      patch_size: vision.patchSize,
      num_positions: (vision.imageSize / vision.patchSize) ** 2 + 1,
      in_channels: 3,
      hidden_size: vision.width,
      num_heads: vision.heads,
      num_hidden_layers: vision.layers,
      intermediate_size: vision.inner,
      layer_norm_eps: vision.epsilon,
      hidden_act: 'gelu',
    },
  }
}

/** Shape of every tensor of such a checkpoint by name. */
export function tensorShapes(shape: CheckpointShape): Record<string, number[]> {
  return { ...decoderShapes(shape), ...visionShapes(shape) }
}

/** Every tensor of such a checkpoint. A tensor's numbers depend on its name and the seed alone. */
export function randomTensors(shape: CheckpointShape, seed: number): Map<string, RandomTensor> {
  return new Map(
    Object.entries(tensorShapes(shape)).map(([name, dims]) => [
      name,
      { shape: dims, data: randomNumbers(name, dims, seed) },
    ]),
  )
}

function decoderShapes({
  family,
  hidden,
  inner,
  layers,
  heads,
  kvHeads,
  vocab,
}: CheckpointShape): Record<string, number[]> {
  const qkv = hidden + (2 * kvHeads * hidden) / heads
  const shapes: Record<string, number[]> = {
    'model.embed_tokens.weight': [vocab, hidden],
    'model.norm.weight': [hidden],
    'lm_head.weight': [vocab, hidden],
  }
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`
    shapes[`${prefix}.input_layernorm.weight`] = [hidden]
    shapes[`${prefix}.post_attention_layernorm.weight`] = [hidden]
    for (const expert of ['language', 'vision']) {
      shapes[`${prefix}.self_attn.${expert}_expert_query_key_value.weight`] = [qkv, hidden]
      shapes[`${prefix}.self_attn.${expert}_expert_dense.weight`] = [hidden, hidden]
      shapes[`${prefix}.mlp.${expert}_mlp.gate_proj.weight`] = [inner, hidden]
      shapes[`${prefix}.mlp.${expert}_mlp.up_proj.weight`] = [inner, hidden]
      shapes[`${prefix}.mlp.${expert}_mlp.down_proj.weight`] = [hidden, inner]
    }
    if (family === 'cogvlm2') shapes[`${prefix}.self_attn.vision_expert_query_key_value.bias`] = [qkv]
  }
  return shapes
}

function visionShapes({ family, hidden, inner, vision }: CheckpointShape): Record<string, number[]> {
  const { width, patchSize, imageSize } = vision
  const shapes: Record<string, number[]> = {
    'patch_embedding.proj.weight': [width, 3, patchSize, patchSize],
    'patch_embedding.proj.bias': [width],
    'patch_embedding.cls_embedding': [1, width],
    'patch_embedding.position_embedding.weight': [(imageSize / patchSize) ** 2 + 1, width],
    'linear_proj.linear_proj.weight': [hidden, width],
    'linear_proj.norm1.weight': [hidden],
    'linear_proj.norm1.bias': [hidden],
    'linear_proj.gate_proj.weight': [inner, hidden],
    'linear_proj.dense_h_to_4h.weight': [inner, hidden],
    'linear_proj.dense_4h_to_h.weight': [hidden, inner],
    'boi': [1, 1, hidden],
    'eoi': [1, 1, hidden],
    ...(family === 'cogvlm2' ? { 'conv.weight': [width, width, 2, 2], 'conv.bias': [width] } : {}),
  }
  const sides: Record<string, [number, number]> = {
    'attention.query_key_value': [3 * width, width],
    'attention.dense': [width, width],
    'mlp.fc1': [vision.inner, width],
    'mlp.fc2': [width, vision.inner],
  }
  for (let layer = 0; layer < vision.layers; layer++) {
    const prefix = `transformer.layers.${layer}`
    for (const [name, [out, input]] of Object.entries(sides)) {
      shapes[`${prefix}.${name}.weight`] = [out, input]
      shapes[`${prefix}.${name}.bias`] = [out]
    }
    for (const norm of ['input_layernorm', 'post_attention_layernorm']) {
      shapes[`${prefix}.${norm}.weight`] = [width]
      shapes[`${prefix}.${norm}.bias`] = [width]
    }
  }
  return Object.fromEntries(Object.entries(shapes).map(([name, dims]) => [`model.vision.${name}`, dims]))
}

/** Scales that keep activations in range: norms around one, matrices by fan-in, everything else small. */
function randomNumbers(name: string, dims: readonly number[], seed: number): Float32Array {
  const count = dims.reduce((product, size) => product * size, 1)
  const isNorm = /norm\d?\.weight$/.test(name)
  const fanIn = dims.slice(1).reduce((product, size) => product * size, 1)
  const isTable = name.includes('embed') && !name.includes('proj')
  const isMatrix = dims.length > 1 && dims[0] !== 1 && !isTable
  const spread = isMatrix ? 2 / Math.sqrt(fanIn) : isNorm ? 0.3 : isTable ? 1.5 : 0.5
  const uniform = seededUniform(
    Buffer.from(name).reduce((hash, byte) => Math.imul(hash, 31) + byte, seed * 7919) | 0,
  )
  // Three uniform numbers make a bell that is close enough to normal; its deviation is one half.
  return Float32Array.from(
    { length: count },
    () => (isNorm ? 1 : 0) + spread * (uniform() + uniform() + uniform() - 1.5),
  )
}

export type WriteOptions = {
  config: Record<string, unknown>
  tensors: ReadonlyMap<string, RandomTensor>
  storedType?: FloatType
  /** More than one makes shards with an index. */
  shardCount?: number
}

/** Writes config.json and the tensors into a folder, which is made. */
export function writeCheckpoint(
  folder: string,
  { config, tensors, storedType = 'F32', shardCount = 1 }: WriteOptions,
): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  if (shardCount === 1) {
    writeFileSync(join(folder, 'model.safetensors'), encodeTensors(tensors, storedType))
    return
  }
  const weightMap: Record<string, string> = {}
  for (let shard = 0; shard < shardCount; shard++) {
    const name = `model-${String(shard + 1).padStart(5, '0')}-of-${String(shardCount).padStart(5, '0')}.safetensors`
    const own = new Map([...tensors].filter((_, index) => index % shardCount === shard))
    for (const tensor of own.keys()) weightMap[tensor] = name
    writeFileSync(join(folder, name), encodeTensors(own, storedType))
  }
  writeFileSync(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: {}, weight_map: weightMap }),
  )
}

/** A random checkpoint of a shape, written. */
export function writeRandomCheckpoint(
  folder: string,
  shape: CheckpointShape,
  options: { seed?: number; storedType?: FloatType; shardCount?: number } = {},
): void {
  const { seed = 1, ...rest } = options
  writeCheckpoint(folder, { config: configOf(shape), tensors: randomTensors(shape, seed), ...rest })
}

/** The bytes of a .safetensors file of float tensors. */
export function encodeTensors(
  tensors: ReadonlyMap<string, RandomTensor>,
  storedType: FloatType = 'F32',
): Buffer {
  let offset = 0
  const header: Record<string, unknown> = {}
  const parts = [...tensors].map(([name, { shape, data }]) => {
    const bytes = encodeFloats(data, storedType)
    header[name] = { dtype: storedType, shape, data_offsets: [offset, offset + bytes.length] }
    offset += bytes.length
    return bytes
  })
  return Buffer.concat([encodeHeader(JSON.stringify(header)), ...parts])
}

/** Length field and text, as any header might be, also a broken one. */
export function encodeHeader(text: string): Buffer {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)))
  return Buffer.concat([length, Buffer.from(text)])
}

function encodeFloats(values: Float32Array, storedType: FloatType): Buffer {
  if (storedType === 'F32') return Buffer.from(Float32Array.from(values).buffer)
  if (storedType === 'F16') return Buffer.from(Float16Array.from(values).buffer)
  const bits = new Uint32Array(Float32Array.from(values).buffer)
  return Buffer.from(Uint16Array.from(bits, (value) => (value + 0x7fff + ((value >>> 16) & 1)) >>> 16).buffer)
}

/** A small model of each generation, the second with grouped heads. */
export const bothGenerations: Record<string, CheckpointShape> = {
  first: { ...smallShape, hidden: 64, heads: 4, kvHeads: 4, layers: 3, vocab: 307 },
  second: {
    ...smallShape,
    family: 'cogvlm2',
    hidden: 64,
    heads: 8,
    kvHeads: 2,
    layers: 3,
    vocab: 307,
    vision: { ...smallShape.vision, patchSize: 7 },
  },
}
