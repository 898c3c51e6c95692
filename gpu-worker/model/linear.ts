// Products with a large weight matrix, in each format the compiler can store one. The rest of the graph does not know
// how a matrix is stored.
import { activationError, blockSize, expectFloat16, quantizeRowsBlock, quantizeRowsInt8 } from './quantize.ts'
import { forEachTile } from './matrix.ts'
import type { Matrix } from './matrix.ts'
import type { GraphBuilder, Value } from './graph.ts'
import type { QuantizedMatrix, Target, WeightFormat } from '../../schemas/model-manifest.ts'

export type Packing = 'fp32' | 'fp16' | QuantizedMatrix['format']

/** Where in the model a matrix stands; decides how it may be stored. */
export type MatrixRole = 'tower' | 'visionExpert' | 'languageExpert' | 'head'

export type LinearOptions = {
  name: string
  matrix: Matrix
  role: MatrixRole
  bias?: Value
  /** Channel gains of the norm right before the product, where there is one: tells how 8-bit inputs would fare. */
  inputGains?: Float32Array
  /** Inputs are averages of values, as attention leaves them: no element stands far above the others. */
  inputsAreMeans?: boolean
  addition?: LowRank
  /** Name in the list of quantized matrices, where another product uses the same matrix. */
  reportedAs?: string
}

/** What a plain product needs to know. */
type Factor = Pick<LinearOptions, 'matrix' | 'bias'>

/** The matrix up [out, r] times down [r, in], never multiplied out. */
export type LowRank = { down: Matrix; up: Matrix }

/** What the formats share while a graph is built: the chosen format, and what was chosen for each matrix. */
export type LinearContext = {
  weights: WeightFormat
  target: Target
  /** Graph inputs of the int8 formats: the largest activation code and its zero point (see quantizeRows below). */
  levels: Value | undefined
  zeroPoint: Value | undefined
  /** What a low code counts beside a high one: 1 / 2L. */
  lowWeight: Value | undefined
  quantized: QuantizedMatrix[]
  /** Stored matrices by name: one that two products use stands in the graph, and in its weights, once. */
  stored: Map<string, { data: Value; scales?: Value }>
}

/**
 * The most error that one product may take from 8-bit inputs before they are split into two bytes.
 * Gaussian inputs with equal gains come out at 0.7 to 0.9 %, ones with outlier channels several times higher.
 */
const maxActivationError = 0.01

/** 1.5 * 2^23: a float32 of up to 22 bits that it is added to, and taken from again, is a whole number. */
const rounder = 12_582_912

/** x [T, in] times the matrix [out, in], plus the bias [out]: [T, out] in float32. */
export function linear(
  builder: GraphBuilder,
  context: LinearContext,
  x: Value,
  options: LinearOptions,
): Value {
  const scope = builder.scope(options.name)
  const { packing, inputError } = choosePacking(context, options)
  if (packing !== 'fp32' && packing !== 'fp16') {
    context.quantized.push({ name: options.reportedAs ?? options.matrix.name, format: packing, inputError })
  }
  const product = storedProduct(scope, context, x, { ...options, packing })
  return options.addition === undefined
    ? product
    : addLowRank(scope, context, { x, product, addition: options.addition })
}

function storedProduct(
  scope: GraphBuilder,
  context: LinearContext,
  x: Value,
  { packing, ...options }: LinearOptions & { packing: Packing },
): Value {
  switch (packing) {
    case 'fp32':
      return gemm(scope, context, x, options)
    case 'fp16':
      return halfGemm(scope, context, x, options)
    case 'int8':
    case 'int8-split':
      return addBias(
        scope,
        integerProduct(scope, context, x, { ...options, split: packing === 'int8-split' }),
        options.bias,
      )
    case 'int4':
    case 'int8-block':
      return addBias(
        scope,
        blockProduct(scope, context, x, { ...options, bits: packing === 'int4' ? 4 : 8 }),
        options.bias,
      )
  }
}

/**
 *   x ─┬─ product ───────────────────────────── + ─
 *      └─ Gemm(down [r, in]) ─ Gemm(up [out, r]) ┘
 * The factors are a few per cent of the matrix, so they keep their precision beside quantized weights.
 */
function addLowRank(
  scope: GraphBuilder,
  context: LinearContext,
  { x, product, addition }: { x: Value; product: Value; addition: LowRank },
): Value {
  const factor = context.weights === 'fp16' ? halfGemm : gemm
  const within = scope.scope('low_rank')
  const narrow = factor(within.scope('down'), context, x, { matrix: addition.down })
  const delta = factor(within.scope('up'), context, narrow, { matrix: addition.up })
  return scope.op('Add', [product, delta], { as: 'adapted' })
}

