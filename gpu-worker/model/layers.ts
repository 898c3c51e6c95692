// The pieces of a transformer that are no large products: norms, activations, rotary embedding, attention.
// Each function adds a few nodes and returns the value to go on with.
import type { GraphBuilder, Value } from './graph.ts'
import type { Target } from '../../schemas/model-manifest.ts'

const contrib = 'com.microsoft' as const

/** RMSNorm in float32: x / sqrt(mean(x^2) + eps) * weight, over the last axis. */
export function rmsNorm(builder: GraphBuilder, x: Value, weight: Value, epsilon: number): Value {
  return builder.op('SimplifiedLayerNormalization', [x, weight], {
    attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
    as: 'normed',
  })
}

/** LayerNorm over the last axis, affine. */
export function layerNorm(
  builder: GraphBuilder,
  x: Value,
  { weight, bias, epsilon }: { weight: Value; bias: Value; epsilon: number },
): Value {
  return builder.op('LayerNormalization', [x, weight, bias], {
    attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
    as: 'normed',
  })
}

/** GELU by the error function, not the tanh approximation. */
export function gelu(builder: GraphBuilder, x: Value): Value {
  return builder.op('Gelu', [x], { domain: contrib })
}

/**
 *   gateUp [T, 2I] ─ Split ─┬ gate ─ SiLU ─┐
 *                           └ up ──────────┴ Mul ─ [T, I]
 */
export function gatedActivation(builder: GraphBuilder, gateUp: Value, innerSize: number): Value {
  const [gate, up] = builder.ops('Split', [gateUp, builder.int64([innerSize, innerSize])], {
    attributes: { axis: 1 },
    names: ['gate', 'up'],
  })
  // QuickGelu with alpha 1 is x * sigmoid(x), in one pass.
  const activated = builder.op('QuickGelu', [gate ?? null], {
    domain: contrib,
    attributes: { alpha: { float: 1 } },
    as: 'silu',
  })
  return builder.op('Mul', [activated, up ?? null], { as: 'gated' })
}

/**
 * Full bidirectional attention of the vision tower, computed in tiles so that no [L, L] matrix is held.
 *   q, k, v [L, W] ─ Unsqueeze ─ MultiHeadAttention ─ Squeeze ─ [L, W]
 */
export function towerAttention(
  builder: GraphBuilder,
  qkv: Value,
  { width, headCount }: { width: number; headCount: number },
): Value {
  const batched = builder.op('Unsqueeze', [qkv, builder.int64([0])])
  const [q, k, v] = builder.ops('Split', [batched, builder.int64([width, width, width])], {
    attributes: { axis: 2 },
    names: ['q', 'k', 'v'],
  })
  const attended = builder.op('MultiHeadAttention', [q ?? null, k ?? null, v ?? null], {
    domain: contrib,
    attributes: { num_heads: headCount, scale: { float: 1 / Math.sqrt(width / headCount) } },
  })
  return builder.op('Squeeze', [attended, builder.int64([0])])
}

/** What every decoder layer's attention shares; made once a graph. I images, R rows an image, T = I * R rows. */
export type AttentionFrame = {
  headCount: number
  kvHeadCount: number
  headDim: number
  target: Target
  /** int64 [1, T] and float32 [positions, headDim / 2] twice. */
  positionIds: Value
  cos: Value
  sin: Value
  /** float32 [I, 1, 1, R, P + S + R]: 0 where a row may look, very negative where it may not. */
  mask: Value
  /** int64 [3]: P, S, R. */
  keyCounts: Value
  shapes: AttentionShapes
}

/** Run-time shapes as int64 vectors, for Reshape. */
export type AttentionShapes = {
  queries: Value
  grouped: Value
  keys: Value
  scores: Value
  flatScores: Value
  context: Value
  rows: Value
}

/** Cached keys and values of one layer: the prefix an image shares, and the rows that came after it. */
export type LayerCache = { prefixKeys: Value; prefixValues: Value; suffixKeys: Value; suffixValues: Value }

/**
 * Shapes that depend on the run: I and R are read off the mask [I, 1, 1, R, K].
 */
export function attentionShapes(
  builder: GraphBuilder,
  {
    mask,
    headCount,
    kvHeadCount,
    headDim,
  }: { mask: Value; headCount: number; kvHeadCount: number; headDim: number },
): AttentionShapes {
  const scope = builder.scope('shapes')
  const groupSize = headCount / kvHeadCount
  const maskShape = scope.op('Shape', [mask], { elementType: 'int64', as: 'maskShape' })
  const pick = (index: number, as: string): Value =>
    scope.op('Gather', [maskShape, scope.int64([index])], { as })
  const [images, rows] = [pick(0, 'imageCount'), pick(3, 'rowCount')]
  const join = (parts: readonly (Value | number)[], as: string): Value =>
    scope.op(
      'Concat',
      parts.map((part) => (typeof part === 'number' ? scope.int64([part]) : part)),
      { attributes: { axis: 0 }, as },
    )
  return {
    queries: join([images, rows, kvHeadCount, groupSize, headDim], 'queries'),
    grouped: join(
      [images, kvHeadCount, scope.op('Mul', [rows, scope.int64([groupSize])]), headDim],
      'grouped',
    ),
    keys: join([images, rows, kvHeadCount, headDim], 'keys'),
    scores: join([images, kvHeadCount, groupSize, rows, -1], 'scores'),
    flatScores: join(
      [images, kvHeadCount, scope.op('Mul', [rows, scope.int64([groupSize])]), -1],
      'flatScores',
    ),
    context: join([images, kvHeadCount, groupSize, rows, headDim], 'context'),
    rows: scope.int64([-1, headCount * headDim]),
  }
}

