// Products of bytes: weights with one scale per output channel, which may be stored in 4 bits and widened for each run,
// inputs with one scale per row and in one byte or two. Knows nothing of who chooses.
import type { IntegerFormat } from '../../schemas/model-manifest.ts'
import type { GraphBuilder, Value } from './graph.ts'
import { bytesOf, storedOnce, vectorWeight } from './linear-frame.ts'
import type { LinearContext, MatrixRole, StoredMatrix } from './linear-frame.ts'
import { forEachTile } from './matrix.ts'
import type { Matrix } from './matrix.ts'
import { blockSize, quantizeRowsInt4, quantizeRowsInt8 } from './quantize.ts'
import type { TurnedRows } from './quantize.ts'

/** 1.5 * 2^23: a float32 of up to 22 bits that it is added to, and taken from again, is a whole number. */
const rounder = 12_582_912

type IntegerOptions = { matrix: Matrix; role: MatrixRole; format: IntegerFormat }

const formats: Record<IntegerFormat, { bits: 8 | 4; split: boolean }> = {
  'int8': { bits: 8, split: false },
  'int8-split': { bits: 8, split: true },
  'int4-widened': { bits: 4, split: false },
  'int4-widened-split': { bits: 4, split: true },
}

/**
 *   x ─ quantizeRows ─ codes u8 [T, in] ─ MatMulIntegerToFloat(W s8 [in, out], columnScale [out]) ─ / rowSteps [T, 1]
 * W holds one scale per output channel. With `split` each input is two bytes, hi = round(x * n) and lo = the rest times
 * 2L; both meet the same weights in one product, one below the other:
 *   codes [2T, in] ─ MatMulIntegerToFloat ─ Split ─ hi + lo/2L ─ / rowSteps
 * Few nodes, since a decode step has thousands of them. Rows that stand for themselves over `inputSteps` [T, 1] are as good
 * as others for rounding, and divided by both.
 */
export function integerProduct(
  scope: GraphBuilder,
  context: LinearContext,
  x: Value,
  { inputSteps, ...options }: IntegerOptions & { inputSteps?: Value | undefined },
): Value {
  const { sums, rowSteps } = integerSums(scope, context, x, options)
  const steps =
    inputSteps === undefined ? rowSteps : scope.op('Mul', [rowSteps, inputSteps], { as: 'allSteps' })
  return scope.op('Div', [sums, steps], { as: 'product' })
}

/** The product before it is divided: each of its rows counts `rowSteps` [T, 1] times too much. */
export function integerSums(
  scope: GraphBuilder,
  context: LinearContext,
  x: Value,
  { matrix, role, format }: IntegerOptions,
): { sums: Value; rowSteps: Value } {
  const { bits, split } = formats[format]
  const stored = storedOnce(context, `int${bits} ${matrix.name}`, () =>
    bits === 8 ? int8Weights(scope, matrix) : int4Weights(scope, matrix),
  )
  const weights = bits === 8 ? stored.data : widened(scope, stored)
  const { codes, rowSteps } = quantizeRows(scope, context, x, { split, hasManyRows: !isLanguage(role) })
  const one = scope.float32([1], [])
  const sums = scope.op(
    'MatMulIntegerToFloat',
    [codes, weights, one, stored.scales ?? null, context.codes?.zeroPoint ?? null],
    {
      domain: 'com.microsoft',
      elementType: 'float32',
      as: 'sums',
    },
  )
  if (!split) return { sums, rowSteps }
  const [high, low] = scope.ops('Split', [sums], {
    attributes: { axis: 0, num_outputs: 2 },
    names: ['high', 'low'],
  })
  const scaledLow = scope.op('Mul', [low ?? null, context.codes?.lowWeight ?? null], { as: 'scaledLow' })
  return { sums: scope.op('Add', [high ?? null, scaledLow], { as: 'joined' }), rowSteps }
}

function isLanguage(role: MatrixRole): boolean {
  return role === 'languageExpert' || role === 'head'
}

/**
 *   x ─ largest magnitude ─ L / it ─ n [T,1], steps in one
 *   x * n ─ QuantizeLinear(1, zero) ─ hi       (with split: x * n - round(x * n) ─ QuantizeLinear(1/2L, zero) ─ lo; [hi; lo])
 * L and zero are graph inputs: 127 and 128 where the CPU adds byte products exactly, 63 and 64 where its 16-bit sums of
 * two products would saturate (x64 without VNNI: 2 * 255 * 127 > 32767, while 2 * 127 * 127 is not).
 * A row of zeros has infinitely many steps; its codes are any bytes, and sums over infinity are the zeros it should have.
 */
