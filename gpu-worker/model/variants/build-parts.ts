// What the graphs of one variant are built from: the checkpoint's tensors by name, as linear layers, vectors and tables.
// It does not know which layers there are.
import { InvariantError } from '../../../schemas/errors.ts'
import type { QuantizedMatrix, Target, WeightFormat } from '../../../schemas/model-manifest.ts'
import type { Checkpoint } from '../checkpoint.ts'
import type { GraphBuilder, Value } from '../graph.ts'
import { linear, vectorWeight } from '../linear.ts'
import type { LinearContext, LinearOptions } from '../linear.ts'
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
  quantized: QuantizedMatrix[],
): LinearContext {
  const levels =
    target === 'cpu' && (weights === 'int8' || weights === 'int4')
      ? builder.input('activation_levels', 'float32', [])
      : undefined
  return {
    weights,
    target,
    quantized,
    stored: new Map(),
    levels,
    zeroPoint: levels === undefined ? undefined : builder.input('activation_zero', 'uint8', []),
    lowWeight:
      levels === undefined
        ? undefined
        : builder.op('Div', [builder.float32([0.5], []), levels], { as: 'low_weight' }),
  }
}

/** One linear layer of the checkpoint, by tensor names. */
export function product(
  scope: GraphBuilder,
  build: Build,
  x: Value,
  {
    tensor,
    name,
    role,
    bias,
    gains,
    inputsAreMeans = false,
  }: {
    tensor: string
    name: string
    role: LinearOptions['role']
    bias?: string
    gains?: string
    inputsAreMeans?: boolean
  },
): Value {
  return linear(scope, build.context, x, {
    name,
    ...expertMatrix(build.checkpoint, tensor),
    role,
    inputsAreMeans,
    ...(bias === undefined ? {} : { bias: vector(scope, build, bias, `${name}.bias`) }),
    ...(gains === undefined ? {} : { inputGains: knownVector(build, gains) }),
  })
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
