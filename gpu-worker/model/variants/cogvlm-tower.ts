// The vision tower of the CogVLM family with its adapter: pixels to the rows that the decoder takes for an image.
// It does not know the decoder.
import type { QuantizedMatrix } from '../../../schemas/model-manifest.ts'
import { GraphBuilder } from '../graph.ts'
import type { Graph, Value } from '../graph.ts'
import { gatedActivation, gelu, inChunks, layerNorm, plainTowerAttention, towerAttention } from '../layers.ts'
import { linearContext, product, vector, wholeTensor } from './build-parts.ts'
import type { Build, BuildOptions } from './build-parts.ts'

/** eps of the LayerNorm in the adapter: the framework's default, not the tower's. */
const adapterEpsilon = 1e-5

/**
 *   pixels [1,3,S,S] ─ patches ─ blocks ─ drop cls ─ (conv 2x2) ─ adapter ─ [boi; rows; eoi] = image_features [N+2, H]
 */
export function buildVision(options: BuildOptions, quantized: QuantizedMatrix[]): Graph {
  const { variant } = options
  const builder = new GraphBuilder('vision')
  const { imageSize } = variant.tower
  const pixels = builder.input('pixels', 'float32', [1, 3, imageSize, imageSize])
  const build: Build = {
    ...options,
    context: linearContext(builder, options, { quantized }),
    shared: new Map(),
  }
  let x = patchEmbedding(builder.scope('patch_embedding'), build, pixels)
  for (let layer = 0; layer < variant.tower.layerCount; layer++) x = towerBlock(builder, build, layer, x)
  x = builder.op(
    'Slice',
    [x, builder.int64([1]), builder.int64([variant.tower.positionCount]), builder.int64([0])],
    { as: 'patches' },
  )
  if (variant.family === 'cogvlm2') x = downsample(builder.scope('conv'), build, x)
  const rows = adapter(builder, build, x)
  const edge = (name: string): Value =>
    builder.op(
      'Reshape',
      [vector(builder, build, `model.vision.${name}`, name), builder.int64([1, variant.hiddenSize])],
      { as: `${name}_row` },
    )
  const features = builder.op('Concat', [edge('boi'), rows, edge('eoi')], {
    attributes: { axis: 0 },
    as: 'features',
  })
  builder.output('image_features', features, [variant.patchRows + 2, variant.hiddenSize])
  return builder.graph
}

/** A k x k convolution of stride k is one product a patch; then cls in front and a learned position each: [1 + g*g, W]. */
function patchEmbedding(builder: GraphBuilder, build: Build, pixels: Value): Value {
  const { tower } = build.variant
  const prefix = 'model.vision.patch_embedding'
  const kernel = wholeTensor(builder, build, `${prefix}.proj.weight`, [
    tower.width,
    3,
    tower.patchSize,
    tower.patchSize,
  ])
  const bias = vector(builder, build, `${prefix}.proj.bias`, 'bias')
  const sides = [tower.patchSize, tower.patchSize]
  const map = builder.op('Conv', [pixels, kernel, bias], {
    attributes: { kernel_shape: sides, strides: sides },
  })
  const flat = builder.op('Reshape', [map, builder.int64([tower.width, tower.positionCount - 1])], {
    as: 'flat',
  })
  const rows = builder.op('Transpose', [flat], { attributes: { perm: [1, 0] }, as: 'rows' })
  const cls = builder.op(
    'Reshape',
    [vector(builder, build, `${prefix}.cls_embedding`, 'cls'), builder.int64([1, tower.width])],
    { as: 'cls_row' },
  )
  const positions = wholeTensor(builder, build, `${prefix}.position_embedding.weight`, [
    tower.positionCount,
    tower.width,
  ])
  const joined = builder.op('Concat', [cls, rows], { attributes: { axis: 0 } })
  return builder.op('Add', [joined, positions], { as: 'embedded' })
}

/**
 * The norms stand on the branch outputs, so the residual stream itself is never normalised:
 *   x ─┬─ attention ─ LN ─ + ─┬─ fc1 ─ GELU ─ fc2 ─ LN ─ + ─
 *      └──────────────────────┘ └─────────────────────────┘
 */
