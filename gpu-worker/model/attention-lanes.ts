// A step's rows over the suffix, each over its own sequence's lanes only, and over themselves: every row is its
// sequence's only one. Knows neither prefixes nor how their sums and these become averages.
import type { AttentionFrame, LaneFrame } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

export type LaneSide = {
  /** [R, kv, G, d] */
  byRow: Value
  /** [kv, S, d] both: lane after lane. */
  keys: Value
  values: Value
  /** [kv, R, d] both. */
  newKeys: Value
  newValues: Value
}

/** Scores of lanes [kv, L, G, slots] and of rows with themselves [kv, R, G, 1], and the largest of each head [kv, 1, 1, 1]. */
export type LaneScores = { lanes: Value; own: Value; largest: readonly Value[] }

/**
 *   queries ─┬─ Gather: each lane's row ─ x keys of the lane ─ + mask
 *            └─ x new key of the row
 */
export function laneScores(
  builder: GraphBuilder,
  { shape, rows, mask }: LaneFrame,
  { byRow, keys, newKeys }: LaneSide,
): LaneScores {
  const queries = builder.op('Transpose', [byRow], {
    attributes: { perm: [1, 0, 2, 3] },
    as: 'queriesByRow',
  })
  const asked = builder.op('Gather', [queries, rows], { attributes: { axis: 1 }, as: 'queriesByLane' })
  const product = builder.op('FusedMatMul', [asked, builder.op('Reshape', [keys, shape])], {
    domain: contrib,
    attributes: { transB: 1 },
    as: 'laneProduct',
  })
  const lanes = builder.op('Add', [product, mask], { as: 'laneScores' })
  const withOwn = builder.op('Mul', [queries, oneGroup(builder, newKeys)])
  const own = builder.op('ReduceSum', [withOwn, builder.int64([3])], {
    attributes: { keepdims: 1 },
    as: 'ownScores',
  })
  const largest = [lanes, own].map((x) =>
    builder.op('ReduceMax', [x, builder.int64([1, 2, 3])], { attributes: { keepdims: 1 } }),
  )
  return { lanes, own, largest }
}

/**
 * Sums of weighed values [kv, G*R, d] and of weights [kv, G*R, 1].
 *   scores - largest ─ Exp ─ x values of the lane ─ sums [R, L] x ─ + new value of the row, weighed ─
 */
export function weighLanes(
  builder: GraphBuilder,
  frame: AttentionFrame & { lanes: LaneFrame },
  {
    scores,
    largest,
    side: { values, newValues },
  }: { scores: LaneScores; largest: Value; side: Pick<LaneSide, 'values' | 'newValues'> },
): { sum: Value; total: Value } {
  const { shape } = frame.lanes
  const weightsOf = (x: Value): Value =>
    builder.op('Exp', [builder.op('Sub', [x, largest])], { as: 'laneWeights' })
  const [weights, ownWeights] = [weightsOf(scores.lanes), weightsOf(scores.own)]
  const fromLanes = builder.op('MatMul', [weights, builder.op('Reshape', [values, shape])], {
    as: 'fromLanes',
  })
  const ofLanes = builder.op('ReduceSum', [weights, builder.int64([3])], { attributes: { keepdims: 1 } })
  const fromOwn = builder.op('Mul', [ownWeights, oneGroup(builder, newValues)], { as: 'fromOwn' })
  return {
    sum: byHead(builder, frame, { lanes: fromLanes, own: fromOwn, width: frame.headDim }),
    total: byHead(builder, frame, { lanes: ofLanes, own: ownWeights, width: 1 }),
  }
}

/** Lanes [kv, L, G, width] summed up by row, and the row's own part [kv, R, G, width]: [kv, G*R, width]. */
function byHead(
  builder: GraphBuilder,
  { headCount, kvHeadCount, lanes }: AttentionFrame & { lanes: LaneFrame },
  { lanes: x, own, width }: { lanes: Value; own: Value; width: number },
): Value {
  const groupSize = headCount / kvHeadCount
  const flat = builder.op('Reshape', [x, builder.int64([kvHeadCount, -1, groupSize * width])])
  const byRow = builder.op('MatMul', [lanes.sums, flat], { as: 'byRow' })
  const ownRows = builder.op('Reshape', [own, builder.int64([kvHeadCount, -1, groupSize * width])])
  const joined = builder.op('Add', [byRow, ownRows])
  if (groupSize === 1) return joined
  const split = builder.op('Reshape', [joined, builder.int64([kvHeadCount, -1, groupSize, width])])
  const groups = builder.op('Transpose', [split], { attributes: { perm: [0, 2, 1, 3] } })
  return builder.op('Reshape', [groups, builder.int64([kvHeadCount, -1, width])])
}

/** [kv, R, d] -> [kv, R, 1, d] */
function oneGroup(builder: GraphBuilder, x: Value): Value {
  return builder.op('Unsqueeze', [x, builder.int64([2])])
}
