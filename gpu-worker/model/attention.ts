// Attention of the decoder over what is cached and over a run's own rows. Knows nodes, not products with weights.
//
// Prefixes are held as the products want them: keys [kv, P, d], values turned [kv, d, P], or both in bytes
// (attention-bytes.ts), where plain, turned and several are the same. On the CPU there are six ways
// to the same numbers, and each run takes one (LOG.md, 2026-11-26, has their times):
//   causal    an image behind bos: flash attention, no mask, no [rows, keys] matrix
//   plain     one row, or long prompts: weights on the left side of their product with values
//   turned    2 to 32 rows, several of a sequence: values on the left, which the runtime then reads once and not repacks
//   tall      from 2 rows, each of its own sequence: keys on the left too, a softmax taken apart, the suffix in lanes
//   several, severalTall   as turned and tall, for rows of several images, each row against its own prefix only
import { InvariantError } from '../../schemas/errors.ts'
import { prefixSlots } from '../../schemas/model-manifest.ts'
import { causalWay, lastCausalWay } from './attention-causal.ts'
import { deviceAttention } from './attention-device.ts'
import { byteAverage, byteScores } from './attention-bytes.ts'
import { isInBytes, turn } from './attention-frame.ts'
import type {
  Attended,
  AttentionFrame,
  AttentionRun,
  CpuAttentionFrame,
  LayerCache,
  LayerPrefix,
  SlotPart,
} from './attention-frame.ts'
import { tallAttention } from './attention-tall.ts'
import type { GraphBuilder, Value } from './graph.ts'

const contrib = 'com.microsoft' as const

/**
 * Joint attention of a run's rows over prefix, suffix and themselves, in one softmax.
 *
 *   qkv ─ Split ─ q ─ rotary ─┐
 *               ├ k ─ rotary ─┼─ one of the ways ─ context [R, H], new rows
 *               └ v ──────────┘
 *
 * The caches are inputs only: the binding copies every output, so new rows come out and the caller writes them where
 * they belong. The causal way makes a prefix that is ready to be fed, its past included.
 * With grouped heads, query head j*G+g reads KV head j (cogvlm2: four in a row).
 */
export function decoderAttention(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { qkv, cache, lastRows }: { qkv: Value; cache: LayerCache; lastRows?: LastRows | undefined },
): Attended {
  const { headCount, kvHeadCount, headDim, cpu, keyCounts } = frame
  const [querySize, keySize] = [headCount * headDim, kvHeadCount * headDim]
  const [q, k, v] = builder.ops('Split', [qkv, builder.int64([querySize, keySize, keySize])], {
    attributes: { axis: 1 },
    names: ['q', 'k', 'v'],
  })
  const run: AttentionRun = {
    queries: rotate(builder, frame, q ?? qkv, 'queries'),
    keys: rotate(builder, frame, k ?? qkv, 'keys'),
    values: v ?? qkv,
    cache,
  }
  if (cpu === undefined || keyCounts === undefined) return deviceAttention(builder, frame, run)
  const cpuFrame = { ...frame, cpu, keyCounts }
  const step = (way: StepWay) => (inner: GraphBuilder) => {
    const { context, newKeys, newValues } = stepWay(inner, cpuFrame, run, way)
    return [context, newKeys, newValues, ...emptyPrefix(cpuFrame)]
  }
  const names = ['context', 'newKeys', 'newValues', ...prefixNames(frame)]
  const causal = (inner: GraphBuilder): readonly Value[] => {
    const yes = (within: GraphBuilder): Value[] => causalWay(within, cpuFrame, run)
    if (lastRows === undefined) return yes(inner)
    const { areAll, start } = lastRows
    return inner.branch(areAll, names, {
      yes,
      no: (within) => lastCausalWay(within, cpuFrame, { run, start }),
    })
  }
  // What decodes comes first: a branch costs about as much as ten small nodes.
  const ways: [Value, (inner: GraphBuilder) => readonly Value[]][] = [
    [cpu.is.plain, step('plain')],
    [cpu.is.tall, step('tall')],
    [cpu.is.causal, causal],
    [cpu.is.severalTall, step('severalTall')],
    [cpu.is.several, step('several')],
  ]
  const choose = ways.reduceRight<(inner: GraphBuilder) => readonly Value[]>(
    (no, [condition, yes]) =>
      (inner) =>
        inner.branch(condition, names, { yes, no }),
    step('turned'),
  )
  const [context = qkv, newKeys = qkv, newValues = qkv, ...prefix] = choose(builder)
  const [keys = qkv, values = qkv, keyScales, valueScales] = prefix
  const scales = keyScales === undefined || valueScales === undefined ? {} : { keyScales, valueScales }
  const rows = builder.op('Reshape', [context, frame.shapes.context], { as: 'contextRows' })
  return {
    context: rows,
    rows: { keys: newKeys, values: newValues },
    prefix: { keys, values, ...scales },
  }
}

