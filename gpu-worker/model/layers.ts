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
