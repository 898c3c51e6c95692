// The CogVLM family as two graphs: the vision tower with its adapter, and the decoder with both experts.
// Follows the paper's section 2 and the released modelling code; where the two generations differ, `variant` says so.
import { InvariantError } from '../../../schemas/errors.ts'
import type { Checkpoint } from '../checkpoint.ts'
import { GraphBuilder } from '../graph.ts'
import type { Graph, Value } from '../graph.ts'
import { decoderAttention } from '../attention.ts'
import { attentionShapes } from '../attention-frame.ts'
import type { Attended, AttentionFrame, CpuFrame, LayerCache, LayerPrefix } from '../attention-frame.ts'
import { gatedActivation, gelu, layerNorm, rmsNorm, towerAttention } from '../layers.ts'
import { linear, vectorWeight } from '../linear.ts'
import type { LinearContext, LinearOptions } from '../linear.ts'
import { forEachTile, matrixOf, stackRows } from '../matrix.ts'
import { expectFloat16 } from '../quantize.ts'
import type { Variant } from './config.ts'
import { expertMatrix, stackExpertMatrices } from './low-rank.ts'
import { attentionWays, prefixSlots } from '../../../schemas/model-manifest.ts'
import type { CacheFormat, QuantizedMatrix, Target, WeightFormat } from '../../../schemas/model-manifest.ts'

/** eps of the LayerNorm in the adapter: the framework's default, not the tower's. */
const adapterEpsilon = 1e-5

export type BuildOptions = {
  variant: Variant
  checkpoint: Checkpoint
  /** All one-dimensional tensors, small enough to hold: norms, biases, boi, eoi, cls. */
  vectors: ReadonlyMap<string, Float32Array<ArrayBuffer>>
  weights: WeightFormat
  target: Target
}

/** One graph in the making. Vectors that both experts use stand in it once. */
type Build = BuildOptions & { context: LinearContext; shared: Map<string, Value> }

/** Names of values inside the decoder that a trace makes outputs of: each layer's output by expert, the final norm. */
export function traceNames({ layerCount }: Variant): {
  layers: { vision: string; language: string }[]
  finalNorm: string
} {
  const layers = Array.from({ length: layerCount }, (_, layer) => ({
    vision: `layers.${layer}/vision/out`,
    language: `layers.${layer}/language/out`,
  }))
  return { layers, finalNorm: 'final/normed' }
}

/** Builds both graphs. Nothing is read but what the shapes of the graph depend on; weights are streamed when written. */
export function buildGraphs(options: BuildOptions): {
  vision: Graph
  decoder: Graph
  /** The same weights in the same order, with an image's rows cached in bytes; for the CPU only. */
  decoderInt8Cache: Graph | undefined
  quantized: QuantizedMatrix[]
} {
  const quantized: QuantizedMatrix[] = []
  const vision = buildVision(options, quantized)
  const decoder = buildDecoder(options, { cacheFormat: 'fp32', quantized })
  const decoderInt8Cache =
    options.target === 'cpu' ? buildDecoder(options, { cacheFormat: 'int8', quantized: [] }) : undefined
  return { vision, decoder, decoderInt8Cache, quantized }
}

/**
 *   pixels [1,3,S,S] ─ patches ─ blocks ─ drop cls ─ (conv 2x2) ─ adapter ─ [boi; rows; eoi] = image_features [N+2, H]
 */
function buildVision(options: BuildOptions, quantized: QuantizedMatrix[]): Graph {
  const { variant } = options
  const builder = new GraphBuilder('vision')
  const { imageSize } = variant.tower
  const pixels = builder.input('pixels', 'float32', [1, 3, imageSize, imageSize])
  const build: Build = { ...options, context: linearContext(builder, options, quantized), shared: new Map() }
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
  const affine = (name: string, input: Value): Value =>
    product(scope, build, input, {
      tensor: `${prefix}.${name}.weight`,
      name,
      role: 'tower',
      bias: `${prefix}.${name}.bias`,
    })
  const norm = (name: string, input: Value): Value =>
    layerNorm(scope, input, {
      weight: vector(scope, build, `${prefix}.${name}.weight`, `${name}.weight`),
      bias: vector(scope, build, `${prefix}.${name}.bias`, `${name}.bias`),
      epsilon: tower.epsilon,
    })
  const attended = towerAttention(scope, affine('attention.query_key_value', x), {
    width: tower.width,
    headCount: tower.headCount,
  })
  const middle = scope.op('Add', [x, norm('input_layernorm', affine('attention.dense', attended))], {
    as: 'middle',
  })
  const inner = gelu(scope, affine('mlp.fc1', middle))
  return scope.op('Add', [middle, norm('post_attention_layernorm', affine('mlp.fc2', inner))], { as: 'out' })
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
  const stacked = ['gate_proj', 'dense_h_to_4h'].map((name) =>
    matrixOf(build.checkpoint, `${prefix}.${name}.weight`),
  )
  const gateUp = linear(scope, build.context, gelu(scope, normed), {
    name: 'gate_up',
    matrix: stackRows(`${prefix}.gate_up`, stacked),
    role: 'tower',
  })
  const inner = gatedActivation(scope, gateUp, build.variant.innerSize)
  return product(scope, build, inner, {
    tensor: `${prefix}.dense_4h_to_h.weight`,
    name: 'dense_4h_to_h',
    role: 'tower',
  })
}