/** Rows whose context is read where not all of them are: from `start`, int64 [1], counted from the end. */
export type LastRows = { areAll: Value; start: Value }

type RowWay = 'plain' | 'turned' | 'several'
type TallWay = 'tall' | 'severalTall'
type StepWay = RowWay | TallWay

/** Queries [R, kv, G, d], [kv, G, R, d] and [kv, G*R, d], and a step's own keys and values [kv, R, d]. */
type StepRows = {
  byRow: Value
  grouped: Value
  flat: Value
  newKeys: Value
  newValues: Value
  cache: LayerCache
}

function prefixNames({ cacheFormat }: AttentionFrame): string[] {
  const halves = ['prefixKeys', 'prefixValues']
  return cacheFormat === 'int8' ? [...halves, 'prefixKeyScales', 'prefixValueScales'] : halves
}

function emptyPrefix({ cacheFormat, cpu }: CpuAttentionFrame): Value[] {
  const { floats, keyCodes = floats, valueCodes = floats } = cpu.nothing
  return cacheFormat === 'fp32' ? [floats, floats] : [keyCodes, valueCodes, floats, floats]
}

/** Rotary embedding, half-split form (pairs i and i + d/2), by each row's own position: [R, n*d] -> [1, R, n*d]. */
function rotate(builder: GraphBuilder, frame: AttentionFrame, x: Value, as: string): Value {
  const batched = builder.op('Unsqueeze', [x, builder.int64([0])], { as: `${as}Batched` })
  return builder.op('RotaryEmbedding', [batched, frame.positionIds, frame.cos, frame.sin], {
    domain: contrib,
    as: `${as}Turned`,
  })
}

/**
 *   q ─ / sqrt(d) ─ [kv, G*R, d] ─ against prefix, suffix and new rows ─ [kv, G*R, d] ─ [R, H]
 */
function stepWay(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { queries, keys, values, cache }: AttentionRun,
  way: StepWay,
): { context: Value; newKeys: Value; newValues: Value } {
  const { headDim, shapes } = frame
  const scale = builder.float32([1 / Math.sqrt(headDim)], [])
  const scaled = builder.op('Mul', [queries, scale], { as: 'scaledQueries' })
  const byRow = builder.op('Reshape', [scaled, shapes.queryRows])
  const grouped = builder.op('Transpose', [byRow], { attributes: { perm: [1, 2, 0, 3] }, as: 'grouped' })
  const flat = builder.op('Reshape', [grouped, shapes.flat], { as: 'flat' })
  const newKeys = headsFirst(builder, frame, keys, 'newKeys')
  const newValues = headsFirst(builder, frame, values, 'newValues')
  const rows = { byRow, grouped, flat, newKeys, newValues, cache }
  const attended =
    way === 'tall' || way === 'severalTall'
      ? tallRows(builder, frame, { ...rows, way })
      : rowAttention(builder, frame, { ...rows, way })
  const split = builder.op('Reshape', [attended, shapes.grouped], { as: 'splitContext' })
  const rowsFirst = builder.op('Transpose', [split], { attributes: { perm: [2, 0, 1, 3] }, as: 'rowsFirst' })
  return { context: builder.op('Reshape', [rowsFirst, shapes.context], { as: 'rows' }), newKeys, newValues }
}

