// Attention of a step of many rows of different sequences: prefix keys and values stand on the left side of their
// products, where the runtime reads them as they lie, and the suffix goes by lanes. Knows no other way.
import { byteScores, tallByteSum } from './attention-bytes.ts'
import { isInBytes, turn } from './attention-frame.ts'
import type { CpuAttentionFrame, LayerPrefix, SlotPart } from './attention-frame.ts'
import { laneScores, weighLanes } from './attention-lanes.ts'
import type { LaneSide } from './attention-lanes.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

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
  const behind = behindPrefixes(builder, frame, slots)
  const ownScores = laneScores(builder, lanes, suffix)
  const ofPrefix = builder.op('Unsqueeze', [behind.largest, builder.int64([3])])
  const largest = builder.op('Max', [ofPrefix, ...ownScores.largest], { as: 'largest' })
  const own = weighLanes(builder, { ...frame, lanes }, { scores: ownScores, largest, side: suffix })
  const prefix = behind.weighed(builder.op('Squeeze', [largest, builder.int64([3])]))
  const add = (name: keyof Weighed): Value => builder.op('Add', [prefix[name], own[name]], { as: name })
  const [sum, total] = [add('sum'), add('total')]
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

/** Sums of weighed values [kv, G*R, d] and of weights [kv, G*R, 1]. */
type Weighed = { sum: Value; total: Value }

/** What rows find in their prefixes: the largest score of each head [kv, 1, 1], and sums of exp(score - a number of each head). */
type Behind = { largest: Value; weighed: (largest: Value) => Weighed }

function behindPrefixes(builder: GraphBuilder, frame: CpuAttentionFrame, slots: readonly SlotPart[]): Behind {
  const scored = slots.map((slot) => ({ prefix: slot.prefix, scores: tallScores(builder, frame, slot) }))
  // First over keys alone: a slot may have no rows, and nothing has no largest.
  const ofRows = scored.map(({ scores }) => largestAlong(builder, scores, 1))
  return {
    largest: largestAlong(builder, joinSlots(builder, frame, ofRows, 1), 2),
    weighed: (largest) => {
      const parts = scored.map((each) => weighed(builder, each, largest))
      const join = (name: keyof Weighed, size: number): Value => {
        const ofSlots = parts.map((part) => part[name])
        return turn(builder, joinSlots(builder, frame, ofSlots, size))
      }
      return { sum: join('sum', frame.headDim), total: join('total', 1) }
    },
  }
}

/** [kv, P, G*r] */
function tallScores(builder: GraphBuilder, frame: CpuAttentionFrame, { prefix, queries }: SlotPart): Value {
  if (isInBytes(prefix)) return byteScores(builder, frame, { queries, prefix })
  return builder.op('FusedMatMul', [prefix.keys, queries], {
    domain: contrib,
    attributes: { transB: 1 },
    as: 'tallScores',
  })
}

/** Of one slot, still [kv, d, G*r] and [kv, 1, G*r]. */
function weighed(
  builder: GraphBuilder,
  { scores, prefix }: { scores: Value; prefix: LayerPrefix },
  largest: Value,
): Weighed {
  const weights = builder.op('Exp', [builder.op('Sub', [scores, largest])], { as: 'weights' })
  return {
    sum: isInBytes(prefix)
      ? tallByteSum(builder, { weights, prefix })
      : builder.op('MatMul', [prefix.values, weights], { as: 'partContext' }),
    total: builder.op('ReduceSum', [weights, builder.int64([1])], { attributes: { keepdims: 1 } }),
  }
}

function largestAlong(builder: GraphBuilder, x: Value, axis: number): Value {
  return builder.op('ReduceMax', [x, builder.int64([axis])], { attributes: { keepdims: 1 } })
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