/**
 * Inputs: vision_rows [V, H] (boi and patches), embedded_rows [E, H] (eoi), token_ids [L]; any may have no rows.
 * Rows are ordered [vision; embedded; tokens], which is their causal order, since bos is always in the prefix.
 * Embedded and token rows go through the language expert, vision rows through the visual expert (paper section 2.2;
 * the last row of an image run, eoi, is a language row in the released code).
 * Outputs: of each layer new keys and values, or a whole prefix; logits of the rows asked for.
 */
function buildDecoder(
  options: BuildOptions,
  { cacheFormat, quantized }: { cacheFormat: CacheFormat; quantized: QuantizedMatrix[] },
): Graph {
  const { variant } = options
  const builder = new GraphBuilder('decoder')
  const visionRows = builder.input('vision_rows', 'float32', ['V', variant.hiddenSize])
  const embeddedRows = builder.input('embedded_rows', 'float32', ['E', variant.hiddenSize])
  const tokenIds = builder.input('token_ids', 'int64', ['L'])
  const logitRows = builder.input('logit_rows', 'int64', ['B'])
  const frame = attentionFrame(builder, options, cacheFormat)
  const build: Build = { ...options, context: linearContext(builder, options, quantized), shared: new Map() }
  const embedded = embedTokens(builder, build, tokenIds)
  let streams: Streams = {
    vision: visionRows,
    language: builder.op('Concat', [embeddedRows, embedded], {
      attributes: { axis: 0 },
      as: 'language_rows',
    }),
  }
  const vision = visionShare(builder, options, visionRows)
  for (let layer = 0; layer < variant.layerCount; layer++) {
    const isLast = layer === variant.layerCount - 1
    streams = decoderLayer(builder, build, { frame, layer, streams, vision, isLast })
  }
  const rows = builder.op('Concat', [streams.vision, streams.language], {
    attributes: { axis: 0 },
    as: 'last_hidden',
  })
  const chosen = builder.op('Gather', [rows, logitRows], { as: 'chosen_rows' })
  const normed = rmsNorm(
    builder.scope('final'),
    chosen,
    vector(builder, build, 'model.norm.weight', 'norm.weight'),
    variant.rmsEpsilon,
  )
  const logits = product(builder, build, normed, { tensor: 'lm_head.weight', name: 'head', role: 'head' })
  builder.output('logits', logits, ['B', variant.vocabSize])
  return builder.graph
}

type Streams = { vision: Value; language: Value }

/** How many rows are the visual expert's, and on the CPU whether there are any, and whether their output is wanted. */
type VisionShare = { count: Value; is: { there: Value; wanted: Value } | undefined }

function visionShare(builder: GraphBuilder, { target }: BuildOptions, visionRows: Value): VisionShare {
  const shape = builder.op('Shape', [visionRows], { elementType: 'int64' })
  const count = builder.op('Gather', [shape, builder.int64([0])], { as: 'vision_count' })
  // A branch runs on the CPU; on another device it would stop the stream of work.
  if (target !== 'cpu') return { count, is: undefined }
  const isMore = (x: Value, as: string): Value =>
    builder.op('Greater', [x, builder.int64([0])], { elementType: 'bool', as })
  const wanted = builder.input('vision_output', 'int64', [1])
  return { count, is: { there: isMore(count, 'has_vision'), wanted: isMore(wanted, 'wants_vision') } }
}

