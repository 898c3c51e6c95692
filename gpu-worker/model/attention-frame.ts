// What the ways of the decoder's attention share: its inputs, its shapes, and two small steps. Knows no way.
import { attentionWays, prefixSlots } from '../../schemas/model-manifest.ts'
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
  is: { causal: Value; plain: Value; several: Value; tall: Value }
  /** What the tall way reads: the mask turned, [S, R] and [R, R]. */
  tall: { suffixMask: Value; ownMask: Value }
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
  tallByGroup: Value
  tallFlat: Value
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
    tallByGroup: join([kvHeadCount, -1, groupSize, rowCount], 'tallByGroup'),
    tallFlat: join([kvHeadCount, -1, groupRows], 'tallFlat'),
    context: scope.int64([-1, headCount * headDim]),
  }
}

/** Makes what the CPU's ways need, inputs included. */
export function cpuFrame(
  builder: GraphBuilder,
  { keyCounts, mask, cacheFormat }: { keyCounts: Value; mask: Value; cacheFormat: CacheFormat },
): CpuFrame {
  const way = builder.input('attention_way', 'int64', [1])
  const isWay = (name: keyof typeof attentionWays): Value =>
    builder.op('Equal', [way, builder.int64([attentionWays[name]])], {
      elementType: 'bool',
      as: `is_${name}`,
    })
  const pick = (index: number): Value => builder.op('Gather', [keyCounts, builder.int64([index], [])])
  const count = builder.op('Add', [pick(0), pick(2)], { as: 'total' })
  const last = builder.op('Sub', [count, builder.int64([1])], { as: 'last' })
  const narrow = (x: Value): Value => builder.op('Cast', [x], { attributes: { to: 6 }, elementType: 'int32' })
  return {
    slotRows: builder.input('slot_rows', 'int64', [prefixSlots]),
    nothing: {
      floats: builder.input('no_floats', 'float32', [0]),
      bytes: cacheFormat === 'int8' ? builder.input('no_bytes', 'int8', [0]) : undefined,
    },
    is: { causal: isWay('causal'), plain: isWay('plain'), several: isWay('several'), tall: isWay('tall') },
    tall: tallMasks(builder, keyCounts, mask),
    total: { last: narrow(last), count: narrow(count) },
  }
}

/** Sliced and not split, because a run in causal order comes with no mask. */
function tallMasks(builder: GraphBuilder, keyCounts: Value, mask: Value): CpuFrame['tall'] {
  const turned = builder.op('Transpose', [mask], { attributes: { perm: [1, 0] }, as: 'turned_mask' })
  const [start, axis] = [builder.int64([0]), builder.int64([0])]
  const suffixCount = builder.op('Gather', [keyCounts, builder.int64([1])], { as: 'suffix_count' })
  return {
    suffixMask: builder.op('Slice', [turned, start, suffixCount, axis], { as: 'suffix_mask' }),
    ownMask: builder.op('Slice', [turned, suffixCount, builder.int64([2 ** 31 - 1]), axis], {
      as: 'own_mask',
    }),
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
