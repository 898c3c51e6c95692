// The CogVLM family as two graphs: the decoder with both experts, which stands here, and the tower (cogvlm-tower.ts).
// Follows the paper's section 2 and the released modelling code; where the two generations differ, `variant` says so.
import type { CacheFormat, QuantizedMatrix } from '../../../schemas/model-manifest.ts'
import { GraphBuilder } from '../graph.ts'
import type { Graph, Value } from '../graph.ts'
import { rmsNorm } from '../layers.ts'
import { forEachTile, matrixOf } from '../matrix.ts'
import { expectFloat16 } from '../quantize.ts'
import { linearContext, product, vector, wholeTensor } from './build-parts.ts'
import type { Build, BuildOptions } from './build-parts.ts'
import { goAhead } from './cogvlm-ahead.ts'
import type { AheadLayer } from './cogvlm-ahead.ts'
import { attentionFrame, attentionOutputs, cacheInputs, visionShare } from './cogvlm-frame.ts'
import { decoderLayer } from './cogvlm-layer.ts'
import type { Streams } from './cogvlm-layer.ts'
import { buildVision } from './cogvlm-tower.ts'
import type { Variant } from './config.ts'

/** Builds both graphs. Nothing is read but what the shapes of the graph depend on; weights are streamed when written. */
export function buildGraphs(options: BuildOptions): {
  vision: Graph
  decoder: Graph
  /** The same weights in the same order, with an image's rows cached in bytes; for the CPU only. */
  decoderInt8Cache: Graph | undefined
  /** The same weights in the same order, going on by itself; for CUDA, where a cache cannot stay on the device from run to run. */
  decoderAhead: Graph | undefined
  quantized: QuantizedMatrix[]
} {
  const quantized: QuantizedMatrix[] = []
  const vision = buildVision(options, quantized)
  const decoder = buildDecoder(options, { cacheFormat: 'fp32', quantized })
  const decoderInt8Cache =
    options.target === 'cpu' ? buildDecoder(options, { cacheFormat: 'int8', quantized: [] }) : undefined
  const decoderAhead =
    options.target === 'cuda'
      ? buildDecoder(options, { cacheFormat: 'fp32', quantized: [], goesAhead: true })
      : undefined
  return { vision, decoder, decoderInt8Cache, decoderAhead, quantized }
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

type DecoderForm = {
  cacheFormat: CacheFormat
  quantized: QuantizedMatrix[]
  /** Whether it can go on by itself; on a device only. */
  goesAhead?: boolean
}

/**
 * Inputs: vision_rows [V, H] (boi and patches), embedded_rows [E, H] (eoi), token_ids [L]; any may have no rows.
 * Rows are ordered [vision; embedded; tokens], which is their causal order, since bos is always in the prefix.
 * Embedded and token rows go through the language expert, vision rows through the visual expert (paper section 2.2;
 * the last row of an image run, eoi, is a language row in the released code).
 * Outputs: logits of the rows asked for, and of each layer what attention leaves: new keys and values, or a whole prefix, or
 * a grown suffix.
 */
function buildDecoder(
  options: BuildOptions,
  { cacheFormat, quantized, goesAhead = false }: DecoderForm,
): Graph {
  const { variant } = options
  const builder = new GraphBuilder('decoder')
  const visionRows = builder.input('vision_rows', 'float32', ['V', variant.hiddenSize])
  const embeddedRows = builder.input('embedded_rows', 'float32', ['E', variant.hiddenSize])
  const tokenIds = builder.input('token_ids', 'int64', ['L'])
  const logitRows = builder.input('logit_rows', 'int64', ['B'])
  const context = linearContext(builder, options, { quantized, cacheFormat })
  const build: Build = { ...options, context, shared: new Map() }
  const frame = attentionFrame(builder, build, cacheFormat)
  const embedded = embedTokens(builder, build, tokenIds)
  let streams: Streams = {
    vision: visionRows,
    language: builder.op('Concat', [embeddedRows, embedded], {
      attributes: { axis: 0 },
      as: 'language_rows',
    }),
  }
  const vision = visionShare(builder, options, streams)
  const layers: AheadLayer[] = []
  for (let layer = 0; layer < variant.layerCount; layer++) {
    const isLast = layer === variant.layerCount - 1
    const cache = cacheInputs(builder, build, { layer, frame })
    const made = decoderLayer(builder, build, { frame, layer, streams, cache, vision, isLast })
    streams = made.streams
    const { suffix } = made.attended
    if (goesAhead && suffix !== undefined) layers.push({ prefix: cache.prefixes, suffix })
    else attentionOutputs(builder, variant, { layer, attended: made.attended })
  }
  const rows = builder.op('Concat', [streams.vision, streams.language], {
    attributes: { axis: 0 },
    as: 'last_hidden',
  })
  const chosen = builder.op('Gather', [rows, logitRows], { as: 'chosen_rows' })
  const logits = score(builder, build, chosen)
  builder.output('logits', logits, ['B', variant.vocabSize])
  if (goesAhead) goAhead(builder, build, { frame, logits, layers, embed: embedTokens, score })
  return builder.graph
}

/** Rows [B, H] after the last layer to logits [B, V]. */
function score(builder: GraphBuilder, build: Build, rows: Value): Value {
  const { variant } = build
  const normed = rmsNorm(
    builder.scope('final'),
    rows,
    vector(builder, build, 'model.norm.weight', 'norm.weight'),
    variant.rmsEpsilon,
  )
  return product(builder, build, normed, { tensor: variant.headTensor, name: 'head', role: 'head' })
}

/** Rows of the embedding table, in half precision beside quantized weights (a 16-bit checkpoint loses nothing that matters). */
function embedTokens(builder: GraphBuilder, build: Build, tokenIds: Value): Value {
  const scope = builder.scope('embed_tokens')
  const name = 'model.embed_tokens.weight'
  const { vocabSize, hiddenSize } = build.variant
  const matrix = matrixOf(build.checkpoint, name)
  const half = (): Value =>
    scope.weight('table', {
      elementType: 'float16',
      dims: [vocabSize, hiddenSize],
      byteCount: vocabSize * hiddenSize * 2,
      write: (sink) => forEachTile(matrix, (tile) => sink(new Uint8Array(expectFloat16(tile, name).buffer))),
    })
  const isFloat = build.weights === 'fp32'
  const table =
    build.shared.get(name) ?? (isFloat ? wholeTensor(scope, build, name, [vocabSize, hiddenSize]) : half())
  build.shared.set(name, table)
  if (isFloat) return scope.op('Gather', [table, tokenIds], { as: 'rows' })
  const halves = scope.op('Gather', [table, tokenIds], { as: 'halves' })
  return scope.op('Cast', [halves], { attributes: { to: 1 }, elementType: 'float32', as: 'rows' })
}
