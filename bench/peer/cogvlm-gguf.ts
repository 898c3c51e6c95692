// A CogVLM checkpoint as the two files that llama.cpp runs: the decoder with both experts, and the tower with its
// adapter. For measuring the same weights in another engine; the vocabulary is made up.
//   node bench/peer/cogvlm-gguf.ts CHECKPOINT FOLDER     writes text-q4_0, text-q8_0, tower-f16 and tower-q8_0 .gguf
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '../../gpu-worker/model/checkpoint.ts'
import type { Checkpoint } from '../../gpu-worker/model/checkpoint.ts'
import { clipMean, clipStd } from '../../gpu-worker/model/compile.ts'
import { matrixOf } from '../../gpu-worker/model/matrix.ts'
import { readVariant } from '../../gpu-worker/model/variants/config.ts'
import type { Variant } from '../../gpu-worker/model/variants/config.ts'
import { writeGguf } from './gguf.ts'
import type { Gguf, GgufTensor, GgufValue, TensorType } from './gguf.ts'

/** Decoder: matrices in `type`, norms in float32. Rows of query, key and value stand as in the checkpoint. */
function textGguf(checkpoint: Checkpoint, type: TensorType): Gguf {
  const variant = readVariant(checkpoint.config, new Set(checkpoint.shapes.keys()))
  const tensor = namer(checkpoint)
  const tensors = [
    tensor('token_embd.weight', 'model.embed_tokens.weight', type),
    tensor('output_norm.weight', 'model.norm.weight', 'f32'),
    tensor('output.weight', 'lm_head.weight', type),
  ]
  for (let layer = 0; layer < variant.layerCount; layer++) {
    const [from, to] = [`model.layers.${layer}`, `blk.${layer}`]
    tensors.push(
      tensor(`${to}.attn_norm.weight`, `${from}.input_layernorm.weight`, 'f32'),
      tensor(`${to}.ffn_norm.weight`, `${from}.post_attention_layernorm.weight`, 'f32'),
    )
    for (const [expert, attention, mlp] of [
      ['language', 'attn', 'ffn'],
      ['vision', 'vis_attn', 'vis'],
    ] as const) {
      tensors.push(
        tensor(
          `${to}.${attention}_qkv.weight`,
          `${from}.self_attn.${expert}_expert_query_key_value.weight`,
          type,
        ),
        tensor(`${to}.${attention}_output.weight`, `${from}.self_attn.${expert}_expert_dense.weight`, type),
        ...['gate', 'up', 'down'].map((name) =>
          tensor(`${to}.${mlp}_${name}.weight`, `${from}.mlp.${expert}_mlp.${name}_proj.weight`, type),
        ),
      )
    }
  }
  return { fields: { ...textFields(variant), ...vocabularyFields(variant.vocabSize) }, tensors }
}

function textFields(variant: Variant): Record<string, GgufValue> {
  const key = (name: string): string => `cogvlm.${name}`
  return {
    'general.architecture': { kind: 'string', value: 'cogvlm' },
    'general.name': { kind: 'string', value: 'random' },
    [key('vocab_size')]: u32(variant.vocabSize),
    [key('context_length')]: u32(variant.maxPositions),
    [key('embedding_length')]: u32(variant.hiddenSize),
    [key('block_count')]: u32(variant.layerCount),
    [key('feed_forward_length')]: u32(variant.innerSize),
    [key('rope.dimension_count')]: u32(variant.headDim),
    [key('rope.freq_base')]: { kind: 'f32', value: variant.ropeTheta },
    [key('attention.head_count')]: u32(variant.headCount),
    [key('attention.head_count_kv')]: u32(variant.kvHeadCount),
    [key('attention.layer_norm_rms_epsilon')]: { kind: 'f32', value: variant.rmsEpsilon },
  }
}

/** Three special tokens, 256 bytes, and words that no text asks for. */
function vocabularyFields(size: number): Record<string, GgufValue> {
  const special = ['<unk>', '<s>', '</s>']
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  )
  const words = Array.from({ length: size - special.length - bytes.length }, (_, index) => `▁w${index}`)
  const tokens = [...special, ...bytes, ...words]
  const kinds = { normal: 1, unknown: 2, control: 3, byte: 6 }
  const kindOf = (index: number): number => {
    if (index === 0) return kinds.unknown
    if (index < special.length) return kinds.control
    return index < special.length + bytes.length ? kinds.byte : kinds.normal
  }
  return {
    'tokenizer.ggml.model': { kind: 'string', value: 'llama' },
    'tokenizer.ggml.pre': { kind: 'string', value: 'default' },
    'tokenizer.ggml.tokens': { kind: 'strings', value: tokens },
    'tokenizer.ggml.scores': { kind: 'f32s', value: tokens.map((_, index) => -index) },
    'tokenizer.ggml.token_type': { kind: 'i32s', value: tokens.map((_, index) => kindOf(index)) },
    'tokenizer.ggml.bos_token_id': u32(1),
    'tokenizer.ggml.eos_token_id': u32(2),
    'tokenizer.ggml.unknown_token_id': u32(0),
    'tokenizer.ggml.add_bos_token': { kind: 'bool', value: true },
    'tokenizer.ggml.add_eos_token': { kind: 'bool', value: false },
    'tokenizer.chat_template': {
      kind: 'string',
      value: '{% for message in messages %}{{ message.content }}{% endfor %}',
    },
  }
}