/**
 * Joint attention of all rows over prefix, suffix and themselves, in one softmax.
 *
 *   q ─ rotary ─ [I, kv, G*R, d] ─┬─ x prefixKeys^T ─┐
 *                                 ├─ x suffixKeys^T ─┼ Concat ─ + mask ─ Softmax ─ Split ─┬─ x prefixValues ─┐
 *   k ─ rotary ─ newKeys ─────────┴─ x newKeys^T ────┘                                    ├─ x suffixValues ─┼ Add ─ [T, H]
 *   v ─────────── newValues ──────────────────────────────────────────────────────────────┴─ x newValues ────┘
 *
 * The caches are inputs only: the new rows come out, and whoever runs the graph writes them where they belong.
 * With grouped heads, query head j*G+g reads KV head j (cogvlm2: four in a row).
 */
export function decoderAttention(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { qkv, cache }: { qkv: Value; cache: LayerCache },
): { context: Value; newKeys: Value; newValues: Value } {
  const { headCount, kvHeadCount, headDim, shapes } = frame
  const [querySize, keySize] = [headCount * headDim, kvHeadCount * headDim]
  const [q, k, v] = builder.ops('Split', [qkv, builder.int64([querySize, keySize, keySize])], {
    attributes: { axis: 1 },
    names: ['q', 'k', 'v'],
  })
  const turnedQueries = rotate(builder, frame, q ?? qkv, 'queries')
  const turnedKeys = rotate(builder, frame, k ?? qkv, 'keys')
  const newKeys = headsFirst(builder, turnedKeys, shapes.keys, 'newKeys')
  const newValues = headsFirst(builder, v ?? qkv, shapes.keys, 'newValues')
  const split = builder.op('Reshape', [turnedQueries, shapes.queries], { as: 'splitQueries' })
  const grouped = builder.op('Transpose', [split], {
    attributes: { perm: [0, 2, 3, 1, 4] },
    as: 'groupedQueries',
  })
  const queries = builder.op('Reshape', [grouped, shapes.grouped], { as: 'queries' })
  const scored = [cache.prefixKeys, cache.suffixKeys, newKeys].map((keys) =>
    scores(builder, frame, queries, keys),
  )
  const weights = softmaxAcross(builder, frame, scored)
  const parts = [cache.prefixValues, cache.suffixValues, newValues].map((values, index) =>
    builder.op('MatMul', [weights[index] ?? null, values], { as: 'part' }),
  )
  const sum = addParts(builder, frame.target, parts)
  const split5 = builder.op('Reshape', [sum, shapes.context], { as: 'splitContext' })
  const rowsFirst = builder.op('Transpose', [split5], {
    attributes: { perm: [0, 3, 1, 2, 4] },
    as: 'rowsFirst',
  })
  return { context: builder.op('Reshape', [rowsFirst, shapes.rows], { as: 'context' }), newKeys, newValues }
}

/** WebGPU has no Sum. */
function addParts(builder: GraphBuilder, target: Target, parts: readonly Value[]): Value {
  if (target !== 'webgpu') return builder.op('Sum', parts, { as: 'attended' })
  return parts.reduce((sum, part) => builder.op('Add', [sum, part], { as: 'attended' }))
}

/** Rotary embedding, half-split form (pairs i and i + d/2), by each row's own position. [T, n*d] -> [T, n*d] */
function rotate(builder: GraphBuilder, frame: AttentionFrame, x: Value, as: string): Value {
  const batched = builder.op('Unsqueeze', [x, builder.int64([0])], { as: `${as}Batched` })
  return builder.op('RotaryEmbedding', [batched, frame.positionIds, frame.cos, frame.sin], {
    domain: contrib,
    as: `${as}Turned`,
  })
}

/** [.., kv*d] -> [I, kv, R, d] */
function headsFirst(builder: GraphBuilder, x: Value, shape: Value, as: string): Value {
  const split = builder.op('Reshape', [x, shape], { as: `${as}Split` })
  return builder.op('Transpose', [split], { attributes: { perm: [0, 2, 1, 3] }, as })
}

/** q k^T / sqrt(d): [I, kv, G*R, keys] */
function scores(
  builder: GraphBuilder,
  { headDim, target }: AttentionFrame,
  queries: Value,
  keys: Value,
): Value {
  const scale = 1 / Math.sqrt(headDim)
  if (target !== 'webgpu') {
    return builder.op('FusedMatMul', [queries, keys], {
      domain: contrib,
      attributes: { transB: 1, alpha: { float: scale } },
      as: 'scores',
    })
  }
  const turned = builder.op('Transpose', [keys], { attributes: { perm: [0, 1, 3, 2] }, as: 'keysTurned' })
  return builder.op('Mul', [builder.op('MatMul', [queries, turned]), builder.float32([scale], [])], {
    as: 'scores',
  })
}

function softmaxAcross(
  builder: GraphBuilder,
  { mask, keyCounts, shapes }: AttentionFrame,
  scored: readonly Value[],
): Value[] {
  const joined = builder.op('Concat', scored, { attributes: { axis: 3 }, as: 'allScores' })
  const byRow = builder.op('Reshape', [joined, shapes.scores], { as: 'scoresByRow' })
  const masked = builder.op('Add', [byRow, mask], { as: 'masked' })
  const softmax = builder.op('Softmax', [masked], { attributes: { axis: -1 } })
  const flat = builder.op('Reshape', [softmax, shapes.flatScores], { as: 'weights' })
  return builder.ops('Split', [flat, keyCounts], {
    attributes: { axis: 3 },
    names: ['prefixWeights', 'suffixWeights', 'newWeights'],
  })
}