/**
 *   queries ─┬─ x prefix keys ─────────────┐                           ┌─ x prefix values ─┐
 *            ├─ x suffix keys ─┬ + mask ───┼ Concat ─ Softmax ─ Split ─┼─ x suffix values ─┼ Sum
 *            └─ x new keys ────┘                                       └─ x new values ────┘
 */
function rowAttention(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { way, ...rows }: StepRows & { way: RowWay },
): Value {
  const { grouped, flat, newValues, cache } = rows
  const prefixScores =
    way === 'several'
      ? slotScores(builder, frame, { grouped, cache })
      : scores(builder, frame, { queries: flat, prefix: firstPrefix(cache) })
  const all = joinKeys(builder, [prefixScores, ownScores(builder, frame, rows)])
  const softmax = builder.op('Softmax', [all], { attributes: { axis: -1 } })
  const [onPrefix = softmax, onSuffix = softmax, onNew = softmax] = builder.ops(
    'Split',
    [softmax, frame.keyCounts],
    {
      attributes: { axis: 2 },
      names: ['onPrefix', 'onSuffix', 'onNew'],
    },
  )
  const fromPrefix =
    way === 'several'
      ? slotContext(builder, frame, { weights: onPrefix, cache })
      : weigh(builder, frame, { weights: onPrefix, prefix: firstPrefix(cache), way })
  const fromSuffix = builder.op('MatMul', [onSuffix, cache.suffixValues], { as: 'fromSuffix' })
  const fromNew = builder.op('MatMul', [onNew, newValues], { as: 'fromNew' })
  return builder.op('Sum', [fromPrefix, fromSuffix, fromNew], { as: 'attended' })
}

/** Scores of the suffix and of the run's own rows, masked: [kv, G*R, S + R]. */
function ownScores(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { flat, cache, newKeys }: StepRows,
): Value {
  const own = [cache.suffixKeys, newKeys].map((part) => timesTransposed(builder, flat, part))
  return maskedScores(builder, frame, joinKeys(builder, own))
}

/** The prefixes that rows stand behind, with their queries. */
function slotsOf(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { way, grouped, flat, cache }: StepRows & { way: StepWay },
): SlotPart[] {
  if (way !== 'several' && way !== 'severalTall') return [{ prefix: firstPrefix(cache), queries: flat }]
  const bySlot = splitSlots(builder, frame, grouped)
  return cache.prefixes.map((prefix, slot) => ({
    prefix,
    queries: builder.op('Reshape', [bySlot[slot] ?? grouped, frame.shapes.flat]),
  }))
}

function tallRows(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { way, ...rows }: StepRows & { way: TallWay },
): Value {
  const { byRow, newKeys, newValues, cache } = rows
  return tallAttention(builder, frame, {
    slots: slotsOf(builder, frame, { ...rows, way }),
    suffix: { byRow, newKeys, newValues, keys: cache.suffixKeys, values: cache.suffixValues },
    otherwise: (inner) => rowAttention(inner, frame, { ...rows, way: way === 'tall' ? 'turned' : 'several' }),
  })
}

function joinKeys(builder: GraphBuilder, parts: readonly Value[]): Value {
  return builder.op('Concat', parts, { attributes: { axis: 2 }, as: 'joinedScores' })
}

function firstPrefix({ prefixes }: LayerCache): LayerPrefix {
  const [first] = prefixes
  if (first === undefined) throw new InvariantError('a layer has no prefix')
  return first
}

/** [.., kv*d] -> [kv, R, d] */
function headsFirst(builder: GraphBuilder, { shapes }: AttentionFrame, x: Value, as: string): Value {
  const split = builder.op('Reshape', [x, shapes.keyRows], { as: `${as}Split` })
  return builder.op('Transpose', [split], { attributes: { perm: [1, 0, 2] }, as })
}

