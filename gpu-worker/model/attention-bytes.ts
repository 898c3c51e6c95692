// Attention over a prefix that is held in bytes. Both of its products are integer ones, so nothing as large as the
// prefix is turned into numbers first. Knows no suffix.
//
// Keys are codes uint8 [kv, P, d], values int8 [kv, P, d], each with a scale for every channel: those of the keys
// [kv, d, 1] go into the queries, those of the values [kv, 1, d] into the sums.
import { InvariantError } from '../../schemas/errors.ts'
import { isInBytes, turn } from './attention-frame.ts'
import type { ByteFrame, BytePrefix, CpuAttentionFrame, SlotPart } from './attention-frame.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/** Averages still to be divided: of M rows the largest score, and sums of exp(score - largest) with values and alone. */
export type AttentionPart = { largest: Value; sum: Value; total: Value }

/** What all rows find in their prefixes, a slot's rows after another's: [kv, G*R, ..]. */
export function slotParts(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  slots: readonly SlotPart[],
): AttentionPart {
  const parts = slots.map(({ prefix, queries }) => {
    if (!isInBytes(prefix)) throw new InvariantError('a prefix is not held in bytes')
    const scores = byteScores(builder, frame, { queries, prefix })
    const largest = alongKeys(builder, 'ReduceMax', scores)
    const weights = builder.op('Exp', [builder.op('Sub', [scores, largest])], { as: 'byteWeights' })
    return {
      largest,
      sum: codedSum(builder, frame, { weights, prefix }),
      total: alongKeys(builder, 'ReduceSum', weights),
    }
  })
  const [first] = parts
  if (parts.length === 1 && first !== undefined) return first
  const { kvHeadCount, headCount, headDim } = frame
  const join = (name: keyof AttentionPart, size: number): Value => {
    const byGroup = parts.map((part) =>
      builder.op('Reshape', [part[name], builder.int64([kvHeadCount, headCount / kvHeadCount, -1, size])]),
    )
    const joined = builder.op('Concat', byGroup, { attributes: { axis: 2 }, as: 'joinedSlots' })
    return builder.op('Reshape', [joined, builder.int64([kvHeadCount, -1, size])])
  }
  return { largest: join('largest', 1), sum: join('sum', headDim), total: join('total', 1) }
}

/** A part's sums as they are with exp(score - another number). */
export function relativeTo(
  builder: GraphBuilder,
  { largest, sum, total }: AttentionPart,
  other: Value,
): { sum: Value; total: Value } {
  const factor = builder.op('Exp', [builder.op('Sub', [largest, other])], { as: 'partFactor' })
  return { sum: builder.op('Mul', [sum, factor]), total: builder.op('Mul', [total, factor]) }
}

/**
 *   queries^T * key scales ─┬─ largest of a row / 127 ─ step ─┐
 *                           └─ / step ─ codes ─ keys x codes * step ─ turned: scores [kv, M, P]
 * The keys stand on the left side, where the runtime reads them as they lie. A query is one byte, as keys are. That of a
 * row of zeros is any byte, and its step 0.
 */
export function byteScores(
  builder: GraphBuilder,
  { cpu }: CpuAttentionFrame,
  { queries, prefix }: { queries: Value; prefix: BytePrefix },
): Value {
  const scaled = builder.op('Mul', [turn(builder, queries), prefix.keyScales], { as: 'scaledQueries' })
  const steps = codeSteps(builder, { of: builder.op('Abs', [scaled]), axis: 1 }, builder.float32([127], []))
  const [one, zero] = [builder.float32([1], []), builder.int8([0], [])]
  const codes = builder.op('QuantizeLinear', [builder.op('Div', [scaled, steps]), one, zero], {
    elementType: 'int8',
    as: 'queryCodes',
  })
  return turn(builder, integerProduct(builder, [prefix.keys, codes, one, steps, cpu.bytes?.keyZero ?? null]))
}

/**
 * Weights [kv, M, P] times values: [kv, M, d]. Each row is brought to a largest weight of 1 and back.
 */
export function byteAverage(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { weights, prefix }: { weights: Value; prefix: BytePrefix },
): Value {
  const largest = alongKeys(builder, 'ReduceMax', weights)
  const scaled = builder.op('Div', [weights, largest], { as: 'scaledWeights' })
  return builder.op('Mul', [codedSum(builder, frame, { weights: scaled, prefix }), largest])
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
  const sums = integerProduct(builder, [codes, prefix.values, weightStep, prefix.valueScales, weightZero])
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

/** A product of uint8 with int8 as float32: left, right, what a code counts on the left, and on the right, the left's zero. */
function integerProduct(builder: GraphBuilder, inputs: readonly (Value | null)[]): Value {
  return builder.op('MatMulIntegerToFloat', inputs, {
    domain: contrib,
    elementType: 'float32',
    as: 'byteProduct',
  })
}

function alongKeys(builder: GraphBuilder, operator: 'ReduceMax' | 'ReduceSum', x: Value): Value {
  return builder.op(operator, [x, builder.int64([2])], { attributes: { keepdims: 1 } })
}
