// Attention over a prefix that is held in bytes. Its products are integer ones, but for that with values where there are
// many rows. Knows no suffix.
//
// Keys are codes uint8 [kv, P, d], values int8 [kv, P, d], each with a scale for every channel: those of the keys go into
// the queries, those of the values into the sums.
import { InvariantError } from '../../schemas/errors.ts'
import { turn } from './attention-frame.ts'
import type { ByteFrame, BytePrefix, CpuAttentionFrame, LayerScales } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/**
 *   queries^T * key scales ─┬─ largest of a row / 127 ─ step ─┐
 *                           └─ / step ─ codes ─ keys x codes * step ─ scores [kv, P, M]
 * The keys stand on the left side, where the runtime reads them as they lie. A query is one byte, as keys are. That of a
 * row of zeros is any byte, and its step 0.
 */
export function byteScores(
  builder: GraphBuilder,
  { cpu }: CpuAttentionFrame,
  { queries, prefix }: { queries: Value; prefix: BytePrefix },
): Value {
  const scaled = builder.op('Mul', [turn(builder, queries), keyScalesOf(builder, prefix.scales)], {
    as: 'scaledQueries',
  })
  const steps = codeSteps(builder, { of: builder.op('Abs', [scaled]), axis: 1 }, builder.float32([127], []))
  const [one, zero] = [builder.float32([1], []), builder.int8([0], [])]
  const codes = builder.op('QuantizeLinear', [builder.op('Div', [scaled, steps]), one, zero], {
    elementType: 'int8',
    as: 'queryCodes',
  })
  return integerProduct(builder, [prefix.keys, codes, one, steps, cpu.bytes?.keyZero ?? null])
}

/**
 * Weights [kv, M, P] times values: [kv, M, d]. Each row is brought to a largest weight of 1 and back.
 */
export function byteAverage(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { weights, prefix }: { weights: Value; prefix: BytePrefix },
): Value {
  const largest = builder.op('ReduceMax', [weights, builder.int64([2])], { attributes: { keepdims: 1 } })
  const scaled = builder.op('Div', [weights, largest], { as: 'scaledWeights' })
  return builder.op('Mul', [codedSum(builder, frame, { weights: scaled, prefix }), largest])
}

/**
 * The same of weights [kv, P, M], turned: [kv, d, M]. Of many rows the codes of weights would be more work than numbers
 * for the values are.
 */
export function tallByteSum(
  builder: GraphBuilder,
  { weights, prefix }: { weights: Value; prefix: BytePrefix },
): Value {
  const values = builder.op('Cast', [prefix.values], { attributes: { to: 1 }, elementType: 'float32' })
  const sums = builder.op('FusedMatMul', [weights, values], {
    domain: contrib,
    attributes: { transA: 1 },
    as: 'byteSums',
  })
  return turn(builder, builder.op('Mul', [sums, valueScalesOf(builder, prefix.scales)]))
}

/**
 *   weights, 0 to 1 ─ high and low codes [kv, 2M, P] ─ x values ─ high sums + low sums / 2L ─ [kv, M, d]
 * A weight is two bytes, since thousands of small ones may together outweigh the largest.
 */
function codedSum(
  builder: GraphBuilder,
  { kvHeadCount, headDim, cpu: { bytes } }: CpuAttentionFrame,
  { weights, prefix }: { weights: Value; prefix: BytePrefix },
): Value {
  if (bytes === undefined) throw new InvariantError('the frame has no codes')
  const codes = weightCodes(builder, bytes, weights)
  const { weightStep, weightZero, codeWeights } = bytes
  const scales = valueScalesOf(builder, prefix.scales)
  const sums = integerProduct(builder, [codes, prefix.values, weightStep, scales, weightZero])
  // Not cut in two, because M may be 0.
  const both = builder.op('Reshape', [sums, builder.int64([kvHeadCount, 2, -1, headDim])])
  const scaled = builder.op('Mul', [both, codeWeights], { as: 'scaledSums' })
  return builder.op('ReduceSum', [scaled, builder.int64([1])], { attributes: { keepdims: 0 }, as: 'byteSum' })
}

/**
 *   w ─ to a whole number of steps ─┬─ QuantizeLinear ─────── high
 *   w ───────────────────────── Sub ┴─ QuantizeLinear(low) ── low
 */
function weightCodes(
  builder: GraphBuilder,
  { weightShift, weightStep, lowStep, weightZero }: ByteFrame,
  weights: Value,
): Value {
  const shifted = builder.op('Add', [weights, weightShift])
  const whole = builder.op('Sub', [shifted, weightShift], { as: 'wholeSteps' })
  const rest = builder.op('Sub', [weights, whole], { as: 'restOfWeights' })
  const quantize = (x: Value, step: Value): Value =>
    builder.op('QuantizeLinear', [x, step, weightZero], { elementType: 'uint8', as: 'weightCodes' })
  const parts = [quantize(whole, weightStep), quantize(rest, lowStep)]
  return builder.op('Concat', parts, { attributes: { axis: 1 }, as: 'bothCodes' })
}

/** What one code counts: the largest of magnitudes along an axis by the number of codes for it. */
export function codeSteps(
  builder: GraphBuilder,
  { of, axis }: { of: Value; axis: number },
  levels: Value,
): Value {
  const largest = builder.op('ReduceMax', [of, builder.int64([axis])], { attributes: { keepdims: 1 } })
  return builder.op('Div', [largest, levels], { as: 'codeSteps' })
}

/** [kv, d, 1] */
export function keyScalesOf(builder: GraphBuilder, { all, layer }: LayerScales): Value {
  return builder.op('Gather', [all, builder.int64([2 * layer], [])], { as: 'keyScales' })
}

/** [kv, 1, d] */
export function valueScalesOf(builder: GraphBuilder, { all, layer }: LayerScales): Value {
  const scales = builder.op('Gather', [all, builder.int64([2 * layer + 1], [])], { as: 'valueScales' })
  return turn(builder, scales)
}

/** A product of uint8 with int8 as float32: left, right, what a code counts on the left, and on the right, the left's zero. */
function integerProduct(builder: GraphBuilder, inputs: readonly (Value | null)[]): Value {
  return builder.op('MatMulIntegerToFloat', inputs, {
    domain: contrib,
    elementType: 'float32',
    as: 'byteProduct',
  })
}