/** q k^T: [kv, M, keys] of queries [kv, M, d]. Always this way round: turning the scores costs more than it brings. */
function scores(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { queries, prefix }: { queries: Value; prefix: LayerPrefix },
): Value {
  if (isInBytes(prefix)) return turn(builder, byteScores(builder, frame, { queries, prefix }))
  return timesTransposed(builder, queries, prefix.keys)
}

/** weights [kv, M, keys] times values [kv, d, keys]: [kv, M, d]. */
function weigh(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { weights, prefix, way }: { weights: Value; prefix: LayerPrefix; way: RowWay },
): Value {
  if (isInBytes(prefix)) return byteAverage(builder, frame, { weights, prefix })
  const { values } = prefix
  if (way === 'plain') return timesTransposed(builder, weights, values)
  return turn(builder, timesTransposed(builder, values, weights))
}

/** a b^T. No factor: with one the runtime leaves its path for a single row (LOG.md, 2026-11-26: 8.6 against 4.5 ms). */
function timesTransposed(builder: GraphBuilder, a: Value, b: Value): Value {
  return builder.op('FusedMatMul', [a, b], { domain: contrib, attributes: { transB: 1 }, as: 'product' })
}

/** Each slot's rows against its own prefix, one below the other: [kv, G*R, P]. */
function slotScores(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { grouped, cache }: { grouped: Value; cache: LayerCache },
): Value {
  const { shapes, cpu } = frame
  const bySlot = splitSlots(builder, frame, grouped)
  const parts = cache.prefixes.map((prefix, slot) => {
    const queries = builder.op('Reshape', [bySlot[slot] ?? grouped, shapes.flat])
    const own = scores(builder, frame, { queries, prefix })
    return builder.op('Reshape', [own, cpu.shapes.slotScores])
  })
  const joined = builder.op('Concat', parts, { attributes: { axis: 2 }, as: 'slotScores' })
  return builder.op('Reshape', [joined, cpu.shapes.flatScores], { as: 'prefixScores' })
}

/** The other way round: weights [kv, G*R, P] to [kv, G*R, d]. */
function slotContext(
  builder: GraphBuilder,
  frame: CpuAttentionFrame,
  { weights, cache }: { weights: Value; cache: LayerCache },
): Value {
  const { shapes, cpu } = frame
  const bySlot = splitSlots(builder, frame, builder.op('Reshape', [weights, cpu.shapes.byRow]))
  const parts = cache.prefixes.map((prefix, slot) => {
    const own = builder.op('Reshape', [bySlot[slot] ?? weights, cpu.shapes.slotWeights])
    return builder.op('Reshape', [
      weigh(builder, frame, { weights: own, prefix, way: 'several' }),
      shapes.grouped,
    ])
  })
  const joined = builder.op('Concat', parts, { attributes: { axis: 2 }, as: 'slotContext' })
  return builder.op('Reshape', [joined, shapes.flat], { as: 'fromPrefix' })
}

/** [kv, G, R, ..] by the rows of each slot. */
function splitSlots(builder: GraphBuilder, { cpu }: CpuAttentionFrame, x: Value): Value[] {
  const names = Array.from({ length: prefixSlots }, (_, slot) => `slot${slot}`)
  return builder.ops('Split', [x, cpu.slotRows], { attributes: { axis: 2 }, names })
}

/** Group g's rows lie together, so with several groups the mask [R, S + R] meets each of them apart. */
function maskedScores(
  builder: GraphBuilder,
  { headCount, kvHeadCount, mask, cpu: { shapes } }: CpuAttentionFrame,
  x: Value,
): Value {
  if (headCount === kvHeadCount) return builder.op('Add', [x, mask], { as: 'masked' })
  const byRow = builder.op('Reshape', [x, shapes.byRow], { as: 'scoresByRow' })
  return builder.op('Reshape', [builder.op('Add', [byRow, mask]), shapes.flatScores], { as: 'masked' })
}
