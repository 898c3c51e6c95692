// Attention of a step of many rows of different sequences: prefix keys and values stand on the left side of their
// products, where the runtime reads them as they lie, and the suffix goes by lanes. Knows no other way.
import { toFloats, turn } from './attention-frame.ts'
import type { CpuAttentionFrame, LayerPrefix } from './attention-frame.ts'
import { laneScores, weighLanes } from './attention-lanes.ts'
import type { LaneSide } from './attention-lanes.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/** A prefix and the queries [kv, G*r, d] of the rows behind it. */
type SlotPart = { prefix: LayerPrefix; queries: Value }

/** Weights that sum up to less than this have lost digits, or all of them, to a larger row of the same head. */
const leastTotal = 1e-20

/**
 *   prefix keys x queries^T ─ scores [kv, P, G*R] ─┬ ReduceMax ┐
 *                                                  └── Sub ────┴ Exp ─┬ ReduceSum ───────┐
 *                                                     values^T x ─────┴ + lanes' sums ── / ─ [kv, G*R, d]
 * The softmax is taken apart: the runtime's own runs along rows, and turning the scores costs what the products save. So
 * nothing as wide as the prefix is joined or cut. One number a head is taken from all its rows, because one a row is the
 * slowest step of all; where that leaves a row next to nothing, `otherwise` does it (LOG.md, 2026-11-26, has the times).
 */
export function tallAttention(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  {
    slots,
    suffix,
    otherwise,
  }: {
    /** Prefixes with their rows' queries, in the order of the rows. */
    slots: readonly SlotPart[]
    suffix: LaneSide
    otherwise: (inner: GraphBuilder) => Value
  },
): Value {
  const { lanes } = frame.cpu
  const bySlot = slots.map(({ prefix, queries }) => ({
    ...prefix,
    scores: tallScores(builder, queries, prefix),
  }))
  const ownScores = laneScores(builder, lanes, suffix)
  const largest = largestOfHead(builder, frame, { bySlot, others: ownScores.largest })
  const own = weighLanes(builder, { ...frame, lanes }, { scores: ownScores, largest, side: suffix })
  const flatLargest = builder.op('Squeeze', [largest, builder.int64([3])])
  const prefixes = bySlot.map((each) => weighed(builder, each, flatLargest))
  const add = (name: keyof Weighed, size: number): Value => {
    const parts = prefixes.map((part) => part[name])
    return builder.op('Add', [turn(builder, joinSlots(builder, frame, parts, size)), own[name]], { as: name })
  }
  const [sum, total] = [add('sum', frame.headDim), add('total', 1)]
  const least = builder.op('ReduceMin', [total], { attributes: { keepdims: 0 } })
  const isSound = builder.op('Greater', [least, builder.float32([leastTotal], [])], {
    elementType: 'bool',
    as: 'isSound',
  })
  const [context = sum] = builder.branch(isSound, ['tallContext'], {
    yes: (inner) => [inner.op('Div', [sum, total])],
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

/** [kv, 1, 1, 1]. First over keys alone: a slot may have no rows, and nothing has no largest. */
function largestOfHead(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { bySlot, others }: { bySlot: readonly Scored[]; others: readonly Value[] },
): Value {
  const reduce = (x: Value, axis: number): Value =>
    builder.op('ReduceMax', [x, builder.int64([axis])], { attributes: { keepdims: 1 } })
  const ofRows = joinSlots(
    builder,
    frame,
    bySlot.map(({ scores }) => reduce(scores, 1)),
    1,
  )
  const ofPrefix = builder.op('Unsqueeze', [reduce(ofRows, 2), builder.int64([3])])
  return builder.op('Max', [ofPrefix, ...others], { as: 'largest' })
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

function tallScores(builder: GraphBuilder, queries: Value, { keys, keyScales }: LayerPrefix): Value {
  const product = builder.op('FusedMatMul', [toFloats(builder, keys), queries], {
    domain: contrib,
    attributes: { transB: 1 },
    as: 'tallScores',
  })
  return keyScales === undefined ? product : builder.op('Mul', [product, asColumn(builder, keyScales)])
}

/** [kv, N] -> [kv, N, 1] */
function asColumn(builder: GraphBuilder, scales: Value): Value {
  return builder.op('Unsqueeze', [scales, builder.int64([2])], { as: 'scaleColumn' })
}