function attentionFrame(
  builder: GraphBuilder,
  { variant, target }: BuildOptions,
  cacheFormat: CacheFormat,
): AttentionFrame {
  const { headCount, kvHeadCount, headDim } = variant
  const keyCounts = builder.input('key_counts', 'int64', [3])
  const positionIds = builder.input('position_ids', 'int64', [1, 'R'])
  return {
    headCount,
    kvHeadCount,
    headDim,
    target,
    cacheFormat,
    positionIds,
    cos: builder.input('cos', 'float32', ['M', headDim / 2]),
    sin: builder.input('sin', 'float32', ['M', headDim / 2]),
    mask: builder.input('mask', 'float32', ['R', 'K']),
    keyCounts,
    shapes: attentionShapes(builder, { keyCounts, headCount, kvHeadCount, headDim }),
    cpu: target === 'cpu' ? cpuFrame(builder, { keyCounts, cacheFormat }) : undefined,
  }
}

function cpuFrame(
  builder: GraphBuilder,
  { keyCounts, cacheFormat }: { keyCounts: Value; cacheFormat: CacheFormat },
): CpuFrame {
  const way = builder.input('attention_way', 'int64', [1])
  const isWay = (name: keyof typeof attentionWays): Value =>
    builder.op('Equal', [way, builder.int64([attentionWays[name]])], {
      elementType: 'bool',
      as: `is_${name}`,
    })
  const pick = (index: number): Value => builder.op('Gather', [keyCounts, builder.int64([index], [])])
  const count = builder.op('Add', [pick(0), pick(2)], { as: 'total' })
  const last = builder.op('Sub', [count, builder.int64([1])], { as: 'last' })
  const narrow = (x: Value): Value => builder.op('Cast', [x], { attributes: { to: 6 }, elementType: 'int32' })
  return {
    slotRows: builder.input('slot_rows', 'int64', [prefixSlots]),
    nothing: {
      floats: builder.input('no_floats', 'float32', [0]),
      bytes: cacheFormat === 'int8' ? builder.input('no_bytes', 'int8', [0]) : undefined,
    },
    is: { causal: isWay('causal'), plain: isWay('plain'), several: isWay('several') },
    total: { last: narrow(last), count: narrow(count) },
  }
}

type LayerStep = {
  frame: AttentionFrame
  layer: number
  streams: Streams
  vision: VisionShare
  /** Of the last layer only the rows that give logits are read, which are the language expert's. */
  isLast: boolean
}

/**
 *   x ─ RMSNorm ─ qkv of its expert ─┐                        ┌─ dense of its expert ─ + x ─ RMSNorm ─ MLP of its expert ─ + ─
 *   (vision rows; language rows)     ├─ joint attention ─ split
 * The visual expert's part stands in branches, so that a step without image rows does not touch it.
 */
function decoderLayer(
  builder: GraphBuilder,
  build: Build,
  { frame, layer, streams, vision, isLast }: LayerStep,
): Streams {
  const scope = builder.scope(`layers.${layer}`)
  const { variant } = build
  const languageQkv = expertQueries(scope, build, { expert: 'language', layer, x: streams.language })
  const joinVision = (inner: GraphBuilder): Value => {
    const visionQkv = expertQueries(inner, build, { expert: 'vision', layer, x: streams.vision })
    return inner.op('Concat', [visionQkv, languageQkv], { attributes: { axis: 0 }, as: 'joined' })
  }
  const qkv = choose(scope, vision.is?.there, 'qkv', { yes: joinVision, no: () => languageQkv })
  const attended = decoderAttention(scope.scope('attention'), frame, {
    qkv,
    cache: cacheInputs(builder, build, { layer, cacheFormat: frame.cacheFormat }),
  })
  attentionOutputs(builder, variant, { layer, attended })
  const slice = (inner: GraphBuilder, from: Value, to: Value): Value =>
    inner.op('Slice', [attended.context, from, to, inner.int64([0])], { as: 'own_context' })
  const end = (expert: Expert, inner: GraphBuilder, context: Value): Value =>
    expertOutput(inner, build, { expert, layer, x: streams[expert], context })
  const languageScope = scope.scope('language')
  const languageContext = slice(languageScope, vision.count, scope.int64([2 ** 31 - 1]))
  return {
    vision: choose(scope.scope('vision'), isLast ? vision.is?.wanted : vision.is?.there, 'out', {
      yes: (inner) => end('vision', inner, slice(inner, inner.int64([0]), vision.count)),
      no: () => streams.vision,
    }),
    language: languageScope.op('Identity', [end('language', languageScope, languageContext)], { as: 'out' }),
  }
}

