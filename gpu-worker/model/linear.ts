// Products with a large weight matrix, in each format the compiler can store one. The rest of the graph does not know
// how a matrix is stored.
import { IntegerFormat } from '../../schemas/model-manifest.ts'
import type { QuantizedMatrix } from '../../schemas/model-manifest.ts'
import type { GraphBuilder, Value } from './graph.ts'
import { bytesOf, storedOnce, vectorWeight } from './linear-frame.ts'
import type { LinearContext, MatrixRole } from './linear-frame.ts'
import { integerProduct, integerSums } from './linear-integer.ts'
import { forEachTile } from './matrix.ts'
import type { Matrix } from './matrix.ts'
import { activationError, blockSize, expectFloat16, quantizeRowsBlock } from './quantize.ts'

export type Packing = 'fp32' | 'fp16' | QuantizedMatrix['format']

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
  /** [T, 1]: each row stands for itself over so many steps. */
  inputSteps?: Value | undefined
  /** Name in the list of quantized matrices, where another product uses the same matrix. */
  reportedAs?: string
}

/** What a plain product needs to know. */
type Factor = Pick<LinearOptions, 'matrix' | 'bias'>

/** The matrix up [out, r] times down [r, in], never multiplied out. */
export type LowRank = { down: Matrix; up: Matrix }

/**
 * The most error that one product may take from 8-bit inputs before they are split into two bytes.
 * Gaussian inputs with equal gains come out at 0.7 to 0.9 %, ones with outlier channels several times higher.
 */
const maxActivationError = 0.01

/** x [T, in] times the matrix [out, in], plus the bias [out]: [T, out] in float32. */
export function linear(
  builder: GraphBuilder,
  context: LinearContext,
  x: Value,
  options: LinearOptions,
): Value {
  const scope = builder.scope(options.name)
  const { inputSteps } = options
  const packing = reportedPacking(context, options)
  if (inputSteps !== undefined && byteFormat(packing, options) === undefined) {
    const rows = scope.op('Div', [x, inputSteps], { as: 'rows' })
    return plainLinear(scope, context, rows, { ...options, packing, inputSteps: undefined })
  }
  return plainLinear(scope, context, x, { ...options, packing })
}

/** A product of which each row counts `rowSteps` [T, 1] times too much, where there are such. */
export type Stepped = { product: Value; rowSteps: Value | undefined }

/** The same without a bias, for whoever need not divide a whole matrix by a number a row. */
export function linearInSteps(
  builder: GraphBuilder,
  context: LinearContext,
  x: Value,
  options: Omit<LinearOptions, 'bias' | 'inputSteps'>,
): Stepped {
  const scope = builder.scope(options.name)
  const packing = reportedPacking(context, options)
  const format = byteFormat(packing, options)
  if (format === undefined)
    return { product: plainLinear(scope, context, x, { ...options, packing }), rowSteps: undefined }
  const { sums, rowSteps } = integerSums(scope, context, x, { ...options, format })
  return { product: sums, rowSteps }
}

/** What a product of bytes alone is stored in; undefined for others. */
function byteFormat(
  packing: Packing,
  { addition }: Pick<LinearOptions, 'addition'>,
): IntegerFormat | undefined {
  return addition === undefined ? IntegerFormat.safeParse(packing).data : undefined
}

function reportedPacking(context: LinearContext, options: LinearOptions): Packing {
  const { packing, inputError } = choosePacking(context, options)
  if (packing !== 'fp32' && packing !== 'fp16')
    context.quantized.push({ name: options.reportedAs ?? options.matrix.name, format: packing, inputError })
  return packing
}

function plainLinear(
  scope: GraphBuilder,
  context: LinearContext,
  x: Value,
  options: LinearOptions & { packing: Packing },
): Value {
  const product = storedProduct(scope, context, x, options)
  const { addition } = options
  return addition === undefined ? product : addLowRank(scope, context, { x, product, addition })
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
    case 'int4-widened':
    case 'int4-widened-split':
      return addBias(scope, integerProduct(scope, context, x, { ...options, format: packing }), options.bias)
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

function choosePacking(
  { weights, target }: LinearContext,
  { role, inputGains, inputsAreMeans = false, addition }: LinearOptions,
): { packing: Packing; inputError: number | null } {
  if (weights === 'fp32' || weights === 'fp16') return { packing: weights, inputError: null }
  // A matrix that has an addition here is another product's without one, and is stored for that.
  const isWidened =
    weights === 'int4' && role === 'visionExpert' && target === 'cpu' && addition === undefined
  if (weights === 'int4' && role !== 'tower' && !isWidened) {
    // The head turns hidden states into words; 4 bits there cost more tokens than they save bytes.
    return { packing: role === 'head' ? 'int8-block' : 'int4', inputError: null }
  }
  if (target !== 'cpu') return { packing: 'int8-block', inputError: null }
  const inputError = inputGains === undefined ? null : activationError(inputGains)
  const [one, two] = isWidened
    ? (['int4-widened', 'int4-widened-split'] as const)
    : (['int8', 'int8-split'] as const)
  return { packing: isOneByteEnough({ role, inputError, inputsAreMeans }) ? one : two, inputError }
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