function quantizeRows(
  scope: GraphBuilder,
  { codes: range }: LinearContext,
  x: Value,
  { split, hasManyRows }: { split: boolean; hasManyRows: boolean },
): { codes: Value; rowSteps: Value } {
  const { levels = null, zeroPoint = null, lowWeight = null } = range ?? {}
  const rowSteps = scope.op('Div', [levels, largestMagnitude(scope, x, hasManyRows)], {
    as: 'rowSteps',
  })
  const scaled = scope.op('Mul', [x, rowSteps], { as: 'scaled' })
  const quantize = (values: Value, scale: Value | null, as: string): Value =>
    scope.op('QuantizeLinear', [values, scale, zeroPoint], { elementType: 'uint8', as })
  const one = scope.float32([1], [])
  if (!split) return { codes: quantize(scaled, one, 'codes'), rowSteps }
  // Two additions on all cores; Round and DequantizeLinear run on one.
  const shift = scope.float32([rounder], [])
  const whole = scope.op('Sub', [scope.op('Add', [scaled, shift]), shift], { as: 'whole' })
  const rest = scope.op('Sub', [scaled, whole], { as: 'rest' })
  const parts = [quantize(whole, one, 'highCodes'), quantize(rest, lowWeight, 'lowCodes')]
  return { codes: scope.op('Concat', parts, { attributes: { axis: 0 }, as: 'codes' }), rowSteps }
}

/**
 * [T, 1]. Of many rows by two passes that write nothing, of few by fewer nodes.
 * Axis 1 and not -1: with zero rows a negative axis gives the wrong shape in onnxruntime 1.30.
 */
function largestMagnitude(scope: GraphBuilder, x: Value, hasManyRows: boolean): Value {
  const reduce = (operator: 'ReduceMax' | 'ReduceMin', of: Value): Value =>
    scope.op(operator, [of, scope.int64([1])], { attributes: { keepdims: 1 } })
  if (!hasManyRows) return reduce('ReduceMax', scope.op('Abs', [x]))
  const lowest = scope.op('Neg', [reduce('ReduceMin', x)])
  return scope.op('Max', [reduce('ReduceMax', x), lowest], { as: 'largest' })
}

function int8Weights(scope: GraphBuilder, matrix: Matrix): StoredMatrix {
  const scales = new Float32Array(matrix.rows)
  const data = scope.weight('weight', {
    elementType: 'int8',
    dims: [matrix.columns, matrix.rows],
    byteCount: matrix.rows * matrix.columns,
    write: async (sink) => {
      const target = new Int8Array(matrix.rows * matrix.columns)
      await turnRows(matrix, target, (rows) => quantizeRowsInt8(rows, scales))
      await sink(bytesOf(target))
    },
  })
  // Written after the matrix, whose pass has filled it.
  return { data, scales: vectorWeight(scope, 'scales', scales) }
}

/**
 * Bytes from blocks of 4 bits, for rows so many that work on the matrix is little beside work on them:
 *   codes s4 [in, out] ─ DequantizeLinear(blocks of 32) ─ QuantizeLinear(1) ─ s8 [in, out]
 * MatMulNBits multiplies such blocks as they lie, and takes twice as long for that (LOG.md, 2026-11-27).
 */
function widened(scope: GraphBuilder, { data, blockScales }: StoredMatrix): Value {
  const steps = scope.op('DequantizeLinear', [data, blockScales ?? null], {
    attributes: { axis: 0, block_size: blockSize },
    elementType: 'float32',
    as: 'steps',
  })
  return scope.op('QuantizeLinear', [steps, scope.float32([1], []), scope.int8([0], [])], {
    elementType: 'int8',
    as: 'widened',
  })
}

function int4Weights(scope: GraphBuilder, matrix: Matrix): StoredMatrix {
  const blockCount = Math.ceil(matrix.columns / blockSize)
  const scales = new Float32Array(blockCount * matrix.rows)
  const rowScales = new Float32Array(matrix.rows)
  const byteCount = Math.ceil((matrix.rows * matrix.columns) / 2)
  const data = scope.weight('weight', {
    elementType: 'int4',
    dims: [matrix.columns, matrix.rows],
    byteCount,
    write: async (sink) => {
      const target = new Uint8Array(byteCount)
      await turnRows(matrix, target, (rows) => quantizeRowsInt4(rows, { scales, rowScales }))
      await sink(target)
    },
  })
  return {
    data,
    scales: vectorWeight(scope, 'scales', rowScales),
    blockScales: vectorWeight(scope, 'block_scales', scales, [blockCount, matrix.rows]),
  }
}

/** Fills `target` with the codes of all rows, tile by tile. */
async function turnRows<Codes>(
  matrix: Matrix,
  target: Codes,
  quantize: (rows: TurnedRows<Codes>) => void,
): Promise<void> {
  const { rows: targetRows, columns } = matrix
  await forEachTile(matrix, (tile, firstRow) => quantize({ tile, columns, target, targetRows, firstRow }))
}
