// Attention of rows in causal order behind a prefix, by the runtime's fused operator: what prefills an image.
import { toFloats, turn } from './attention-frame.ts'
import type { AttentionFrame, AttentionRun, CpuFrame, LayerPrefix } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/** The fused operator takes head sizes that are a multiple of this; others are filled up with zeros, which add nothing. */
const headSizeStep = 8

/**
 *   prefix ─ GroupQueryAttention(past) ─┬ context
 *   q k v ──┘                           ├ present keys [1, kv, P+R, d] ─ prefix keys
 *                                       └ present values ─ Transpose ─ prefix values [kv, d, P+R]
 * Rows are in causal order. Its own rotary is not used: on a first run it would number the rows itself.
 */
export function causalWay(
  builder: GraphBuilder,
  frame: AttentionFrame & { cpu: CpuFrame },
  { queries, keys, values, cache }: AttentionRun,
): Value[] {
  const { headCount, kvHeadCount, headDim, cpu } = frame
  const { total, nothing } = cpu
  const lead = builder.int64([0])
  const past = pastFloats(builder, cache.prefixes[0])
  const filled = fillHeads(builder, headDim)
  const inputs = [
    filled.joined(queries, headCount),
    filled.joined(keys, kvHeadCount),
    filled.joined(builder.op('Unsqueeze', [values, lead]), kvHeadCount),
    filled.apart(past.keys),
    filled.apart(past.values),
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
  const rows = builder.op('Squeeze', [filled.cutJoined(context, headCount), lead], { as: 'rows' })
  const flatKeys = builder.op('Squeeze', [filled.cutApart(presentKeys), lead], { as: 'flatKeys' })
  const flatValues = builder.op('Squeeze', [filled.cutApart(presentValues), lead], { as: 'flatValues' })
  if (frame.cacheFormat === 'fp32') return [rows, none, none, flatKeys, turn(builder, flatValues)]
  const [keyCodes, keyScales] = toBytes(builder, flatKeys)
  const [valueCodes, valueScales] = toBytes(builder, flatValues)
  return [rows, none, none, keyCodes, turn(builder, valueCodes), keyScales, valueScales]
}

/** Heads joined in rows [1, R, n*d] or apart [1, n, R, d], with d filled up for the operator, and cut back behind it. */
function fillHeads(builder: GraphBuilder, headDim: number) {
  const missing = (headSizeStep - (headDim % headSizeStep)) % headSizeStep
  const size = headDim + missing
  const split = (x: Value, heads: number, d: number): Value =>
    builder.op('Reshape', [x, builder.int64([1, -1, heads, d])])
  const join = (x: Value, heads: number, d: number): Value =>
    builder.op('Reshape', [x, builder.int64([1, -1, heads * d])])
  const fill = (x: Value): Value =>
    builder.op('Pad', [x, builder.int64([0, 0, 0, 0, 0, 0, 0, missing])], { as: 'filledUp' })
  const cut = (x: Value): Value => {
    const [start, end, axis] = [0, headDim, 3].map((value) => builder.int64([value]))
    return builder.op('Slice', [x, start ?? null, end ?? null, axis ?? null], { as: 'cutBack' })
  }
  if (missing === 0) {
    const same = (x: Value): Value => x
    return { joined: same, cutJoined: same, apart: (x: Value | null) => x, cutApart: same }
  }
  return {
    joined: (x: Value, heads: number) => join(fill(split(x, heads, headDim)), heads, size),
    cutJoined: (x: Value, heads: number) => join(cut(split(x, heads, size)), heads, headDim),
    apart: (x: Value | null) => (x === null ? null : fill(x)),
    cutApart: cut,
  }
}

/** A prefix as the fused operator takes it: keys and values [1, kv, P, d] in float32. */
function pastFloats(
  builder: GraphBuilder,
  prefix: LayerPrefix | undefined,
): { keys: Value | null; values: Value | null } {
  if (prefix === undefined) return { keys: null, values: null }
  const restore = (codes: Value, scales: Value | undefined): Value => {
    if (scales === undefined) return codes
    const column = builder.op('Unsqueeze', [scales, builder.int64([2])])
    return builder.op('Mul', [toFloats(builder, codes), column], { elementType: 'float32' })
  }
  const batched = (x: Value): Value => builder.op('Unsqueeze', [x, builder.int64([0])])
  return {
    keys: batched(restore(prefix.keys, prefix.keyScales)),
    values: batched(restore(turn(builder, prefix.values), prefix.valueScales)),
  }
}

/** One scale for each row and head: [kv, P, d] -> int8 [kv, P, d] and float32 [kv, P]. */
function toBytes(builder: GraphBuilder, x: Value): [codes: Value, scales: Value] {
  const largest = builder.op('ReduceMax', [builder.op('Abs', [x]), builder.int64([2])], {
    attributes: { keepdims: 1 },
  })
  const positive = builder.op('Max', [largest, builder.float32([1e-30], [])])
  const scales = builder.op('Div', [positive, builder.float32([127], [])], { as: 'rowScales' })
  const scaled = builder.op('Div', [x, scales], { as: 'scaled' })
  const codes = builder.op('QuantizeLinear', [scaled, builder.float32([1], []), builder.int8([0], [])], {
    elementType: 'int8',
    as: 'codes',
  })
  return [codes, builder.op('Squeeze', [scales, builder.int64([2])])]
}