/** What `make` puts into the weights, or what the first product with this matrix has put there. */
function storedOnce(
  { stored }: LinearContext,
  key: string,
  make: () => { data: Value; scales?: Value },
): { data: Value; scales?: Value } {
  const known = stored.get(key) ?? make()
  stored.set(key, known)
  return known
}

function choosePacking(
  { weights, target }: LinearContext,
  { role, inputGains, inputsAreMeans = false }: LinearOptions,
): { packing: Packing; inputError: number | null } {
  if (weights === 'fp32' || weights === 'fp16') return { packing: weights, inputError: null }
  if (weights === 'int4' && role !== 'tower') {
    // The head turns hidden states into words; 4 bits there cost more tokens than they save bytes.
    return { packing: role === 'head' ? 'int8-block' : 'int4', inputError: null }
  }
  if (target !== 'cpu') return { packing: 'int8-block', inputError: null }
  const inputError = inputGains === undefined ? null : activationError(inputGains)
  return {
    packing: isOneByteEnough({ role, inputError, inputsAreMeans }) ? 'int8' : 'int8-split',
    inputError,
  }
}

/**
 * A second byte doubles a product. Where one is enough was measured on the shipped model (LOG.md, 2026-11-26, mean error
 * of logits): behind a norm and behind attention nearly everywhere, behind the gated product only in the visual expert,
 * whose rows nobody reads words off. The tower's stream is never normalised, and the head's rounding is the words' own.
 */
function isOneByteEnough({
  role,
  inputError,
  inputsAreMeans,
}: {
  role: MatrixRole
  inputError: number | null
  inputsAreMeans: boolean
}): boolean {
  if (inputsAreMeans) return true
  if (inputError !== null) return inputError <= maxActivationError
  return role === 'visionExpert'
}

/** Gemm(x, W, bias) with W [out, in] as the checkpoint has it. */
function gemm(scope: GraphBuilder, context: LinearContext, x: Value, { matrix, bias }: Factor): Value {
  const { data } = storedOnce(context, `fp32 ${matrix.name}`, () => ({
    data: scope.weight('weight', {
      elementType: 'float32',
      dims: [matrix.rows, matrix.columns],
      byteCount: matrix.rows * matrix.columns * 4,
      write: (sink) => forEachTile(matrix, (tile) => sink(bytesOf(tile))),
    }),
  }))
  return scope.op('Gemm', bias === undefined ? [x, data] : [x, data, bias], { attributes: { transB: 1 } })
}

/**
 *   x ─ Cast(f16) ─ Gemm(W f16) ─ Cast(f32) ─ Add(bias)
 * The residual stream stays in float32: the tower's is never normalised and leaves the range of half precision.
 */
function halfGemm(scope: GraphBuilder, context: LinearContext, x: Value, { matrix, bias }: Factor): Value {
  const { data } = storedOnce(context, `fp16 ${matrix.name}`, () => ({
    data: scope.weight('weight', {
      elementType: 'float16',
      dims: [matrix.rows, matrix.columns],
      byteCount: matrix.rows * matrix.columns * 2,
      write: (sink) => forEachTile(matrix, (tile) => sink(bytesOf(expectFloat16(tile, matrix.name)))),
    }),
  }))
  const half = scope.op('Cast', [x], { attributes: { to: 10 }, elementType: 'float16', as: 'half' })
  const product = scope.op('Gemm', [half, data], { attributes: { transB: 1 } })
  return addBias(scope, scope.op('Cast', [product], { attributes: { to: 1 }, elementType: 'float32' }), bias)
}

/**
 *   x ─ quantizeRows ─ codes u8 [T, in] ─ MatMulIntegerToFloat(W s8 [in, out], columnScale [out]) ─ / rowSteps [T, 1]
 * W holds one scale per output channel. With `split` each input is two bytes, hi = round(x * n) and lo = the rest times
 * 2L; both meet the same weights in one product, one below the other:
 *   codes [2T, in] ─ MatMulIntegerToFloat ─ Split ─ hi + lo/2L ─ / rowSteps
 * Few nodes, since a decode step has thousands of them.
 */
