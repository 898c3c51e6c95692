// The CogVLM family as two graphs: the decoder with both experts, which stands here, and the tower (cogvlm-tower.ts).
// Follows the paper's section 2 and the released modelling code; where the two generations differ, `variant` says so.
import { InvariantError } from '../../../schemas/errors.ts'
import type { CacheFormat, QuantizedMatrix } from '../../../schemas/model-manifest.ts'
import { decoderAttention } from '../attention.ts'
import type { AttentionFrame } from '../attention-frame.ts'
import { GraphBuilder } from '../graph.ts'
import type { Graph, Value } from '../graph.ts'
import { gatedActivation, rmsNorm } from '../layers.ts'
import { forEachTile, matrixOf } from '../matrix.ts'
import { expectFloat16 } from '../quantize.ts'
import { linearContext, product, vector, wholeTensor } from './build-parts.ts'
import type { Build, BuildOptions } from './build-parts.ts'
import { attentionFrame, attentionOutputs, cacheInputs, visionShare } from './cogvlm-frame.ts'
import type { VisionShare } from './cogvlm-frame.ts'
import { buildVision } from './cogvlm-tower.ts'
import type { Variant } from './config.ts'

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
  const logits = product(builder, build, normed, { tensor: variant.headTensor, name: 'head', role: 'head' })
  builder.output('logits', logits, ['B', variant.vocabSize])
  return builder.graph
}

type Streams = { vision: Value; language: Value }

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
    inputsAreMeans: true,
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
  const half = (name: 'gate' | 'up'): Value =>
    product(scope, build, normed, {
      tensor: `${prefix}.${name}_proj.weight`,
      name,
      role: roleOf(expert),
      gains,
    })
  const inner = gatedActivation(scope, half('gate'), half('up'))
  return product(scope, build, inner, {
    tensor: `${prefix}.down_proj.weight`,
    name: 'down',
    role: roleOf(expert),
  })
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