function towerBlock(builder: GraphBuilder, build: Build, layer: number, x: Value): Value {
  const { tower } = build.variant
  const scope = builder.scope(`tower.${layer}`)
  const prefix = `model.vision.transformer.layers.${layer}`
  const affine = (inner: GraphBuilder, name: string, input: Value): Value =>
    product(inner, build, input, {
      tensor: `${prefix}.${name}.weight`,
      name,
      role: 'tower',
      bias: `${prefix}.${name}.bias`,
      inputsAreMeans: name === 'attention.dense',
    })
  const norm = (inner: GraphBuilder, name: string, input: Value): Value =>
    layerNorm(inner, input, {
      weight: vector(inner, build, `${prefix}.${name}.weight`, `${name}.weight`),
      bias: vector(inner, build, `${prefix}.${name}.bias`, `${name}.bias`),
      epsilon: tower.epsilon,
    })
  // On a GPU a loop would run on the CPU, and the memory is the GPU's.
  const maxRows = build.target === 'cpu' ? undefined : Infinity
  const few = (input: Value, width: number, body: (inner: GraphBuilder, rows: Value) => Value): Value =>
    inChunks(scope, input, { rowCount: tower.positionCount, width, maxRows }, body)
  const qkv = few(x, 3 * tower.width, (inner, rows) => affine(inner, 'attention.query_key_value', rows))
  const attended =
    build.target === 'webgpu'
      ? plainTowerAttention(scope, qkv, { ...tower, rowCount: tower.positionCount })
      : towerAttention(scope, qkv, tower)
  const dense = few(attended, tower.width, (inner, rows) =>
    norm(inner, 'input_layernorm', affine(inner, 'attention.dense', rows)),
  )
  const middle = scope.op('Add', [x, dense], { as: 'middle' })
  const mlp = few(middle, tower.width, (inner, rows) => {
    const activated = gelu(inner, affine(inner, 'mlp.fc1', rows))
    return norm(inner, 'post_attention_layernorm', affine(inner, 'mlp.fc2', activated))
  })
  return scope.op('Add', [middle, mlp], { as: 'out' })
}

/** [g*g, W] row-major ─ [1, W, g, g] ─ Conv 2x2 stride 2 ─ [(g/2)^2, W]: before the adapter, in the tower's width. */
function downsample(builder: GraphBuilder, build: Build, x: Value): Value {
  const { tower, patchRows } = build.variant
  const channelsFirst = builder.op('Transpose', [x], { attributes: { perm: [1, 0] }, as: 'channelsFirst' })
  const map = builder.op(
    'Reshape',
    [channelsFirst, builder.int64([1, tower.width, tower.gridSide, tower.gridSide])],
    { as: 'map' },
  )
  const kernel = wholeTensor(builder, build, 'model.vision.conv.weight', [tower.width, tower.width, 2, 2])
  const bias = vector(builder, build, 'model.vision.conv.bias', 'bias')
  const halved = builder.op('Conv', [map, kernel, bias], {
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
  })
  const flat = builder.op('Reshape', [halved, builder.int64([tower.width, patchRows])], { as: 'flat' })
  return builder.op('Transpose', [flat], { attributes: { perm: [1, 0] }, as: 'rows' })
}

/** linear ─ LN ─ GELU ─ GLU: [N, W] -> [N, H]. SiLU on gate_proj only; the norm and GELU come before both. */
function adapter(builder: GraphBuilder, build: Build, x: Value): Value {
  const scope = builder.scope('adapter')
  const prefix = 'model.vision.linear_proj'
  const projected = product(scope, build, x, {
    tensor: `${prefix}.linear_proj.weight`,
    name: 'linear_proj',
    role: 'tower',
  })
  const normed = layerNorm(scope, projected, {
    weight: vector(scope, build, `${prefix}.norm1.weight`, 'norm1.weight'),
    bias: vector(scope, build, `${prefix}.norm1.bias`, 'norm1.bias'),
    epsilon: adapterEpsilon,
  })
  const activated = gelu(scope, normed)
  const half = (name: string): Value =>
    product(scope, build, activated, { tensor: `${prefix}.${name}.weight`, name, role: 'tower' })
  const inner = gatedActivation(scope, half('gate_proj'), half('dense_h_to_4h'))
  return product(scope, build, inner, {
    tensor: `${prefix}.dense_4h_to_h.weight`,
    name: 'dense_4h_to_h',
    role: 'tower',
  })
}