/** One of two ways where there is a condition; the first where there is none. */
function choose(
  builder: GraphBuilder,
  condition: Value | undefined,
  name: string,
  ways: { yes: (builder: GraphBuilder) => Value; no: (builder: GraphBuilder) => Value },
): Value {
  if (condition === undefined) return builder.op('Identity', [ways.yes(builder)], { as: name })
  const [value] = builder.branch(condition, [name], {
    yes: (inner) => [ways.yes(inner)],
    no: (inner) => [ways.no(inner)],
  })
  if (value === undefined) throw new InvariantError('a branch made no value')
  return value
}

function attentionOutputs(
  builder: GraphBuilder,
  { kvHeadCount, headDim }: Variant,
  { layer, attended }: { layer: number; attended: Attended },
): void {
  const rowShape = [kvHeadCount, 'R', headDim]
  builder.output(`new_keys.${layer}`, attended.newKeys, rowShape)
  builder.output(`new_values.${layer}`, attended.newValues, rowShape)
  const { prefix } = attended
  if (prefix === undefined) return
  builder.output(`next_prefix_keys.${layer}`, prefix.keys, [kvHeadCount, 'N', headDim])
  builder.output(`next_prefix_values.${layer}`, prefix.values, [kvHeadCount, headDim, 'N'])
  if (prefix.keyScales === undefined || prefix.valueScales === undefined) return
  builder.output(`next_prefix_key_scales.${layer}`, prefix.keyScales, [kvHeadCount, 'N'])
  builder.output(`next_prefix_value_scales.${layer}`, prefix.valueScales, [kvHeadCount, 'N'])
}

/** dense ─ + x ─ RMSNorm ─ MLP ─ + */
function expertOutput(
  scope: GraphBuilder,
  build: Build,
  { expert, layer, x, context }: { expert: Expert; layer: number; x: Value; context: Value },
): Value {
  const dense = product(scope, build, context, {
    tensor: `model.layers.${layer}.self_attn.${expert}_expert_dense.weight`,
    name: 'dense',
    role: roleOf(expert),
  })
  const middle = scope.op('Add', [x, dense], { as: 'middle' })
  return scope.op('Add', [middle, expertMlp(scope, build, { expert, layer, x: middle })], { as: 'end' })
}

type Expert = 'vision' | 'language'

function roleOf(expert: Expert): 'visionExpert' | 'languageExpert' {
  return expert === 'vision' ? 'visionExpert' : 'languageExpert'
}

function expertQueries(
  scope: GraphBuilder,
  build: Build,
  { expert, layer, x }: { expert: Expert; layer: number; x: Value },
): Value {
  const within = scope.scope(expert)
  const tensor = `model.layers.${layer}.self_attn.${expert}_expert_query_key_value`
  const gains = `model.layers.${layer}.input_layernorm.weight`
  const normed = rmsNorm(
    within,
    x,
    vector(scope, build, gains, 'input_layernorm.weight'),
    build.variant.rmsEpsilon,
  )
  // The only bias in the decoder, and only in the second generation.
  const hasBias = build.vectors.has(`${tensor}.bias`)
  return product(within, build, normed, {
    tensor: `${tensor}.weight`,
    name: 'qkv',
    role: roleOf(expert),
    gains,
    ...(hasBias ? { bias: `${tensor}.bias` } : {}),
  })
}

function expertMlp(
  within: GraphBuilder,
  build: Build,
  { expert, layer, x }: { expert: Expert; layer: number; x: Value },
): Value {
  const prefix = `model.layers.${layer}.mlp.${expert}_mlp`
  const gains = `model.layers.${layer}.post_attention_layernorm.weight`
  const scope = within.scope('mlp')
  const normed = rmsNorm(
    scope,
    x,
    vector(within, build, gains, 'post_attention_layernorm.weight'),
    build.variant.rmsEpsilon,
  )
  const stacked = ['gate_proj', 'up_proj'].map((name) => `${prefix}.${name}.weight`)
  const gateUp = linear(scope, build.context, normed, {
    name: 'gate_up',
    ...stackExpertMatrices(build.checkpoint, `${prefix}.gate_up`, stacked),
    role: roleOf(expert),
    inputGains: knownVector(build, gains),
  })
  const inner = gatedActivation(scope, gateUp, build.variant.innerSize)
  return product(scope, build, inner, {
    tensor: `${prefix}.down_proj.weight`,
    name: 'down',
    role: roleOf(expert),
  })
}