/** Tower and adapter: matrices in `type`, everything else in float32. */
function towerGguf(checkpoint: Checkpoint, type: TensorType): Gguf {
  const variant = readVariant(checkpoint.config, new Set(checkpoint.shapes.keys()))
  const tensor = namer(checkpoint)
  const patches = 'model.vision.patch_embedding'
  const adapter = 'model.vision.linear_proj'
  const tensors = [
    { ...tensor('v.class_embd', `${patches}.cls_embedding`, 'f32'), shape: [variant.tower.width] },
    // A convolution; its rows are no multiple of a block.
    tensor('v.patch_embd.weight', `${patches}.proj.weight`, 'f16'),
    tensor('v.patch_embd.bias', `${patches}.proj.bias`, 'f32'),
    clsLast(tensor('v.position_embd.weight', `${patches}.position_embedding.weight`, 'f32')),
    ...towerBlocks(variant, tensor, type),
    tensor('mm.model.fc.weight', `${adapter}.linear_proj.weight`, type),
    tensor('mm.post_fc_norm.weight', `${adapter}.norm1.weight`, 'f32'),
    tensor('mm.post_fc_norm.bias', `${adapter}.norm1.bias`, 'f32'),
    tensor('mm.up.weight', `${adapter}.dense_h_to_4h.weight`, type),
    tensor('mm.gate.weight', `${adapter}.gate_proj.weight`, type),
    tensor('mm.down.weight', `${adapter}.dense_4h_to_h.weight`, type),
    tensor('v.boi', 'model.vision.boi', 'f32'),
    tensor('v.eoi', 'model.vision.eoi', 'f32'),
  ]
  return { fields: towerFields(variant), tensors }
}

function towerBlocks({ tower }: Variant, tensor: TensorNamer, type: TensorType): GgufTensor[] {
  const names: Record<string, string> = {
    attn_qkv: 'attention.query_key_value',
    attn_out: 'attention.dense',
    ffn_up: 'mlp.fc1',
    ffn_down: 'mlp.fc2',
    ln1: 'input_layernorm',
    ln2: 'post_attention_layernorm',
  }
  return Array.from({ length: tower.layerCount }, (_, layer) =>
    Object.entries(names).flatMap(([to, from]) => {
      const own = `model.vision.transformer.layers.${layer}.${from}`
      return [
        tensor(`v.blk.${layer}.${to}.weight`, `${own}.weight`, to.startsWith('ln') ? 'f32' : type),
        tensor(`v.blk.${layer}.${to}.bias`, `${own}.bias`, 'f32'),
      ]
    }),
  ).flat()
}

function towerFields({ tower, hiddenSize }: Variant): Record<string, GgufValue> {
  return {
    'general.architecture': { kind: 'string', value: 'clip' },
    'general.type': { kind: 'string', value: 'mmproj' },
    'clip.has_vision_encoder': { kind: 'bool', value: true },
    'clip.projector_type': { kind: 'string', value: 'cogvlm' },
    'clip.use_gelu': { kind: 'bool', value: true },
    'clip.vision.projection_dim': u32(hiddenSize),
    'clip.vision.image_size': u32(tower.imageSize),
    'clip.vision.patch_size': u32(tower.patchSize),
    'clip.vision.embedding_length': u32(tower.width),
    'clip.vision.feed_forward_length': u32(tower.innerSize),
    'clip.vision.block_count': u32(tower.layerCount),
    'clip.vision.attention.head_count': u32(tower.headCount),
    'clip.vision.attention.layer_norm_epsilon': { kind: 'f32', value: tower.epsilon },
    'clip.vision.image_mean': { kind: 'f32s', value: clipMean },
    'clip.vision.image_std': { kind: 'f32s', value: clipStd },
  }
}

/** The other engine puts cls behind the patches and adds positions in the order of the file. */
function clsLast(tensor: GgufTensor): GgufTensor {
  const { matrix } = tensor
  const readRows = async (first: number, count: number): Promise<Float32Array<ArrayBuffer>> => {
    const turned = new Float32Array(count * matrix.columns)
    for (let row = 0; row < count; row++)
      turned.set(await matrix.readRows((first + row + 1) % matrix.rows, 1), row * matrix.columns)
    return turned
  }
  return { ...tensor, matrix: { ...matrix, readRows } }
}

type TensorNamer = (name: string, from: string, type: TensorType) => GgufTensor

function namer(checkpoint: Checkpoint): TensorNamer {
  return (name, from, type) => ({
    name,
    type,
    shape: checkpoint.shapes.get(from) ?? [],
    matrix: matrixOf(checkpoint, from),
  })
}

function u32(value: number): GgufValue {
  return { kind: 'u32', value }
}

if (import.meta.main) {
  const [from, folder] = process.argv.slice(2)
  if (from === undefined || folder === undefined)
    throw new Error('usage: node bench/peer/cogvlm-gguf.ts CHECKPOINT FOLDER')
  await mkdir(folder, { recursive: true })
  const checkpoint = await openCheckpoint(from)
  for (const type of ['q4_0', 'q8_0'] as const)
    await writeGguf(join(folder, `text-${type}.gguf`), textGguf(checkpoint, type))
  for (const type of ['f16', 'q8_0'] as const)
    await writeGguf(join(folder, `tower-${type}.gguf`), towerGguf(checkpoint, type))
  await checkpoint.close()
}
