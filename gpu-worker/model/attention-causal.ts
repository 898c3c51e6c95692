// Attention of rows in causal order behind a prefix, by the runtime's fused operator: what prefills an image.
import { toFloats, turn } from './attention-frame.ts'
import type { AttentionFrame, AttentionRun, CpuFrame, LayerPrefix } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/**
 *   prefix ─ GroupQueryAttention(past) ─┬ context [1, R, H]
 *   q k v ──┘                           ├ present keys [1, kv, P+R, d] ─ prefix keys
 *                                       └ present values ─ Transpose ─ prefix values [1, kv, d, P+R]
 * Rows are in causal order. Its own rotary is not used: on a first run it would number the rows itself.
 */
export function causalWay(
  builder: GraphBuilder,
  frame: AttentionFrame & { cpu: CpuFrame },
  { queries, keys, values, cache }: AttentionRun,
): Value[] {
  const { headCount, kvHeadCount, headDim, cpu } = frame
  const { total, nothing } = cpu
  const past = pastFloats(builder, frame, cache.prefixes[0])
  const wide = (x: Value, heads: number): Value => widenHeads(builder, headDim, x, heads)
  const inputs = [
    wide(queries, headCount),
    wide(keys, kvHeadCount),
    wide(values, kvHeadCount),
    past.keys,
    past.values,
  ]
  const [context = queries, presentKeys = queries, presentValues = queries] = builder.ops(
    'GroupQueryAttention',
    [...inputs, total.last, total.count],
    {
      domain: contrib,
      attributes: {
        num_heads: headCount,
        kv_num_heads: kvHeadCount,
        scale: { float: 1 / Math.sqrt(headDim) },
      },
      names: ['attended', 'presentKeys', 'presentValues'],
    },
  )
  const none = nothing.floats
  const rows = narrowRows(builder, frame, context)
  // What a branch gives is written by the node that makes it, unless a change of shape stands behind it: that copies.
  const allKeys = narrow(builder, headDim, presentKeys)
  const allValues = narrow(builder, headDim, presentValues)
  if (frame.cacheFormat === 'fp32') return [rows, none, none, allKeys, turnHeads(builder, allValues)]
  const [keyCodes, keyScales] = toBytes(builder, allKeys)
  const [valueCodes, valueScales] = toBytes(builder, allValues)
  return [rows, none, none, keyCodes, turnHeads(builder, valueCodes), keyScales, valueScales]
}

/** [1, kv, N, d] -> [1, kv, d, N] */
function turnHeads(builder: GraphBuilder, x: Value): Value {
  return builder.op('Transpose', [x], { attributes: { perm: [0, 1, 3, 2] }, as: 'turned' })
}

/** The operator takes heads of a multiple of 8 (those released have 128): others get zeros at their end. */
function spareDims(headDim: number): number {
  return (8 - (headDim % 8)) % 8
}

/** [.., n*d] -> [1, R, n*(d + spare)] */
function widenHeads(builder: GraphBuilder, headDim: number, x: Value, heads: number): Value {
  const spare = spareDims(headDim)
  const split =
    spare === 0 ? x : widen(builder, spare, builder.op('Reshape', [x, builder.int64([-1, heads, headDim])]))
  return builder.op('Reshape', [split, builder.int64([1, -1, heads * (headDim + spare)])])
}

function widen(builder: GraphBuilder, spare: number, x: Value): Value {
  return builder.op('Pad', [x, builder.int64([0, 0, 0, 0, 0, spare])])
}

/** [.., d + spare] -> [.., d] */
function narrow(builder: GraphBuilder, headDim: number, x: Value): Value {
  if (spareDims(headDim) === 0) return x
  return builder.op('Slice', [x, builder.int64([0]), builder.int64([headDim]), builder.int64([-1])])
}

/** [1, R, n*(d + spare)] -> [.., n*d] */
function narrowRows(builder: GraphBuilder, { headCount, headDim, shapes }: AttentionFrame, x: Value): Value {
  if (spareDims(headDim) === 0) return x
  const split = builder.op('Reshape', [x, builder.int64([-1, headCount, headDim + spareDims(headDim)])])
  return builder.op('Reshape', [narrow(builder, headDim, split), shapes.context])
}

/** A prefix as the fused operator takes it: keys and values [1, kv, P, d] in float32. */
function pastFloats(
  builder: GraphBuilder,
  { kvHeadCount, headDim }: AttentionFrame,
  prefix: LayerPrefix | undefined,
): { keys: Value | null; values: Value | null } {
  if (prefix === undefined) return { keys: null, values: null }
  const restore = (codes: Value, scales: Value | undefined): Value => {
    if (scales === undefined) return codes
    const column = builder.op('Unsqueeze', [scales, builder.int64([2])])
    return builder.op('Mul', [toFloats(builder, codes), column], { elementType: 'float32' })
  }
  // A reshape to an unknown length, and not one more dimension: the runtime takes the present for as long as the past,
  // and would put the one into the other's memory.
  const spare = spareDims(headDim)
  const batched = (x: Value): Value => {
    const wide = spare === 0 ? x : widen(builder, spare, x)
    return builder.op('Reshape', [wide, builder.int64([1, kvHeadCount, -1, headDim + spare])], { as: 'past' })
  }
  return {
    keys: batched(restore(prefix.keys, prefix.keyScales)),
    values: batched(restore(turn(builder, prefix.values), prefix.valueScales)),
  }
}

/** One scale for each row and head: [1, kv, P, d] -> int8 [1, kv, P, d] and float32 [1, kv, P]. */
function toBytes(builder: GraphBuilder, x: Value): [codes: Value, scales: Value] {
  const largest = builder.op('ReduceMax', [builder.op('Abs', [x]), builder.int64([3])], {
    attributes: { keepdims: 1 },
  })
  const positive = builder.op('Max', [largest, builder.float32([1e-30], [])])
  const scales = builder.op('Div', [positive, builder.float32([127], [])], { as: 'rowScales' })
  const scaled = builder.op('Div', [x, scales], { as: 'scaled' })
  const codes = builder.op('QuantizeLinear', [scaled, builder.float32([1], []), builder.int8([0], [])], {
    elementType: 'int8',
    as: 'codes',
  })
  return [codes, builder.op('Squeeze', [scales, builder.int64([3])])]
}
