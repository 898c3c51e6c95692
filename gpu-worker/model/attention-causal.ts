// Attention of rows in causal order behind a prefix, by the runtime's fused operator: what prefills an image.
import { InvariantError } from '../../schemas/errors.ts'
import { codeSteps, keyScalesOf, valueScalesOf } from './attention-bytes.ts'
import { isInBytes, turn } from './attention-frame.ts'
import type { AttentionFrame, AttentionRun, ByteFrame, CpuFrame, LayerPrefix } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/**
 *   prefix ─ GroupQueryAttention(past) ─┬ context [1, R, H]
 *   q k v ──┘                           ├ present keys [1, kv, P+R, d] ─ prefix keys
 *                                       └ present values ─ Transpose ─ prefix values [1, kv, d, P+R]
 * Rows are in causal order. Its own rotary is not used: on a first run it would number the rows itself.
 */
export function causalWay(builder: GraphBuilder, frame: CausalFrame, run: AttentionRun): Value[] {
  const { headCount, kvHeadCount, headDim } = frame
  const past = pastFloats(builder, frame, run.cache.prefixes[0])
  const wide = (x: Value, heads: number): Value => widenHeads(builder, headDim, x, heads)
  const { context, present } = fusedAttention(builder, frame, {
    queries: wide(run.queries, headCount),
    keys: wide(run.keys, kvHeadCount),
    values: wide(run.values, kvHeadCount),
    past,
  })
  return [context, ...madePrefix(builder, frame, present)]
}

/**
 * The same where only the last rows' context is read, those from `start` on, a negative int64 [1]: the others' queries are
 * left out.
 *   past, k ─ Concat ─ keys [1, kv, P+R, d] ──┬─ prefix keys
 *   last queries ─ GroupQueryAttention(past) ─┴─ context [1, T, H]
 * The operator takes keys and values that lie in its past, and then wants none beside them.
 */
export function lastCausalWay(
  builder: GraphBuilder,
  frame: CausalFrame,
  { run, start }: { run: AttentionRun; start: Value },
): Value[] {
  const { headCount, kvHeadCount, headDim } = frame
  const past = pastFloats(builder, frame, run.cache.prefixes[0])
  const cut = (x: Value, from: Value, to: number): Value =>
    builder.op('Slice', [x, from, builder.int64([to]), builder.int64([1])])
  const keys = widenHeads(builder, headDim, run.keys, kvHeadCount)
  const values = widenHeads(builder, headDim, run.values, kvHeadCount)
  const all = {
    keys: behind(builder, frame, { past: past.keys, rows: keys }),
    values: behind(builder, frame, { past: past.values, rows: values }),
  }
  const none = cut(keys, builder.int64([0]), 0)
  const queries = cut(widenHeads(builder, headDim, run.queries, headCount), start, 2 ** 31 - 1)
  const { context } = fusedAttention(builder, frame, { queries, keys: none, values: none, past: all })
  return [context, ...madePrefix(builder, frame, all)]
}

type CausalFrame = AttentionFrame & { cpu: CpuFrame }

