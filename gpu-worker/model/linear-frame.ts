// What products with stored matrices share while a graph is built, whatever the format. Knows no product.
import type { QuantizedMatrix, Target, WeightFormat } from '../../schemas/model-manifest.ts'
import type { GraphBuilder, Value } from './graph.ts'

/** Where in the model a matrix stands; decides how it may be stored. */
export type MatrixRole = 'tower' | 'visionExpert' | 'languageExpert' | 'head'

/**
 * The codes of which this CPU adds products exactly, as graph inputs: the largest one L and that of 0 (see
 * linear-integer.ts), and what a low code counts beside a high one, 1 / 2L.
 */
export type CodeRange = { levels: Value; zeroPoint: Value; lowWeight: Value }

/** What the formats share while a graph is built: the chosen format, and what was chosen for each matrix. */
export type LinearContext = {
  weights: WeightFormat
  target: Target
  /** Of the int8 formats. */
  codes: CodeRange | undefined
  quantized: QuantizedMatrix[]
  /** Stored matrices by name: one that two products use stands in the graph, and in its weights, once. */
  stored: Map<string, StoredMatrix>
}

/** Weights in the file: numbers or codes, what a code of each row counts, and what one of each block counts in the row's. */
export type StoredMatrix = { data: Value; scales?: Value; blockScales?: Value }

/** What `make` puts into the weights, or what the first product with this matrix has put there. */
export function storedOnce({ stored }: LinearContext, key: string, make: () => StoredMatrix): StoredMatrix {
  const known = stored.get(key) ?? make()
  stored.set(key, known)
  return known
}

/** A vector as a weight; its numbers may still be filled in until it is written. */
export function vectorWeight(
  scope: GraphBuilder,
  name: string,
  values: Float32Array<ArrayBuffer>,
  dims: readonly number[] = [values.length],
): Value {
  return scope.weight(name, {
    elementType: 'float32',
    dims,
    byteCount: values.byteLength,
    write: (sink) => sink(bytesOf(values)),
  })
}

export function bytesOf(values: Float32Array | Int8Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
