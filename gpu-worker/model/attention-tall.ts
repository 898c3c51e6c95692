// Attention of a step of many rows, all of it turned: keys and values stand on the left side of their products, where the
// runtime reads them as they lie. Knows no other way.
import { toFloats, turn } from './attention-frame.ts'
import type { AttentionFrame, LayerPrefix } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/** Keys [kv, N, d] and values turned [kv, d, N], with what hides some of them from some rows [N, R]. */
type Part = LayerPrefix & { mask?: Value }

/**
 *   keys x queries^T ─ + mask ─ scores [kv, N, G*R] ─┬ ReduceMax ┐
 *       of prefix, suffix and new rows               └── Sub ────┴ Exp ─┬ ReduceSum ──────────┐
 *                                                          values^T x ──┴ Sum of the parts ── / ─ [kv, d, G*R]
 * The softmax is taken apart: the runtime's own runs along rows, and turning the scores costs what the products save. So
 * nothing as wide as the prefix is joined or cut. (LOG.md, 2026-11-26, has the times by rows.)
 */
export function tallAttention(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { queries, parts }: { queries: Value; parts: readonly Part[] },
): Value {
  const scored = parts.map((part) => ({ ...part, scores: tallScores(builder, frame, queries, part) }))
  const axis = builder.int64([1])
  const keep = { attributes: { keepdims: 1 } }
  const largest = builder.op(
    'Max',
    scored.map(({ scores }) => builder.op('ReduceMax', [scores, axis], keep)),
    { as: 'largest' },
  )
  const weighed = scored.map(({ scores, values, valueScales }) => {
    const weights = builder.op('Exp', [builder.op('Sub', [scores, largest])], { as: 'weights' })
    const scaled =
      valueScales === undefined ? weights : builder.op('Mul', [weights, asColumn(builder, valueScales)])
    return {
      sum: builder.op('ReduceSum', [weights, axis], keep),
      context: builder.op('MatMul', [toFloats(builder, values), scaled], { as: 'partContext' }),
    }
  })
  const sums = weighed.map(({ sum }) => sum)
  const contexts = weighed.map(({ context }) => context)
  const total = builder.op('Sum', sums, { as: 'total' })
  const context = builder.op('Div', [builder.op('Sum', contexts), total], { as: 'tallContext' })
  return turn(builder, context)
}

function tallScores(
  builder: GraphBuilder,
  frame: AttentionFrame,
  queries: Value,
  { keys, keyScales, mask }: Part,
): Value {
  const product = builder.op('FusedMatMul', [toFloats(builder, keys), queries], {
    domain: contrib,
    attributes: { transB: 1 },
    as: 'tallScores',
  })
  const scores =
    keyScales === undefined ? product : builder.op('Mul', [product, asColumn(builder, keyScales)])
  return mask === undefined ? scores : addMask(builder, frame, scores, mask)
}

/** Group g's rows lie together, so with several groups the mask [N, R] meets each of them apart. */
function addMask(
  builder: GraphBuilder,
  { headCount, kvHeadCount, shapes }: AttentionFrame,
  scores: Value,
  mask: Value,
): Value {
  if (headCount === kvHeadCount) return builder.op('Add', [scores, mask], { as: 'masked' })
  const byGroup = builder.op('Reshape', [scores, shapes.tallByGroup])
  const perGroup = builder.op('Unsqueeze', [mask, builder.int64([1])])
  const masked = builder.op('Add', [byGroup, perGroup])
  return builder.op('Reshape', [masked, shapes.tallFlat], { as: 'masked' })
}

/** [kv, N] -> [kv, N, 1] */
function asColumn(builder: GraphBuilder, scales: Value): Value {
  return builder.op('Unsqueeze', [scales, builder.int64([2])], { as: 'scaleColumn' })
}