function integerProduct(
  scope: GraphBuilder,
  context: LinearContext,
  x: Value,
  { matrix, role, split }: LinearOptions & { split: boolean },
): Value {
  const { data, scales } = storedOnce(context, `int8 ${matrix.name}`, () => int8Weights(scope, matrix))
  const { codes, rowSteps } = quantizeRows(scope, context, x, { split, hasManyRows: !isLanguage(role) })
  const one = scope.float32([1], [])
  const sums = scope.op(
    'MatMulIntegerToFloat',
    [codes, data, one, scales ?? null, context.zeroPoint ?? null],
    {
      domain: 'com.microsoft',
      elementType: 'float32',
      as: 'sums',
    },
  )
  if (!split) return scope.op('Div', [sums, rowSteps], { as: 'product' })
  const [high, low] = scope.ops('Split', [sums], {
    attributes: { axis: 0, num_outputs: 2 },
    names: ['high', 'low'],
  })
  const scaledLow = scope.op('Mul', [low ?? null, context.lowWeight ?? null], { as: 'scaledLow' })
  const joined = scope.op('Add', [high ?? null, scaledLow], { as: 'joined' })
  return scope.op('Div', [joined, rowSteps], { as: 'product' })
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
  { levels, zeroPoint, lowWeight }: LinearContext,
  x: Value,
  { split, hasManyRows }: { split: boolean; hasManyRows: boolean },
): { codes: Value; rowSteps: Value } {
  const rowSteps = scope.op('Div', [levels ?? null, largestMagnitude(scope, x, hasManyRows)], {
    as: 'rowSteps',
  })
  const scaled = scope.op('Mul', [x, rowSteps], { as: 'scaled' })
  const quantize = (values: Value, scale: Value | null, as: string): Value =>
    scope.op('QuantizeLinear', [values, scale, zeroPoint ?? null], { elementType: 'uint8', as })
  const one = scope.float32([1], [])
  if (!split) return { codes: quantize(scaled, one, 'codes'), rowSteps }
  // Two additions on all cores; Round and DequantizeLinear run on one.
  const shift = scope.float32([rounder], [])
  const whole = scope.op('Sub', [scope.op('Add', [scaled, shift]), shift], { as: 'whole' })
  const rest = scope.op('Sub', [scaled, whole], { as: 'rest' })
  const parts = [quantize(whole, one, 'highCodes'), quantize(rest, lowWeight ?? null, 'lowCodes')]
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

function int8Weights(scope: GraphBuilder, matrix: Matrix): { data: Value; scales: Value } {
  const scales = new Float32Array(matrix.rows)
  const data = scope.weight('weight', {
    elementType: 'int8',
    dims: [matrix.columns, matrix.rows],
    byteCount: matrix.rows * matrix.columns,
    write: async (sink) => {
      const target = new Int8Array(matrix.rows * matrix.columns)
      await forEachTile(matrix, (tile, firstRow) =>
        quantizeRowsInt8({
          tile,
          columns: matrix.columns,
          target,
          targetRows: matrix.rows,
          firstRow,
          scales,
        }),
      )
      await sink(bytesOf(target))
    },
  })
  // Written after the matrix, whose pass has filled it.
  return { data, scales: vectorWeight(scope, 'scales', scales) }
}

/** MatMulNBits(x, quants, scales), block 32, accuracy level 4: inputs are rounded to int8 per block. */
function blockProduct(
  scope: GraphBuilder,
  context: LinearContext,
  x: Value,
  { matrix, bits }: LinearOptions & { bits: 4 | 8 },
): Value {
  const { data, scales } = storedOnce(context, `int${bits}-block ${matrix.name}`, () =>
    blockWeights(scope, matrix, bits),
  )
  return scope.op('MatMulNBits', [x, data, scales ?? null], {
    domain: 'com.microsoft',
    attributes: { K: matrix.columns, N: matrix.rows, bits, block_size: blockSize, accuracy_level: 4 },
  })
}

function blockWeights(scope: GraphBuilder, matrix: Matrix, bits: 4 | 8): { data: Value; scales: Value } {
  const blockCount = Math.ceil(matrix.columns / blockSize)
  const bytesPerBlock = (blockSize * bits) / 8
  const scales = new Float32Array(matrix.rows * blockCount)
  const data = scope.weight('weight', {
    elementType: 'uint8',
    dims: [matrix.rows, blockCount, bytesPerBlock],
    byteCount: matrix.rows * blockCount * bytesPerBlock,
    write: (sink) =>
      forEachTile(matrix, async (tile, firstRow) => {
        const packed = quantizeRowsBlock({ tile, columns: matrix.columns, bits })
        scales.set(packed.scales, firstRow * blockCount)
        await sink(packed.quants)
      }),
  })
  return { data, scales: vectorWeight(scope, 'scales', scales) }
}

function addBias(scope: GraphBuilder, product: Value, bias: Value | undefined): Value {
  return bias === undefined ? product : scope.op('Add', [product, bias], { as: 'biased' })
}

/** A vector as a weight; its numbers may still be filled in until it is written. */
export function vectorWeight(scope: GraphBuilder, name: string, values: Float32Array<ArrayBuffer>): Value {
  return scope.weight(name, {
    elementType: 'float32',
    dims: [values.length],
    byteCount: values.byteLength,
    write: (sink) => sink(bytesOf(values)),
  })
}

function bytesOf(values: Float32Array | Int8Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
