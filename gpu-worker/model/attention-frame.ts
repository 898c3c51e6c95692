// What the ways of the decoder's attention share: its inputs, its shapes, and two small steps. Knows no way.
import { attentionWays, prefixSlots } from '../../schemas/model-manifest.ts'
import type { CacheFormat, Target } from '../../schemas/model-manifest.ts'
import type { GraphBuilder, Value } from './graph.ts'
import type { CodeRange } from './linear-frame.ts'

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
  nothing: { floats: Value; keyCodes?: Value; valueCodes?: Value }
  is: { causal: Value; plain: Value; several: Value; tall: Value; severalTall: Value }
  /** The suffix in lanes, for steps whose rows are of different sequences (engine/lane-inputs.ts). */
  lanes: LaneFrame
  /** int32 [1] and []: P + R - 1 and P + R. */
  total: { last: Value; count: Value }
  /** Where prefixes are held in bytes. */
  bytes: ByteFrame | undefined
}

/** What products of codes need. */
export type ByteFrame = {
  /** float32 [2 x layers, kv, d, 1] of each slot's prefix: what a code counts, of a layer's keys and then of its values. */
  scales: readonly Value[]
  /** float32: the largest code of a key, and uint8: the code of 0. */
  levels: Value
  keyZero: Value
  /** uint8: the code of 0 in weights; float32: what a high code counts, and a low one. */
  weightZero: Value
  weightStep: Value
  lowStep: Value
  /** float32 [2, 1, 1], not of one number: what high codes and low ones count beside each other. */
  codeWeights: Value
  /** float32: added and taken away again, it leaves a whole number of steps. */
  weightShift: Value
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

/** One prefix of one layer; with scales where it is held in bytes (attention-bytes.ts). */
export type LayerPrefix = { keys: Value; values: Value; scales?: LayerScales }

/** Those of all layers are one tensor, since every tensor that is fed costs a step some microseconds. */
export type LayerScales = { all: Value; layer: number }

export type BytePrefix = Required<LayerPrefix>

/** A prefix and the queries [kv, G*r, d] of the rows behind it. */
export type SlotPart = { prefix: LayerPrefix; queries: Value }

/** Cached rows of one layer: the prefixes of images, and the rows of all sequences behind them, both sides [kv, S, d]. */
export type LayerCache = { prefixes: readonly LayerPrefix[]; suffixKeys: Value; suffixValues: Value }

/**
 * What a layer's attention leaves: context [R, H] and cache rows. On the CPU either a step's rows or a whole prefix, the
 * other being empty; on a device the suffix with the step's rows in it.
 */
export type Attended = { context: Value } & (
  | { rows: LayerRows; prefix: MadePrefix; suffix?: never }
  | { suffix: LayerRows; rows?: never; prefix?: never }
)

/** With scales [1, kv, 1, d] where keys and values are bytes. */
export type MadePrefix = { keys: Value; values: Value; keyScales?: Value; valueScales?: Value }

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
  { keyCounts, codes, ...heads }: { keyCounts: Value; codes: CodeRange | undefined } & Heads,
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
      ...(codes === undefined
        ? {}
        : {
            keyCodes: builder.input('no_key_codes', 'uint8', [0]),
            valueCodes: builder.input('no_value_codes', 'int8', [0]),
          }),
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
    bytes: codes === undefined ? undefined : byteFrame(builder, { heads, codes }),
  }
}

/** 1.5 * 2^23: a float32 of up to 22 bits that it is added to, and taken from again, is a whole number. */
const rounder = 12_582_912

/**
 * A weight's high code stands for 0 to 1 in L + 1 steps, its low one for half a step up or down in L codes: with the code
 * of 0 at L neither leaves 2L + 1, which is the range in which products are exact.
 */
function byteFrame(
  builder: GraphBuilder,
  { heads, codes }: { heads: Pick<Heads, 'kvHeadCount' | 'headDim'>; codes: CodeRange },
): ByteFrame {
  const { levels, zeroPoint, lowWeight } = codes
  const scales = Array.from({ length: prefixSlots }, (_, slot) =>
    builder.input(`prefix_scales.${slot}`, 'float32', ['sides', heads.kvHeadCount, heads.headDim, 1]),
  )
  const scope = builder.scope('bytes')
  const steps = scope.op('Add', [levels, scope.float32([1], [])], { as: 'steps' })
  const weightStep = scope.op('Div', [scope.float32([1], []), steps], { as: 'weightStep' })
  return {
    scales,
    levels,
    keyZero: zeroPoint,
    weightZero: scope.op('Cast', [levels], { attributes: { to: 2 }, elementType: 'uint8', as: 'weightZero' }),
    weightStep,
    lowStep: scope.op('Mul', [weightStep, lowWeight], { as: 'lowStep' }),
    codeWeights: scope.op(
      'Reshape',
      [
        scope.op('Concat', [scope.float32([1], [1]), scope.op('Reshape', [lowWeight, scope.int64([1])])], {
          attributes: { axis: 0 },
        }),
        scope.int64([2, 1, 1]),
      ],
      { as: 'codeWeights' },
    ),
    weightShift: scope.op('Mul', [scope.float32([rounder], []), weightStep], { as: 'weightShift' }),
  }
}

/** Queries and keys after rotary, values: [1, R, n*d], [1, R, kv*d], [R, kv*d]. */
export type AttentionRun = { queries: Value; keys: Value; values: Value; cache: LayerCache }

export function isInBytes(prefix: LayerPrefix): prefix is BytePrefix {
  return prefix.scales !== undefined
}

/** The last two dimensions change places. */
export function turn(builder: GraphBuilder, x: Value): Value {
  return builder.op('Transpose', [x], { attributes: { perm: [0, 2, 1] }, as: 'turned' })
}
