// The pieces of a transformer that are no large products: norms, activations, the tower's attention.
// Each function adds a few nodes and returns the value to go on with.
import type { GraphBuilder, Value } from './graph.ts'

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
 *   gate [T, I] ─ SiLU ─┐
 *   up   [T, I] ────────┴ Mul
 * Two products and not one of both: cutting a wide one in two copies it (LOG.md, 2026-11-26). What rounds their common
 * input is written twice and made once, as the runtime finds equal nodes.
 */
export function gatedActivation(builder: GraphBuilder, gate: Value, up: Value): Value {
  // QuickGelu with alpha 1 is x * sigmoid(x), in one pass.
  const activated = builder.op('QuickGelu', [gate], {
    domain: contrib,
    attributes: { alpha: { float: 1 } },
    as: 'silu',
  })
  return builder.op('Mul', [activated, up], { as: 'gated' })
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

/** A buffer of this size can be bound on every device that speaks WebGPU. */
const maxScoreBytes = 128 << 20

/**
 * The same in plain products, for WebGPU, whose MultiHeadAttention is wrong beyond some 64 rows on software Vulkan and right
 * on an H100 (onnxruntime 1.30, LOG.md, 2026-11-26). Few enough queries at a time that their scores fit one buffer.
 *   qkv [L, 3W] ─ [3, H, L, d] ─ Split ─ queries / sqrt(d) x keys ─ Softmax ─ x values ─ [L, W]
 */
export function plainTowerAttention(
  builder: GraphBuilder,
  qkv: Value,
  {
    width,
    headCount,
    rowCount,
    maxBytes = maxScoreBytes,
  }: { width: number; headCount: number; rowCount: number; maxBytes?: number },
): Value {
  const headDim = width / headCount
  const apart = builder.op('Reshape', [qkv, builder.int64([rowCount, 3, headCount, headDim])])
  const byHead = builder.op('Transpose', [apart], { attributes: { perm: [1, 2, 0, 3] }, as: 'byHead' })
  const [q, k, v] = builder.ops('Split', [byHead, builder.int64([1, 1, 1])], {
    attributes: { axis: 0 },
    names: ['q', 'k', 'v'],
  })
  const keys = builder.op('Transpose', [k ?? null], { attributes: { perm: [0, 1, 3, 2] }, as: 'turnedKeys' })
  const scaled = builder.op('Mul', [q ?? null, builder.float32([1 / Math.sqrt(headDim)], [])], {
    as: 'scaled',
  })
  const size = Math.max(1, Math.floor(maxBytes / (4 * headCount * rowCount)))
  const parts = Array.from({ length: Math.ceil(rowCount / size) }, (_, part) => {
    const edges = [part * size, Math.min((part + 1) * size, rowCount)].map((at) => builder.int64([at]))
    const some =
      size >= rowCount ? scaled : builder.op('Slice', [scaled, ...edges, builder.int64([2])], { as: 'some' })
    const scores = builder.op('MatMul', [some, keys], { as: 'scores' })
    const weights = builder.op('Softmax', [scores], { attributes: { axis: -1 } })
    return builder.op('MatMul', [weights, v ?? null], { as: 'context' })
  })
  const [first] = parts
  const whole =
    parts.length === 1 && first !== undefined
      ? first
      : builder.op('Concat', parts, { attributes: { axis: 2 }, as: 'contexts' })
  const rowsFirst = builder.op('Transpose', [whole], { attributes: { perm: [0, 2, 1, 3] }, as: 'rowsFirst' })
  return builder.op('Reshape', [rowsFirst, builder.int64([rowCount, width])], { as: 'attended' })
}

/** Rows of a chunk, about: the widest values of CogVLM2's tower take 60 MB at 1,024 rows, and 570 MB at all 9,217. */
const chunkRows = 1024

/**
 * A function of single rows, for a few of them at a time where there are many, so that its widest values are small.
 *   x [T, W] ─ Pad ─ Loop(rows i*c to (i+1)*c ─ body) ─ [C, c, W] ─ Reshape ─ Slice ─ [T, W]
 */
export function inChunks(
  builder: GraphBuilder,
  x: Value,
  {
    rowCount,
    width,
    maxRows = 2 * chunkRows,
  }: { rowCount: number; width: number; maxRows?: number | undefined },
  body: (builder: GraphBuilder, rows: Value) => Value,
): Value {
  if (rowCount <= maxRows) return body(builder, x)
  const count = Math.ceil((2 * rowCount) / maxRows)
  const size = Math.ceil(rowCount / count)
  const padded = builder.op('Pad', [x, builder.int64([0, 0, count * size - rowCount, 0])], { as: 'padded' })
  const chunkOf = (inner: GraphBuilder, index: Value): Value => {
    const first = inner.op('Mul', [index, inner.int64([size], [])], { as: 'first' })
    const [from, to] = [first, inner.op('Add', [first, inner.int64([size], [])], { as: 'end' })].map((at) =>
      inner.op('Reshape', [at, inner.int64([1])], { as: 'edge' }),
    )
    return inner.op('Slice', [padded, from ?? null, to ?? null, inner.int64([0])], { as: 'chunk' })
  }
  const { stacked } = builder.loop(builder.int64([count], []), 'chunks', {
    state: [],
    body: (inner, { index }) => ({ state: [], stacked: [body(inner, chunkOf(inner, index))] }),
  })
  const joined = builder.op('Reshape', [stacked[0] ?? null, builder.int64([-1, width])], { as: 'joined' })
  return builder.op('Slice', [joined, builder.int64([0]), builder.int64([rowCount]), builder.int64([0])], {
    as: 'chunked',
  })
}
