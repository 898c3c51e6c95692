// What the ways of the decoder's attention share: its inputs, its shapes, and two small steps. Knows no way.
import type { CacheFormat, Target } from '../../schemas/model-manifest.ts'
import type { GraphBuilder, Value } from './graph.ts'

/** What every decoder layer's attention shares; made once a graph. R rows a run. */
export type AttentionFrame = {
  headCount: number
  kvHeadCount: number
  headDim: number
  target: Target
  cacheFormat: CacheFormat
  /** int64 [1, R] and float32 [positions, headDim / 2] twice. */
  positionIds: Value
  cos: Value
  sin: Value
  /**
   * float32 [R, S + R]: 0 where a row may look, very negative where it may not; all rows see their prefix. With one way
   * only it is [R, P + S + R].
   */
  mask: Value
  /** int64 [3]: P, S, R. */
  keyCounts: Value
  shapes: AttentionShapes
  /** Undefined where the target has one way only, and one prefix. */
  cpu: CpuFrame | undefined
}

/** What the CPU's ways need beside. */
export type CpuFrame = {
  /** int64 [slots]: how many of the rows belong to each prefix, in order. */
  slotRows: Value
  /**
   * Inputs without elements, for what a way does not make. As constants they would be folded into each branch, and the
   * runtime cannot read back a graph that it saved with these.
   */
  nothing: { floats: Value; bytes: Value | undefined }
  is: { causal: Value; plain: Value; several: Value }
  /** int32 [1] and []: P + R - 1 and P + R. */
  total: { last: Value; count: Value }
}

/** Shapes for Reshape; those with R are computed at run time. */
export type AttentionShapes = {
  queryRows: Value
  keyRows: Value
  grouped: Value
  flat: Value
  flatScores: Value
  byRow: Value
  slotScores: Value
  slotWeights: Value
  context: Value
}

/** One prefix of one layer. Scales [kv, P] where it is held in bytes. */
export type LayerPrefix = { keys: Value; values: Value; keyScales?: Value; valueScales?: Value }

/** Cached rows of one layer: the prefixes of images, and the rows of all sequences behind them. */
export type LayerCache = { prefixes: readonly LayerPrefix[]; suffixKeys: Value; suffixValues: Value }

/** What a layer's attention leaves: context [R, H], and either a step's rows or a whole prefix; the other is empty. */
export type Attended = { context: Value; newKeys: Value; newValues: Value; prefix: LayerPrefix | undefined }

export function attentionShapes(
  builder: GraphBuilder,
  {
    keyCounts,
    headCount,
    kvHeadCount,
    headDim,
  }: { keyCounts: Value; headCount: number; kvHeadCount: number; headDim: number },
): AttentionShapes {
  const scope = builder.scope('shapes')
  const groupSize = headCount / kvHeadCount
  const count = (index: number, as: string): Value =>
    scope.op('Gather', [keyCounts, scope.int64([index])], { as })
  const [prefixCount, rowCount] = [count(0, 'prefixCount'), count(2, 'rowCount')]
  const groupRows = scope.op('Mul', [rowCount, scope.int64([groupSize])], { as: 'groupRows' })
  const join = (parts: readonly (Value | number)[], as: string): Value =>
    scope.op(
      'Concat',
      parts.map((part) => (typeof part === 'number' ? scope.int64([part]) : part)),
      { attributes: { axis: 0 }, as },
    )
  return {
    queryRows: scope.int64([-1, kvHeadCount, groupSize, headDim]),
    keyRows: scope.int64([-1, kvHeadCount, headDim]),
    grouped: scope.int64([kvHeadCount, groupSize, -1, headDim]),
    flat: scope.int64([kvHeadCount, -1, headDim]),
    flatScores: join([kvHeadCount, groupRows, -1], 'flatScores'),
    byRow: join([kvHeadCount, groupSize, rowCount, -1], 'byRow'),
    slotScores: join([kvHeadCount, groupSize, -1, prefixCount], 'slotScores'),
    slotWeights: join([kvHeadCount, -1, prefixCount], 'slotWeights'),
    context: scope.int64([-1, headCount * headDim]),
  }
}

/** Queries and keys after rotary, values: [1, R, n*d], [1, R, kv*d], [R, kv*d]. */
export type AttentionRun = { queries: Value; keys: Value; values: Value; cache: LayerCache }

/** A cache's bytes as numbers, without their scales. */
export function toFloats(builder: GraphBuilder, x: Value): Value {
  if (x.elementType === 'float32') return x
  return builder.op('Cast', [x], { attributes: { to: 1 }, elementType: 'float32', as: 'floats' })
}

/** The last two dimensions change places. */
export function turn(builder: GraphBuilder, x: Value): Value {
  return builder.op('Transpose', [x], { attributes: { perm: [0, 2, 1] }, as: 'turned' })
}
