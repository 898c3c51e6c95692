// Attention of the decoder on a GPU: one way for every run, and a cache that can stay where it is. Knows nodes only.
//
// The cache is held as the products want it without turning: keys [kv, d, P], values [kv, P, d]. The suffix grows inside
// the graph, because rows that came out to be written by the caller would cross the bus twice.
import { InvariantError } from '../../schemas/errors.ts'
import type { Attended, AttentionFrame, AttentionRun } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

/**
 *   suffix ─ Gather(kept) ─ Concat(new rows) ─ own ──────────────────────────────► next_keys, next_values
 *   queries / sqrt(d) ─┬─ x prefix keys + mask ─┬ Concat ─ Softmax ─ Split ─┬─ x prefix values ─┬ Add ─ [R, H]
 *                      └─ x own keys + mask ────┘                           └─ x own values ────┘
 * Grouped heads have the mask [G*R, K + R] once a group.
 */
export function deviceAttention(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { queries, keys, values, cache }: AttentionRun,
): Attended {
  const { device, headDim, keyCounts, mask, shapes } = frame
  const [prefix] = cache.prefixes
  if (prefix === undefined || device === undefined)
    throw new InvariantError('attention on a device has a prefix and its frame')
  const newKeys = reorder(builder, keys, { shape: shapes.keyRows, perm: [1, 2, 0], as: 'newKeys' })
  const newValues = reorder(builder, values, { shape: shapes.keyRows, perm: [1, 0, 2], as: 'newValues' })
  const grow = (suffix: Value, added: Value, axis: number, as: string): Value => {
    const kept =
      device.keptSlots === undefined
        ? suffix
        : builder.op('Gather', [suffix, device.keptSlots], { attributes: { axis }, as: 'kept' })
    return builder.op('Concat', [kept, added], { attributes: { axis }, as })
  }
  const own = {
    keys: grow(cache.suffixKeys, newKeys, 2, 'ownKeys'),
    values: grow(cache.suffixValues, newValues, 1, 'ownValues'),
  }
  const scale = builder.float32([1 / Math.sqrt(headDim)], [])
  const scaled = builder.op('Mul', [queries, scale], { as: 'scaledQueries' })
  const grouped = reorder(builder, scaled, { shape: shapes.queryRows, perm: [1, 2, 0, 3], as: 'grouped' })
  const flat = builder.op('Reshape', [grouped, shapes.flat], { as: 'flat' })
  const score = (part: Value, seen: Value): Value =>
    builder.op('Add', [builder.op('MatMul', [flat, part], { as: 'scores' }), seen], { as: 'masked' })
  const scores: [Value, Value] = [score(prefix.keys, device.prefixMask), score(own.keys, mask)]
  const parts: [Value, Value] = [prefix.values, own.values]
  const attended =
    keyCounts === undefined
      ? attendApart(builder, scores, parts)
      : attendTogether(builder, keyCounts, scores, parts)
  const split = builder.op('Reshape', [attended, shapes.grouped], { as: 'splitContext' })
  const rowsFirst = builder.op('Transpose', [split], { attributes: { perm: [2, 0, 1, 3] }, as: 'rowsFirst' })
  const context = builder.op('Reshape', [rowsFirst, shapes.context], { as: 'contextRows' })
  return { context, suffix: own }
}

function reorder(
  builder: GraphBuilder,
  x: Value,
  { shape, perm, as }: { shape: Value; perm: number[]; as: string },
): Value {
  return builder.op('Transpose', [builder.op('Reshape', [x, shape])], { attributes: { perm }, as })
}

/** One softmax over both parts, cut by the counts [P, K + R], which the host knows. */
function attendTogether(
  builder: GraphBuilder,
  keyCounts: Value,
  scores: readonly [Value, Value],
  values: readonly [Value, Value],
): Value {
  const joined = builder.op('Concat', scores, { attributes: { axis: 2 }, as: 'joinedScores' })
  const softmax = builder.op('Softmax', [joined], { attributes: { axis: -1 } })
  const weights = builder.ops('Split', [softmax, keyCounts], {
    attributes: { axis: 2 },
    names: ['onPrefix', 'onOwn'],
  })
  const [onPrefix, onOwn] = values.map((part, index) =>
    builder.op('MatMul', [weights[index] ?? softmax, part], { as: 'context' }),
  )
  return builder.op('Add', [onPrefix ?? softmax, onOwn ?? softmax], { as: 'attended' })
}

/** The softmax taken apart, where nobody knows the counts before: in a loop that makes the keys itself. */
function attendApart(
  builder: GraphBuilder,
  scores: readonly [Value, Value],
  values: readonly [Value, Value],
): Value {
  const reduce = (operator: 'ReduceMax' | 'ReduceSum', x: Value): Value =>
    builder.op(operator, [x, builder.int64([2])], { attributes: { keepdims: 1 } })
  const tops = scores.map((part) => reduce('ReduceMax', part))
  const top = reduce('ReduceMax', builder.op('Concat', tops, { attributes: { axis: 2 }, as: 'tops' }))
  const weights = scores.map((part) => builder.op('Exp', [builder.op('Sub', [part, top])], { as: 'weights' }))
  const add = (terms: readonly Value[], as: string): Value => builder.op('Add', terms, { as })
  const total = add(
    weights.map((part) => reduce('ReduceSum', part)),
    'total',
  )
  const sum = add(
    weights.map((part, index) => builder.op('MatMul', [part, values[index] ?? part], { as: 'context' })),
    'sum',
  )
  return builder.op('Div', [sum, total], { as: 'attended' })
}