function cacheInputs(
  builder: GraphBuilder,
  { variant: { kvHeadCount, headDim }, target }: Build,
  { layer, cacheFormat }: { layer: number; cacheFormat: CacheFormat },
): LayerCache {
  const elementType = cacheFormat === 'int8' ? 'int8' : 'float32'
  const prefix = (slot: number): LayerPrefix => {
    const at = `${slot}.${layer}`
    return {
      keys: builder.input(`prefix_keys.${at}`, elementType, [kvHeadCount, 'P', headDim]),
      values: builder.input(`prefix_values.${at}`, elementType, [kvHeadCount, headDim, 'P']),
      ...(cacheFormat === 'int8'
        ? {
            keyScales: builder.input(`prefix_key_scales.${at}`, 'float32', [kvHeadCount, 'P']),
            valueScales: builder.input(`prefix_value_scales.${at}`, 'float32', [kvHeadCount, 'P']),
          }
        : {}),
    }
  }
  return {
    prefixes: Array.from({ length: target === 'cpu' ? prefixSlots : 1 }, (_, slot) => prefix(slot)),
    suffixKeys: builder.input(`suffix_keys.${layer}`, 'float32', [kvHeadCount, 'S', headDim]),
    suffixValues: builder.input(`suffix_values.${layer}`, 'float32', [kvHeadCount, headDim, 'S']),
  }
}

/** Rows of the embedding table, in half precision beside quantized weights (a 16-bit checkpoint loses nothing that matters). */
function embedTokens(builder: GraphBuilder, build: Build, tokenIds: Value): Value {
  const scope = builder.scope('embed_tokens')
  const name = 'model.embed_tokens.weight'
  const { vocabSize, hiddenSize } = build.variant
  if (build.weights === 'fp32')
    return scope.op('Gather', [wholeTensor(scope, build, name, [vocabSize, hiddenSize]), tokenIds], {
      as: 'rows',
    })
  const matrix = matrixOf(build.checkpoint, name)
  const table = scope.weight('table', {
    elementType: 'float16',
    dims: [vocabSize, hiddenSize],
    byteCount: vocabSize * hiddenSize * 2,
    write: (sink) => forEachTile(matrix, (tile) => sink(new Uint8Array(expectFloat16(tile, name).buffer))),
  })
  const halves = scope.op('Gather', [table, tokenIds], { as: 'halves' })
  return scope.op('Cast', [halves], { attributes: { to: 1 }, elementType: 'float32', as: 'rows' })
}

function linearContext(
  builder: GraphBuilder,
  { weights, target }: BuildOptions,
  quantized: QuantizedMatrix[],
): LinearContext {
  const levels =
    target === 'cpu' && (weights === 'int8' || weights === 'int4')
      ? builder.input('activation_levels', 'float32', [])
      : undefined
  return {
    weights,
    target,
    quantized,
    stored: new Map(),
    levels,
    zeroPoint: levels === undefined ? undefined : builder.input('activation_zero', 'uint8', []),
    lowWeight:
      levels === undefined
        ? undefined
        : builder.op('Div', [builder.float32([0.5], []), levels], { as: 'low_weight' }),
  }
}

/** One linear layer of the checkpoint, by tensor names. */
function product(
  scope: GraphBuilder,
  build: Build,
  x: Value,
  {
    tensor,
    name,
    role,
    bias,
    gains,
  }: { tensor: string; name: string; role: LinearOptions['role']; bias?: string; gains?: string },
): Value {
  return linear(scope, build.context, x, {
    name,
    ...expertMatrix(build.checkpoint, tensor),
    role,
    ...(bias === undefined ? {} : { bias: vector(scope, build, bias, `${name}.bias`) }),
    ...(gains === undefined ? {} : { inputGains: knownVector(build, gains) }),
  })
}

/** A tensor kept in float32 whatever the format: convolutions and position tables. */
function wholeTensor(
  scope: GraphBuilder,
  { checkpoint }: Build,
  name: string,
  dims: readonly number[],
): Value {
  const matrix = matrixOf(checkpoint, name)
  return scope.weight(name.split('.').slice(-2).join('.'), {
    elementType: 'float32',
    dims,
    byteCount: matrix.rows * matrix.columns * 4,
    write: (sink) =>
      forEachTile(matrix, (tile) => sink(new Uint8Array(tile.buffer, tile.byteOffset, tile.byteLength))),
  })
}

function vector(scope: GraphBuilder, build: Build, tensor: string, name: string): Value {
  const known = build.shared.get(tensor)
  if (known !== undefined) return known
  const value = vectorWeight(scope, name, knownVector(build, tensor))
  build.shared.set(tensor, value)
  return value
}

function knownVector({ vectors }: Build, tensor: string): Float32Array<ArrayBuffer> {
  const values = vectors.get(tensor)
  if (values === undefined) throw new InvariantError(`vector ${tensor} was not read`)
  return values
}
