// Attention over a prefix that is held in bytes. Both of its products are integer ones, so nothing as large as the
// prefix is turned into numbers first. Knows no suffix: what a prefix gives is a part, to be joined with others.
//
// Keys are codes uint8 [kv, P, d], values int8 [kv, P, d], each with a scale for every channel, [kv, 1, d]: those of the
// keys go into the queries, those of the values into the sums.
import { InvariantError } from '../../schemas/errors.ts'
import { isInBytes, turn } from './attention-frame.ts'
import type { ByteFrame, CpuAttentionFrame, SlotPart } from './attention-frame.ts'
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
  const parts = slots.map((slot) => bytePart(builder, frame, slot))
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

/**
 *   queries * key scales ─ codes ─ keys x codes^T ─ turned: scores [kv, M, P] ─ Exp ─┬─ two codes each ─ x values ─ sum
 *                                                                                  └─ ReduceSum ─ total
 * The keys stand on the left side, where the runtime reads them as they lie. A query is one byte, as keys are; a weight is
 * two, since thousands of small ones may together outweigh the largest.
 */
function bytePart(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { queries, prefix }: SlotPart,
): AttentionPart {
  const { bytes } = frame.cpu
  if (bytes === undefined || !isInBytes(prefix)) throw new InvariantError('a prefix is not held in bytes')
  const { codes, steps } = queryCodes(builder, builder.op('Mul', [queries, prefix.keyScales]))
  const one = builder.float32([1], [])
  const product = integerProduct(builder, [
    prefix.keys,
    turn(builder, codes),
    one,
    turn(builder, steps),
    bytes.keyZero,
  ])
  const scores = turn(builder, product)
  const reduce = (operator: 'ReduceMax' | 'ReduceSum', x: Value): Value =>
    builder.op(operator, [x, builder.int64([2])], { attributes: { keepdims: 1 } })
  const largest = reduce('ReduceMax', scores)
  const weights = builder.op('Exp', [builder.op('Sub', [scores, largest])], { as: 'byteWeights' })
  const sums = integerProduct(builder, [
    weightCodes(builder, bytes, weights),
    prefix.values,
    bytes.weightStep,
    prefix.valueScales,
    bytes.weightZero,
  ])
  return {
    largest,
    sum: joinCodes(builder, frame, sums),
    total: reduce('ReduceSum', weights),
  }
}

/** What high and low codes give, [kv, 2M, d], as one: [kv, M, d]. Not cut in two, because M may be 0. */
function joinCodes(
  builder: GraphBuilder,
  { kvHeadCount, headDim, cpu }: CpuAttentionFrame,
  sums: Value,
): Value {
  const both = builder.op('Reshape', [sums, builder.int64([kvHeadCount, 2, -1, headDim])])
  const scaled = builder.op('Mul', [both, cpu.bytes?.codeWeights ?? null], { as: 'scaledCodes' })
  return builder.op('ReduceSum', [scaled, builder.int64([1])], { attributes: { keepdims: 0 }, as: 'byteSum' })
}

/** A product of uint8 with int8 as float32: [left, right, scale of the left, scales of the right, zero of the left]. */
function integerProduct(builder: GraphBuilder, inputs: readonly Value[]): Value {
  return builder.op('MatMulIntegerToFloat', inputs, {
    domain: contrib,
    elementType: 'float32',
    as: 'byteProduct',
  })
}

/** int8 [kv, M, d], and what one code counts [kv, M, 1]. */
function queryCodes(builder: GraphBuilder, x: Value): { codes: Value; steps: Value } {
  const steps = codeSteps(builder, x, 2, builder.float32([127], []))
  const scaled = builder.op('Div', [x, steps], { as: 'scaledQueries' })
  const codes = builder.op('QuantizeLinear', [scaled, builder.float32([1], []), builder.int8([0], [])], {
    elementType: 'int8',
    as: 'queryCodes',
  })
  return { codes, steps }
}

/** The largest magnitude along an axis by the number of codes for it; nothing is ever divided by 0. */
export function codeSteps(builder: GraphBuilder, x: Value, axis: number, levels: Value): Value {
  const reduce = (operator: 'ReduceMax' | 'ReduceMin'): Value =>
    builder.op(operator, [x, builder.int64([axis])], { attributes: { keepdims: 1 } })
  const largest = builder.op('Max', [
    reduce('ReduceMax'),
    builder.op('Neg', [reduce('ReduceMin')]),
    builder.float32([1e-30], []),
  ])
  return builder.op('Div', [largest, levels], { as: 'codeSteps' })
}

/**
 * Weights [kv, M, P] from 0 to 1 as uint8 [kv, 2M, P]: high codes, in steps of weightStep, and below them what these leave.
 *   w ─ to a whole number of steps ─┬─ QuantizeLinear ─────── high
 *   w ───────────────────────── Sub ┴─ QuantizeLinear(low) ── low
 */
function weightCodes(builder: GraphBuilder, bytes: ByteFrame, weights: Value): Value {
  const whole = builder.op('Sub', [builder.op('Add', [weights, bytes.weightShift]), bytes.weightShift], {
    as: 'wholeSteps',
  })
  const rest = builder.op('Sub', [weights, whole], { as: 'restOfWeights' })
  const quantize = (x: Value, step: Value): Value =>
    builder.op('QuantizeLinear', [x, step, bytes.weightZero], { elementType: 'uint8', as: 'weightCodes' })
  return builder.op('Concat', [quantize(whole, bytes.weightStep), quantize(rest, bytes.lowStep)], {
    attributes: { axis: 1 },
    as: 'bothCodes',
  })
}

/** Parts over the same rows as averages [kv, M, d], each brought to the largest score of all. */
export function joinParts(builder: GraphBuilder, parts: readonly AttentionPart[]): Value {
  const largest = builder.op(
    'Max',
    parts.map((part) => part.largest),
  )
  const scaled = parts.map((part) => relativeTo(builder, part, largest))
  const add = (name: 'sum' | 'total'): Value =>
    builder.op(
      'Sum',
      scaled.map((part) => part[name]),
    )
  return builder.op('Div', [add('sum'), add('total')], { as: 'joinedParts' })
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
