// Attention of a step of many rows, all of it turned: keys and values stand on the left side of their products, where the
// runtime reads them as they lie. Knows no other way.
import { toFloats, turn } from './attention-frame.ts'
import type { AttentionFrame, LayerPrefix } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/** Keys [kv, N, d] and values turned [kv, d, N], with what hides some of them from some rows [N, R]. */
type Part = LayerPrefix & { mask?: Value }

type Scored = LayerPrefix & { scores: Value }

/** Weights that sum up to less than this have lost digits, or all of them, to a larger row of the same head. */
const leastTotal = 1e-20

/**
 *   keys x queries^T ─ + mask ─ scores [kv, N, G*R] ─┬ ReduceMax ┐
 *       of prefix, suffix and new rows               └── Sub ────┴ Exp ─┬ ReduceSum ──────────┐
 *                                                          values^T x ──┴ Sum of the parts ── / ─ [kv, d, G*R]
 * The softmax is taken apart: the runtime's own runs along rows, and turning the scores costs what the products save. So
 * nothing as wide as the prefix is joined or cut. One number a head is taken from all its rows, because one a row is the
 * slowest step of all; where that leaves a row next to nothing, it is done again with one a row.
 * (LOG.md, 2026-11-26, has the times.)
 */
export function tallAttention(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { queries, parts }: { queries: Value; parts: readonly Part[] },
): Value {
  const scored = parts.map((part) => ({ ...part, scores: tallScores(builder, frame, queries, part) }))
  const { sum, total } = weighed(builder, scored, [1, 2])
  const least = builder.op('ReduceMin', [total], { attributes: { keepdims: 0 } })
  const isSound = builder.op('Greater', [least, builder.float32([leastTotal], [])], {
    elementType: 'bool',
    as: 'isSound',
  })
  const [context = sum] = builder.branch(isSound, ['tallContext'], {
    yes: (inner) => [inner.op('Div', [sum, total])],
    no: (inner) => {
      const again = weighed(inner, scored, [1])
      return [inner.op('Div', [again.sum, again.total])]
    },
  })
  return turn(builder, context)
}

/** Sums of weights [kv, 1, G*R] and of weighed values [kv, d, G*R]; `axes` are those that share a largest score. */
function weighed(
  builder: GraphBuilder,
  scored: readonly Scored[],
  axes: readonly number[],
): { sum: Value; total: Value } {
  const reduce = (operator: 'ReduceMax' | 'ReduceSum', x: Value, over: readonly number[]): Value =>
    builder.op(operator, [x, builder.int64(over)], { attributes: { keepdims: 1 } })
  const peaks = scored.map(({ scores }) => reduce('ReduceMax', scores, axes))
  const largest = builder.op('Max', peaks, { as: 'largest' })
  const parts = scored.map(({ scores, values, valueScales }) => {
    const weights = builder.op('Exp', [builder.op('Sub', [scores, largest])], { as: 'weights' })
    const scaled =
      valueScales === undefined ? weights : builder.op('Mul', [weights, asColumn(builder, valueScales)])
    return {
      sum: builder.op('MatMul', [toFloats(builder, values), scaled], { as: 'partContext' }),
      total: reduce('ReduceSum', weights, [1]),
    }
  })
  const add = (name: 'sum' | 'total'): Value =>
    builder.op(
      'Sum',
      parts.map((part) => part[name]),
      { as: name },
    )
  return { sum: add('sum'), total: add('total') }
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