/** Context [T, H] of queries [1, T, H], and keys and values [1, kv, all, d] of the past and beside it. */
function fusedAttention(
  builder: GraphBuilder,
  frame: CausalFrame,
  { queries, keys, values, past }: Side & { queries: Value; past: Partial<Side> },
): { context: Value; present: Side } {
  const { headCount, kvHeadCount, headDim, cpu } = frame
  const inputs = [queries, keys, values, past.keys ?? null, past.values ?? null]
  const [context = queries, presentKeys = queries, presentValues = queries] = builder.ops(
    'GroupQueryAttention',
    [...inputs, cpu.total.last, cpu.total.count],
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
  return {
    context: narrowRows(builder, frame, context),
    present: { keys: presentKeys, values: presentValues },
  }
}

/** No rows of a step, and the prefix that keys and values [1, kv, all, d] are. */
function madePrefix(builder: GraphBuilder, { headDim, cpu }: CausalFrame, { keys, values }: Side): Value[] {
  const none = cpu.nothing.floats
  // What a branch gives is written by the node that makes it, unless a change of shape stands behind it: that copies.
  const allKeys = narrow(builder, headDim, keys)
  const allValues = narrow(builder, headDim, values)
  const { bytes } = cpu
  if (bytes === undefined) return [none, none, allKeys, turnHeads(builder, allValues)]
  return [none, none, ...toBytes(builder, bytes, { keys: allKeys, values: allValues })]
}

/** Rows [1, R, kv*d] behind a past [1, kv, P, d]: [1, kv, P+R, d]. */
function behind(
  builder: GraphBuilder,
  { kvHeadCount, headDim }: CausalFrame,
  { past, rows }: { past: Value | undefined; rows: Value },
): Value {
  const shape = builder.int64([1, -1, kvHeadCount, headDim + spareDims(headDim)])
  const split = builder.op('Reshape', [rows, shape])
  const own = builder.op('Transpose', [split], { attributes: { perm: [0, 2, 1, 3] } })
  return past === undefined ? own : builder.op('Concat', [past, own], { attributes: { axis: 2 }, as: 'all' })
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
  { kvHeadCount, headDim, cpu: { bytes } }: AttentionFrame & { cpu: CpuFrame },
  prefix: LayerPrefix | undefined,
): Partial<Side> {
  if (prefix === undefined) return {}
  const floats = bytes === undefined ? turnedBack(builder, prefix) : fromBytes(builder, bytes, prefix)
  // A reshape to an unknown length, and not one more dimension: the runtime takes the present for as long as the past,
  // and would put the one into the other's memory.
  const spare = spareDims(headDim)
  const batched = (x: Value): Value => {
    const wide = spare === 0 ? x : widen(builder, spare, x)
    return builder.op('Reshape', [wide, builder.int64([1, kvHeadCount, -1, headDim + spare])], { as: 'past' })
  }
  return {
    keys: batched(floats.keys),
    values: batched(floats.values),
  }
}

type Side = { keys: Value; values: Value }

function turnedBack(builder: GraphBuilder, { keys, values }: LayerPrefix): Side {
  return { keys, values: turn(builder, values) }
}

function fromBytes(builder: GraphBuilder, { keyZero }: ByteFrame, prefix: LayerPrefix): Side {
  if (!isInBytes(prefix)) throw new InvariantError('a prefix is not held in bytes')
  const restore = (codes: Value, scales: Value, zeroPoint: Value): Value => {
    const whole = builder.op('DequantizeLinear', [codes, builder.float32([1], []), zeroPoint], {
      elementType: 'float32',
    })
    return builder.op('Mul', [whole, scales], { as: 'restored' })
  }
  return {
    keys: restore(prefix.keys, turn(builder, keyScalesOf(builder, prefix.scales)), keyZero),
    values: restore(prefix.values, valueScalesOf(builder, prefix.scales), builder.int8([0], [])),
  }
}

/** Keys and values [1, kv, P, d] as codes, and then their scales [1, kv, d, 1] and [1, kv, 1, d]: one for each channel. */
function toBytes(builder: GraphBuilder, { levels, keyZero }: ByteFrame, { keys, values }: Side): Value[] {
  const code = (x: Value, scales: Value, zeroPoint: Value): Value =>
    builder.op('QuantizeLinear', [builder.op('Div', [x, scales]), builder.float32([1], []), zeroPoint], {
      elementType: zeroPoint.elementType,
      as: 'codes',
    })
  const keyScales = codeSteps(builder, { of: builder.op('Abs', [keys]), axis: 2 }, levels)
  const valueScales = codeSteps(
    builder,
    { of: builder.op('Abs', [values]), axis: 2 },
    builder.float32([127], []),
  )
  const valueZero = builder.int8([0], [])
  return [code(keys, keyScales, keyZero), code(values, valueScales, valueZero), keyScales, valueScales]
}
