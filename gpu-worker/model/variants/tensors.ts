// Every tensor of a CogVLM or CogVLM2 checkpoint with its shape, and the check that a folder holds exactly these.
import { UserError } from '../../../schemas/errors.ts'
import type { Variant } from './config.ts'
import { expectFactors } from './low-rank.ts'

/** Name and shape of every tensor the variant must have. Linear weights are [out, in]. */
export function expectedTensors(variant: Variant): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>()
  const { hiddenSize, vocabSize, tower } = variant
  tensors.set('model.embed_tokens.weight', [vocabSize, hiddenSize])
  for (let layer = 0; layer < variant.layerCount; layer++) addDecoderLayer(tensors, variant, layer)
  tensors.set('model.norm.weight', [hiddenSize])
  tensors.set(variant.headTensor, [vocabSize, hiddenSize])
  addPatchEmbedding(tensors, variant)
  for (let layer = 0; layer < tower.layerCount; layer++) addTowerLayer(tensors, variant, layer)
  addAdapter(tensors, variant)
  return tensors
}

function addDecoderLayer(tensors: Map<string, readonly number[]>, variant: Variant, layer: number): void {
  const { hiddenSize, innerSize, headDim, kvHeadCount } = variant
  const prefix = `model.layers.${layer}`
  const qkvSize = hiddenSize + 2 * kvHeadCount * headDim
  tensors.set(`${prefix}.input_layernorm.weight`, [hiddenSize])
  tensors.set(`${prefix}.post_attention_layernorm.weight`, [hiddenSize])
  for (const expert of ['language', 'vision']) {
    tensors.set(`${prefix}.self_attn.${expert}_expert_query_key_value.weight`, [qkvSize, hiddenSize])
    tensors.set(`${prefix}.self_attn.${expert}_expert_dense.weight`, [hiddenSize, hiddenSize])
    tensors.set(`${prefix}.mlp.${expert}_mlp.gate_proj.weight`, [innerSize, hiddenSize])
    tensors.set(`${prefix}.mlp.${expert}_mlp.up_proj.weight`, [innerSize, hiddenSize])
    tensors.set(`${prefix}.mlp.${expert}_mlp.down_proj.weight`, [hiddenSize, innerSize])
  }
  if (variant.family === 'cogvlm2')
    tensors.set(`${prefix}.self_attn.vision_expert_query_key_value.bias`, [qkvSize])
}

function addPatchEmbedding(tensors: Map<string, readonly number[]>, { tower }: Variant): void {
  const prefix = 'model.vision.patch_embedding'
  tensors.set(`${prefix}.proj.weight`, [tower.width, 3, tower.patchSize, tower.patchSize])
  tensors.set(`${prefix}.proj.bias`, [tower.width])
  tensors.set(`${prefix}.cls_embedding`, [1, tower.width])
  tensors.set(`${prefix}.position_embedding.weight`, [tower.positionCount, tower.width])
}

function addTowerLayer(tensors: Map<string, readonly number[]>, { tower }: Variant, layer: number): void {
  const prefix = `model.vision.transformer.layers.${layer}`
  const affine = (name: string, out: number, input: number): void => {
    tensors.set(`${prefix}.${name}.weight`, [out, input])
    tensors.set(`${prefix}.${name}.bias`, [out])
  }
  affine('attention.query_key_value', 3 * tower.width, tower.width)
  affine('attention.dense', tower.width, tower.width)
  affine('mlp.fc1', tower.innerSize, tower.width)
  affine('mlp.fc2', tower.width, tower.innerSize)
  for (const norm of ['input_layernorm', 'post_attention_layernorm']) {
    tensors.set(`${prefix}.${norm}.weight`, [tower.width])
    tensors.set(`${prefix}.${norm}.bias`, [tower.width])
  }
}

function addAdapter(
  tensors: Map<string, readonly number[]>,
  { tower, hiddenSize, innerSize, family }: Variant,
): void {
  const prefix = 'model.vision'
  if (family === 'cogvlm2') {
    tensors.set(`${prefix}.conv.weight`, [tower.width, tower.width, 2, 2])
    tensors.set(`${prefix}.conv.bias`, [tower.width])
  }
  tensors.set(`${prefix}.linear_proj.linear_proj.weight`, [hiddenSize, tower.width])
  tensors.set(`${prefix}.linear_proj.norm1.weight`, [hiddenSize])
  tensors.set(`${prefix}.linear_proj.norm1.bias`, [hiddenSize])
  tensors.set(`${prefix}.linear_proj.gate_proj.weight`, [innerSize, hiddenSize])
  tensors.set(`${prefix}.linear_proj.dense_h_to_4h.weight`, [innerSize, hiddenSize])
  tensors.set(`${prefix}.linear_proj.dense_4h_to_h.weight`, [hiddenSize, innerSize])
  tensors.set(`${prefix}.boi`, [1, 1, hiddenSize])
  tensors.set(`${prefix}.eoi`, [1, 1, hiddenSize])
}

/** Buffers that may be stored beside the weights: one rotary table a layer. */
export function inverseFrequencyName(layer: number): string {
  return `model.layers.${layer}.self_attn.rotary_emb.inv_freq`
}

const maxNamed = 6

/** Throws UserError that names missing, extra and misshapen tensors, with the shapes seen and expected. */
export function checkTensors(variant: Variant, shapes: ReadonlyMap<string, readonly number[]>): void {
  const expected = expectedTensors(variant)
  expectFactors(expected, shapes)
  // Stored in spite of being tied; not read, as in the released code.
  if (shapes.has('lm_head.weight')) expected.set('lm_head.weight', [variant.vocabSize, variant.hiddenSize])
  for (let layer = 0; layer < variant.layerCount; layer++) {
    const name = inverseFrequencyName(layer)
    if (shapes.has(name)) expected.set(name, [variant.headDim / 2])
  }
  const missing = [...expected]
    .filter(([name]) => !shapes.has(name))
    .map(([name, shape]) => `${name} [${shape.join(', ')}]`)
  const extra = [...shapes]
    .filter(([name]) => !expected.has(name))
    .map(([name, shape]) => `${name} [${shape.join(', ')}]`)
  const misshapen = [...expected].flatMap(([name, shape]) => {
    const seen = shapes.get(name)
    const same =
      seen === undefined || (seen.length === shape.length && seen.every((size, axis) => size === shape[axis]))
    return same ? [] : [`${name} is [${seen.join(', ')}], expected [${shape.join(', ')}]`]
  })
  const complaints = [
    list('missing', missing),
    list('unexpected', extra),
    list('of another shape', misshapen),
  ].filter((line) => line !== '')
  if (complaints.length === 0) return
  throw new UserError(
    `the tensors do not fit a ${variant.family} model as config.json describes it:\n  ${complaints.join('\n  ')}\n` +
      'Is the download complete, and does config.json belong to these weights?',
  )
}

function list(title: string, items: readonly string[]): string {
  if (items.length === 0) return ''
  const more = items.length > maxNamed ? ` and ${items.length - maxNamed} more` : ''
  return `${items.length} ${title}: ${items.slice(0, maxNamed).join('; ')}${more}`
}
