// Attention of the decoder over what is cached and over a run's own rows. Knows nodes, not products with weights.
//
// Prefixes are held as the products want them: keys [kv, P, d], values turned [kv, d, P]. On the CPU there are five ways
// to the same numbers, and each run takes one (LOG.md, 2026-11-26, has their times):
//   causal    an image behind bos: flash attention, no mask, no [rows, keys] matrix
//   plain     one row, or a long prompt: weights on the left side of their product with values
//   turned    2 to 7 rows: values on the left, which the runtime then reads once and does not repack
//   tall      8 to 32 rows: keys on the left too, and a softmax taken apart for it
//   several   as turned, for rows of several images, each row against its own prefix only
import { InvariantError } from '../../schemas/errors.ts'
import { prefixSlots } from '../../schemas/model-manifest.ts'
import type { Target } from '../../schemas/model-manifest.ts'
import { causalWay } from './attention-causal.ts'
import { toFloats, turn } from './attention-frame.ts'
import type {
  Attended,
  AttentionFrame,
  AttentionRun,
  CpuFrame,
  LayerCache,
  LayerPrefix,
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
  { qkv, cache }: { qkv: Value; cache: LayerCache },
): Attended {
  const { headCount, kvHeadCount, headDim, cpu } = frame
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
  if (cpu === undefined) return { ...stepWay(builder, frame, run, 'plain'), prefix: undefined }
  const step = (way: StepWay) => (inner: GraphBuilder) => {
    const { context, newKeys, newValues } = stepWay(inner, frame, run, way)
    return [context, newKeys, newValues, ...emptyPrefix(frame, cpu)]
  }
  const names = ['context', 'newKeys', 'newValues', ...prefixNames(frame)]
  // What decodes comes first: a branch costs about as much as ten small nodes.
  const ways: [Value, (inner: GraphBuilder) => readonly Value[]][] = [
    [cpu.is.plain, step('plain')],
    [cpu.is.tall, step('tall')],
    [cpu.is.causal, (inner) => causalWay(inner, { ...frame, cpu }, run)],
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
  return { context: rows, newKeys, newValues, prefix: { keys, values, ...scales } }
}

type StepWay = 'plain' | 'turned' | 'several' | 'tall'

function prefixNames({ cacheFormat }: AttentionFrame): string[] {
  const halves = ['prefixKeys', 'prefixValues']
  return cacheFormat === 'int8' ? [...halves, 'prefixKeyScales', 'prefixValueScales'] : halves
}

function emptyPrefix({ cacheFormat }: AttentionFrame, { nothing }: CpuFrame): Value[] {
  const { floats, bytes } = nothing
  return cacheFormat === 'fp32' ? [floats, floats] : [bytes ?? floats, bytes ?? floats, floats, floats]
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
  frame: AttentionFrame,
  { queries, keys, values, cache }: AttentionRun,
  way: StepWay,
): Omit<Attended, 'prefix'> {
  const { headDim, shapes, cpu } = frame
  const scale = builder.float32([1 / Math.sqrt(headDim)], [])
  const scaled = builder.op('Mul', [queries, scale], { as: 'scaledQueries' })
  const byGroup = builder.op('Reshape', [scaled, shapes.queryRows])
  const grouped = builder.op('Transpose', [byGroup], { attributes: { perm: [1, 2, 0, 3] }, as: 'grouped' })
  const flat = builder.op('Reshape', [grouped, shapes.flat], { as: 'flat' })
  const newKeys = headsFirst(builder, frame, keys, 'newKeys')
  const newValues = headsFirst(builder, frame, values, 'newValues')
  const attended =
    way === 'tall' && cpu !== undefined
      ? tallAttention(builder, frame, {
          queries: flat,
          parts: [
            firstPrefix(cache),
            { keys: cache.suffixKeys, values: cache.suffixValues, mask: cpu.tall.suffixMask },
            { keys: newKeys, values: turn(builder, newValues), mask: cpu.tall.ownMask },
          ],
        })
      : rowAttention(builder, frame, { grouped, flat, newKeys, newValues, cache, way })
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
  frame: AttentionFrame,
  {
    grouped,
    flat,
    newKeys,
    newValues,
    cache,
    way,
  }: { grouped: Value; flat: Value; newKeys: Value; newValues: Value; cache: LayerCache; way: StepWay },
): Value {
  const { keyCounts, target, cpu } = frame
  const prefixScores =
    way === 'several'
      ? slotScores(builder, frame, { grouped, cache })
      : scores(builder, frame, flat, firstPrefix(cache))
  const own = [cache.suffixKeys, newKeys].map((part) => scores(builder, frame, flat, { keys: part }))
  // With one way the mask covers the prefix too, which may stand for nothing there.
  const all =
    cpu === undefined
      ? maskedScores(builder, frame, joinKeys(builder, [prefixScores, ...own]))
      : joinKeys(builder, [prefixScores, maskedScores(builder, frame, joinKeys(builder, own))])
  const softmax = builder.op('Softmax', [all], { attributes: { axis: -1 } })
  const [onPrefix = softmax, onSuffix = softmax, onNew = softmax] = builder.ops(
    'Split',
    [softmax, keyCounts],
    {
      attributes: { axis: 2 },
      names: ['onPrefix', 'onSuffix', 'onNew'],
    },
  )
  const fromPrefix =
    way === 'several'
      ? slotContext(builder, frame, { weights: onPrefix, cache })
      : weigh(builder, frame, { weights: onPrefix, prefix: firstPrefix(cache), way })
  const fromSuffix = weigh(builder, frame, { weights: onSuffix, prefix: { values: cache.suffixValues }, way })
  const fromNew = builder.op('MatMul', [onNew, newValues], { as: 'fromNew' })
  return addParts(builder, target, [fromPrefix, fromSuffix, fromNew])
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
  { target }: AttentionFrame,
  queries: Value,
  { keys, keyScales }: Pick<LayerPrefix, 'keys' | 'keyScales'>,
): Value {
  const product = timesTransposed(builder, target, queries, toFloats(builder, keys))
  return keyScales === undefined ? product : builder.op('Mul', [product, asRow(builder, keyScales)])
}

/** weights [kv, M, keys] times values [kv, d, keys]: [kv, M, d]. */
function weigh(
  builder: GraphBuilder,
  { target }: AttentionFrame,
  {
    weights,
    prefix: { values, valueScales },
    way,
  }: { weights: Value; prefix: Pick<LayerPrefix, 'values' | 'valueScales'>; way: StepWay },
): Value {
  const scaled =
    valueScales === undefined ? weights : builder.op('Mul', [weights, asRow(builder, valueScales)])
  const floats = toFloats(builder, values)
  if (way === 'plain') return timesTransposed(builder, target, scaled, floats)
  return turn(builder, timesTransposed(builder, target, floats, scaled))
}

/** [kv, P] -> [kv, 1, P] */
function asRow(builder: GraphBuilder, scales: Value): Value {
  return builder.op('Unsqueeze', [scales, builder.int64([1])], { as: 'scaleRow' })
}

/** a b^T. No factor: with one the runtime leaves its path for a single row (LOG.md, 2026-11-26: 8.6 against 4.5 ms). */
function timesTransposed(builder: GraphBuilder, target: Target, a: Value, b: Value): Value {
  if (target === 'webgpu') return builder.op('MatMul', [a, turn(builder, b)], { as: 'product' })
  return builder.op('FusedMatMul', [a, b], { domain: contrib, attributes: { transB: 1 }, as: 'product' })
}

/** Each slot's rows against its own prefix, one below the other: [kv, G*R, P]. */
function slotScores(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { grouped, cache }: { grouped: Value; cache: LayerCache },
): Value {
  const { shapes } = frame
  const bySlot = splitSlots(builder, frame, grouped)
  const parts = cache.prefixes.map((prefix, slot) => {
    const queries = builder.op('Reshape', [bySlot[slot] ?? grouped, shapes.flat])
    const own = scores(builder, frame, queries, prefix)
    return builder.op('Reshape', [own, shapes.slotScores])
  })
  const joined = builder.op('Concat', parts, { attributes: { axis: 2 }, as: 'slotScores' })
  return builder.op('Reshape', [joined, shapes.flatScores], { as: 'prefixScores' })
}

/** The other way round: weights [kv, G*R, P] to [kv, G*R, d]. */
function slotContext(
  builder: GraphBuilder,
  frame: AttentionFrame,
  { weights, cache }: { weights: Value; cache: LayerCache },
): Value {
  const { shapes } = frame
  const bySlot = splitSlots(builder, frame, builder.op('Reshape', [weights, shapes.byRow]))
  const parts = cache.prefixes.map((prefix, slot) => {
    const own = builder.op('Reshape', [bySlot[slot] ?? weights, shapes.slotWeights])
    return builder.op('Reshape', [
      weigh(builder, frame, { weights: own, prefix, way: 'several' }),
      shapes.grouped,
    ])
  })
  const joined = builder.op('Concat', parts, { attributes: { axis: 2 }, as: 'slotContext' })
  return builder.op('Reshape', [joined, shapes.flat], { as: 'fromPrefix' })
}

/** [kv, G, R, ..] by the rows of each slot. */
function splitSlots(builder: GraphBuilder, { cpu }: AttentionFrame, x: Value): Value[] {
  const names = Array.from({ length: prefixSlots }, (_, slot) => `slot${slot}`)
  return builder.ops('Split', [x, cpu?.slotRows ?? null], { attributes: { axis: 2 }, names })
}

/** Group g's rows lie together, so with several groups the mask [R, S + R] meets each of them apart. */
function maskedScores(
  builder: GraphBuilder,
  { headCount, kvHeadCount, mask, shapes }: AttentionFrame,
  x: Value,
): Value {
  if (headCount === kvHeadCount) return builder.op('Add', [x, mask], { as: 'masked' })
  const byRow = builder.op('Reshape', [x, shapes.byRow], { as: 'scoresByRow' })
  return builder.op('Reshape', [builder.op('Add', [byRow, mask]), shapes.flatScores], { as: 'masked' })
}

/** WebGPU has no Sum. */
function addParts(builder: GraphBuilder, target: Target, parts: readonly Value[]): Value {
  if (target !== 'webgpu') return builder.op('Sum', parts, { as: 'attended' })
  return parts.reduce((sum, part) => builder.op('Add', [sum, part], { as: 'attended' }))
}
