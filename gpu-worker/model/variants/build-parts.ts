// What the graphs of one variant are built from: the checkpoint's tensors by name, as linear layers, vectors and tables.
// It does not know which layers there are.
import { InvariantError } from '../../../schemas/errors.ts'
import type { CacheFormat, QuantizedMatrix, Target, WeightFormat } from '../../../schemas/model-manifest.ts'
import type { Checkpoint } from '../checkpoint.ts'
import type { GraphBuilder, Value } from '../graph.ts'
import { linear, linearInSteps } from '../linear.ts'
import type { LinearOptions, Stepped } from '../linear.ts'
import { vectorWeight } from '../linear-frame.ts'
import type { CodeRange, LinearContext } from '../linear-frame.ts'
import { forEachTile, matrixOf } from '../matrix.ts'
import type { Variant } from './config.ts'
import { expertMatrix } from './low-rank.ts'

export type BuildOptions = {
  variant: Variant
  checkpoint: Checkpoint
  /** All one-dimensional tensors, small enough to hold: norms, biases, boi, eoi, cls. */
  vectors: ReadonlyMap<string, Float32Array<ArrayBuffer>>
  weights: WeightFormat
  target: Target
}

/** One graph in the making. Vectors that both experts use stand in it once. */
export type Build = BuildOptions & { context: LinearContext; shared: Map<string, Value> }

export function linearContext(
  builder: GraphBuilder,
  { weights, target }: BuildOptions,
  { quantized, cacheFormat = 'fp32' }: { quantized: QuantizedMatrix[]; cacheFormat?: CacheFormat },
): LinearContext {
  const hasCodes = weights === 'int8' || weights === 'int4' || cacheFormat === 'int8'
  const codes = target === 'cpu' && hasCodes ? codeRange(builder) : undefined
  return { weights, target, quantized, stored: new Map(), codes }
}

function codeRange(builder: GraphBuilder): CodeRange {
  const levels = builder.input('activation_levels', 'float32', [])
  return {
    levels,
    zeroPoint: builder.input('activation_zero', 'uint8', []),
    lowWeight: builder.op('Div', [builder.float32([0.5], []), levels], { as: 'low_weight' }),
  }
}

type ProductOptions = {
  tensor: string
  name: string
  role: LinearOptions['role']
  bias?: string
  gains?: string
  inputsAreMeans?: boolean
  inputSteps?: Value | undefined
}

/** One linear layer of the checkpoint, by tensor names. */
export function product(scope: GraphBuilder, build: Build, x: Value, options: ProductOptions): Value {
  const { bias, name, inputSteps } = options
  return linear(scope, build.context, x, {
    ...linearOptions(build, options),
    inputSteps,
    ...(bias === undefined ? {} : { bias: vector(scope, build, bias, `${name}.bias`) }),
  })
}

/** The same without a bias, of which each row may count a number of times too much. */
export function productInSteps(
  scope: GraphBuilder,
  build: Build,
  x: Value,
  options: Omit<ProductOptions, 'bias' | 'inputSteps'>,
): Stepped {
  return linearInSteps(scope, build.context, x, linearOptions(build, options))
}

function linearOptions(
  build: Build,
  { tensor, name, role, gains, inputsAreMeans = false }: ProductOptions,
): Omit<LinearOptions, 'bias' | 'inputSteps'> {
  return {
    name,
    ...expertMatrix(build.checkpoint, tensor),
    role,
    inputsAreMeans,
    ...(gains === undefined ? {} : { inputGains: knownVector(build, gains) }),
  }
}

/** A tensor kept in float32 whatever the format: convolutions and position tables. */
export function wholeTensor(
  scope: GraphBuilder,
  { checkpoint }: Build,
  name: string,
  dims: readonly number[],
): Value {
  const matrix = matrixOf(checkpoint, name)
  return scope.weight(name.split('.').slice(-2).join('.'), {
    elementType: 'float32',
    dims,
    byteCount: matrix.rows * matrix.columns * 4,
    write: (sink) =>
      forEachTile(matrix, (tile) => sink(new Uint8Array(tile.buffer, tile.byteOffset, tile.byteLength))),
  })
}

export function vector(scope: GraphBuilder, build: Build, tensor: string, name: string): Value {
  const known = build.shared.get(tensor)
  if (known !== undefined) return known
  const value = vectorWeight(scope, name, knownVector(build, tensor))
  build.shared.set(tensor, value)
  return value
}

function knownVector({ vectors }: Build, tensor: string): Float32Array<ArrayBuffer> {
  const values = vectors.get(tensor)
  if (values === undefined) throw new InvariantError(`vector ${tensor} was not read`)
  return values
}
