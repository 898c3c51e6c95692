// Attention of the decoder on a GPU: one way for every run, and a cache that can stay where it is. Knows nodes only.
//
// The cache is held as the products want it without turning: keys [kv, d, P], values [kv, P, d]. The suffix grows inside
// the graph, because rows that came out to be written by the caller would cross the bus twice.
import { InvariantError } from '../../schemas/errors.ts'
import type { Attended, AttentionFrame, AttentionRun } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

/**
 *   suffix ─ Gather(kept) ─ Concat(new rows) ─ own ──────────────────────► next_keys, next_values
 *   queries / sqrt(d) ─┬─ x prefix keys ─┬ Concat + mask ─ Softmax ─ Split ─┬─ x prefix values ─┬ Add ─ [R, H]
 *                      └─ x own keys ────┘                                  └─ x own values ────┘
 * The mask [G*R, P + K + R] covers the prefix too, which may stand for nothing; grouped heads have it once a group.
 */
export function deviceAttention(
  builder: GraphBuilder,
  { headDim, mask, keyCounts, shapes, keptSlots }: AttentionFrame,
  { queries, keys, values, cache }: AttentionRun,
): Attended {
  const [prefix] = cache.prefixes
  if (prefix === undefined || keptSlots === undefined)
    throw new InvariantError('attention on a device has one prefix and is told which slots to keep')
  const reorder = (x: Value, { shape, perm, as }: { shape: Value; perm: number[]; as: string }): Value =>
    builder.op('Transpose', [builder.op('Reshape', [x, shape])], { attributes: { perm }, as })
  const newKeys = reorder(keys, { shape: shapes.keyRows, perm: [1, 2, 0], as: 'newKeys' })
  const newValues = reorder(values, { shape: shapes.keyRows, perm: [1, 0, 2], as: 'newValues' })
  const grow = (suffix: Value, added: Value, axis: number, as: string): Value => {
    const kept = builder.op('Gather', [suffix, keptSlots], { attributes: { axis }, as: 'kept' })
    return builder.op('Concat', [kept, added], { attributes: { axis }, as })
  }
  const ownKeys = grow(cache.suffixKeys, newKeys, 2, 'ownKeys')
  const ownValues = grow(cache.suffixValues, newValues, 1, 'ownValues')
  const scale = builder.float32([1 / Math.sqrt(headDim)], [])
  const scaled = builder.op('Mul', [queries, scale], { as: 'scaledQueries' })
  const grouped = reorder(scaled, { shape: shapes.queryRows, perm: [1, 2, 0, 3], as: 'grouped' })
  const flat = builder.op('Reshape', [grouped, shapes.flat], { as: 'flat' })
  const against = [prefix.keys, ownKeys].map((part) => builder.op('MatMul', [flat, part], { as: 'scores' }))
  const scores = builder.op('Concat', against, { attributes: { axis: 2 }, as: 'joinedScores' })
  const masked = builder.op('Add', [scores, mask], { as: 'masked' })
  const softmax = builder.op('Softmax', [masked], { attributes: { axis: -1 } })
  const [onPrefix = softmax, onOwn = softmax] = builder.ops('Split', [softmax, keyCounts], {
    attributes: { axis: 2 },
    names: ['onPrefix', 'onOwn'],
  })
  const fromPrefix = builder.op('MatMul', [onPrefix, prefix.values], { as: 'fromPrefix' })
  const fromOwn = builder.op('MatMul', [onOwn, ownValues], { as: 'fromOwn' })
  const attended = builder.op('Add', [fromPrefix, fromOwn], { as: 'attended' })
  const split = builder.op('Reshape', [attended, shapes.grouped], { as: 'splitContext' })
  const rowsFirst = builder.op('Transpose', [split], { attributes: { perm: [2, 0, 1, 3] }, as: 'rowsFirst' })
  const context = builder.op('Reshape', [rowsFirst, shapes.context], { as: 'contextRows' })
  return { context, suffix: { keys: ownKeys, values: ownValues } }
}
