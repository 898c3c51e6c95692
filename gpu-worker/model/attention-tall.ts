// Attention of a step of many rows, all of it turned: keys and values stand on the left side of their products, where the
// runtime reads them as they lie. Knows no other way.
import { toFloats, turn } from './attention-frame.ts'
import type { CpuAttentionFrame, LayerPrefix } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/** Keys [kv, N, d] and values turned [kv, d, N], with what hides some of them from some rows [N, R]. */
type Part = LayerPrefix & { mask?: Value }

/** A prefix and the queries [kv, G*r, d] of the rows behind it. */
type SlotPart = { prefix: LayerPrefix; queries: Value }

/** Weights that sum up to less than this have lost digits, or all of them, to a larger row of the same head. */
const leastTotal = 1e-20

/**
 *   keys x queries^T ─ + mask ─ scores [kv, N, G*R] ─┬ ReduceMax ┐
 *       of prefix, suffix and new rows               └── Sub ────┴ Exp ─┬ ReduceSum ──────────┐
 *                                                          values^T x ──┴ Sum of the parts ── / ─ [kv, d, G*R]
 * The softmax is taken apart: the runtime's own runs along rows, and turning the scores costs what the products save. So
 * nothing as wide as the prefix is joined or cut. One number a head is taken from all its rows, because one a row is the
 * slowest step of all; where that leaves a row next to nothing, `otherwise` does it (LOG.md, 2026-11-26, has the times).
 */
export function tallAttention(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  {
    slots,
    queries,
    parts,
    otherwise,
  }: {
    /** Prefixes with their rows' queries, in the order of the rows. */
    slots: readonly SlotPart[]
    queries: Value
    parts: readonly Part[]
    otherwise: (inner: GraphBuilder) => Value
  },
): Value {
  const scored = parts.map((part) => ({ ...part, scores: tallScores(builder, frame, queries, part) }))
  const bySlot = slots.map(({ prefix, queries: own }) => ({
    ...prefix,
    scores: tallScores(builder, frame, own, prefix),
  }))
  const largest = largestOfHead(builder, frame, { scored, bySlot })
  const weigh = (each: Scored): Weighed => weighed(builder, each, largest)
  const shared = scored.map(weigh)
  const prefixes = bySlot.map(weigh)
  const add = (name: keyof Weighed, size: number): Value =>
    builder.op(
      'Sum',
      [
        joinSlots(
          builder,
          frame,
          prefixes.map((part) => part[name]),
          size,
        ),
        ...shared.map((part) => part[name]),
      ],
      { as: name },
    )
  const [sum, total] = [add('sum', frame.headDim), add('total', 1)]
  const least = builder.op('ReduceMin', [total], { attributes: { keepdims: 0 } })
  const isSound = builder.op('Greater', [least, builder.float32([leastTotal], [])], {
    elementType: 'bool',
    as: 'isSound',
  })
  const [context = sum] = builder.branch(isSound, ['tallContext'], {
    yes: (inner) => [turn(inner, inner.op('Div', [sum, total]))],
    no: (inner) => [otherwise(inner)],
  })
  return context
}

type Scored = LayerPrefix & { scores: Value }

/** Sums of weighed values [kv, d, G*r] and of weights [kv, 1, G*r]. */
type Weighed = { sum: Value; total: Value }

function weighed(builder: GraphBuilder, { scores, values, valueScales }: Scored, largest: Value): Weighed {
  const weights = builder.op('Exp', [builder.op('Sub', [scores, largest])], { as: 'weights' })
  const scaled =
    valueScales === undefined ? weights : builder.op('Mul', [weights, asColumn(builder, valueScales)])
  return {
    sum: builder.op('MatMul', [toFloats(builder, values), scaled], { as: 'partContext' }),
    total: builder.op('ReduceSum', [weights, builder.int64([1])], { attributes: { keepdims: 1 } }),
  }
}

/** [kv, 1, 1]. First over keys alone: a slot may have no rows, and nothing has no largest. */
function largestOfHead(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { scored, bySlot }: { scored: readonly Scored[]; bySlot: readonly Scored[] },
): Value {
  const reduce = (x: Value, axis: number): Value =>
    builder.op('ReduceMax', [x, builder.int64([axis])], { attributes: { keepdims: 1 } })
  const ofRows = joinSlots(
    builder,
    frame,
    bySlot.map(({ scores }) => reduce(scores, 1)),
    1,
  )
  const all = builder.op('Max', [ofRows, ...scored.map(({ scores }) => reduce(scores, 1))])
  return reduce(all, 2)
}

/** Parts [kv, size, G*r] of slots side by side, in the order that all rows have: [kv, size, G*R]. */
function joinSlots(
  builder: GraphBuilder,
  { headCount, kvHeadCount }: CpuAttentionFrame,
  parts: readonly Value[],
  size: number,
): Value {
  const [first] = parts
  if (parts.length === 1 && first !== undefined) return first
  const groupSize = headCount / kvHeadCount
  const byGroup = parts.map((part) =>
    builder.op('Reshape', [part, builder.int64([kvHeadCount, size, groupSize, -1])]),
  )
  const joined = builder.op('Concat', byGroup, { attributes: { axis: 3 }, as: 'joinedSlots' })
  return builder.op('Reshape', [joined, builder.int64([kvHeadCount, size, -1])])
}

function tallScores(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
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
  { headCount, kvHeadCount, cpu: { shapes } }: CpuAttentionFrame,
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
