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
   * float32 behind the prefix, which all rows see: 0 where a row may look, very negative where it may not. On the CPU
   * [R, S + R], on a device [G*R, K + R].
   */
  mask: Value
  /** int64 [3] on the CPU: P, S, R. On a device [2]: P, K + R; undefined in a loop, which makes its own keys. */
  keyCounts: Value | undefined
  shapes: AttentionShapes
  /** What the CPU's ways need beside; a device has one way, and one prefix. */
  cpu: CpuFrame | undefined
  device: DeviceFrame | undefined
}

/** What a device's way needs beside. */
export type DeviceFrame = {
  /** int64 [K]: the slots of the suffix that stay; undefined where all do. */
  keptSlots: Value | undefined
  /** float32 [P]: very negative where a slot of the prefix stands for nothing. */
  prefixMask: Value
}

/** The frame on the CPU. */
export type CpuAttentionFrame = AttentionFrame & { cpu: CpuFrame; keyCounts: Value }

/** What the CPU's ways need beside. */
export type CpuFrame = {
  shapes: CpuShapes
  /** int64 [slots]: how many of the rows belong to each prefix, in order. */
  slotRows: Value
  /**
   * Inputs without elements, for what a way does not make. As constants they would be folded into each branch, and the
   * runtime cannot read back a graph that it saved with these.
   */
  nothing: { floats: Value; bytes: Value | undefined }
  is: { causal: Value; plain: Value; several: Value; tall: Value; severalTall: Value }
  /** The suffix in lanes, for steps whose rows are of different sequences (engine/lane-inputs.ts). */
  lanes: LaneFrame
  /** int32 [1] and []: P + R - 1 and P + R. */
  total: { last: Value; count: Value }
}

export type LaneFrame = {
  /** int64 [4]: kv, L, slots of a lane, d. */
  shape: Value
  /** int64 [L]: the row whose query meets the lane. */
  rows: Value
  /** float32 [L, 1, slots]. */
  mask: Value
  /** float32 [R, L]: 1 where a lane is a row's. */
  sums: Value
}

/** Shapes for Reshape. */
export type AttentionShapes = {
  queryRows: Value
  keyRows: Value
  grouped: Value
  flat: Value
  context: Value
}

/** Those that are computed at run time. */
export type CpuShapes = {
  flatScores: Value
  byRow: Value
  slotScores: Value
  slotWeights: Value
}

/** One prefix of one layer. Scales [kv, P] where it is held in bytes. */
export type LayerPrefix = { keys: Value; values: Value; keyScales?: Value; valueScales?: Value }

/** Cached rows of one layer: the prefixes of images, and the rows of all sequences behind them, both sides [kv, S, d]. */
export type LayerCache = { prefixes: readonly LayerPrefix[]; suffixKeys: Value; suffixValues: Value }

/**
 * What a layer's attention leaves: context [R, H] and cache rows. On the CPU either a step's rows or a whole prefix, the
 * other being empty; on a device the suffix with the step's rows in it.
 */
export type Attended = { context: Value } & (
  | { rows: LayerRows; prefix: LayerPrefix; suffix?: never }
  | { suffix: LayerRows; rows?: never; prefix?: never }
)

export type LayerRows = { keys: Value; values: Value }

type Heads = { headCount: number; kvHeadCount: number; headDim: number }

export function attentionShapes(
  builder: GraphBuilder,
  { headCount, kvHeadCount, headDim }: Heads,
): AttentionShapes {
  const groupSize = headCount / kvHeadCount
  return {
    queryRows: builder.int64([-1, kvHeadCount, groupSize, headDim]),
    keyRows: builder.int64([-1, kvHeadCount, headDim]),
    grouped: builder.int64([kvHeadCount, groupSize, -1, headDim]),
    flat: builder.int64([kvHeadCount, -1, headDim]),
    context: builder.int64([-1, headCount * headDim]),
  }
}

function cpuShapes(builder: GraphBuilder, keyCounts: Value, { headCount, kvHeadCount }: Heads): CpuShapes {
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
    flatScores: join([kvHeadCount, groupRows, -1], 'flatScores'),
    byRow: join([kvHeadCount, groupSize, rowCount, -1], 'byRow'),
    slotScores: join([kvHeadCount, groupSize, -1, prefixCount], 'slotScores'),
    slotWeights: join([kvHeadCount, -1, prefixCount], 'slotWeights'),
  }
}

/** Makes what the CPU's ways need, inputs included. */
export function cpuFrame(
  builder: GraphBuilder,
  { keyCounts, cacheFormat, ...heads }: { keyCounts: Value; cacheFormat: CacheFormat } & Heads,
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
    shapes: cpuShapes(builder, keyCounts, heads),
    slotRows: builder.input('slot_rows', 'int64', [prefixSlots]),
    nothing: {
      floats: builder.input('no_floats', 'float32', [0]),
      bytes: cacheFormat === 'int8' ? builder.input('no_bytes', 'int8', [0]) : undefined,
    },
    is: {
      causal: isWay('causal'),
      plain: isWay('plain'),
      several: isWay('several'),
      tall: isWay('tall'),
      severalTall: isWay('severalTall'),
    },
    lanes: {
      shape: builder.input('lane_shape', 'int64', [4]),
      rows: builder.input('lane_rows', 'int64', ['L']),
      mask: builder.input('lane_mask', 'float32', ['L', 1, 'slots']),
      sums: builder.input('lane_sums', 'float32', ['R', 'L']),
    },
    total: { last: narrow(last), count: narrow(count) },
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
