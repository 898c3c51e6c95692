// What the decoder of the CogVLM family takes and gives besides rows and logits: the frame of its attention, the cache,
// and which rows are the visual expert's. It does not know the layers.
import { prefixSlots } from '../../../schemas/model-manifest.ts'
import type { CacheFormat } from '../../../schemas/model-manifest.ts'
import { attentionShapes, cpuFrame } from '../attention-frame.ts'
import type { Attended, AttentionFrame, LayerCache, LayerPrefix, LayerRows } from '../attention-frame.ts'
import type { GraphBuilder, Value } from '../graph.ts'
import type { CodeRange } from '../linear-frame.ts'
import type { Build, BuildOptions } from './build-parts.ts'
import type { Variant } from './config.ts'

/**
 * How many rows are the visual expert's, where the language expert's begin, and on the CPU whether there are any of the
 * former, and whether their output is wanted.
 */
export type VisionShare = {
  count: Value
  languageStart: Value
  is: { there: Value; wanted: Value } | undefined
}

/**
 *   vision_rows [V, H] ─ Shape ─ Gather 0 ─ V ─ (> 0: are there any) ; vision_output [1] ─ (> 0: is it wanted)
 *   language rows [T, H] ─ Shape ─ Gather 0 ─ - T
 * On a device V is told: the runtime computes with shapes on the CPU, and there a branch would stop the stream of work.
 */
export function visionShare(
  builder: GraphBuilder,
  { target }: BuildOptions,
  rows: { vision: Value; language: Value },
): VisionShare {
  if (target !== 'cpu') {
    const count = builder.input('vision_count', 'int64', [1])
    return { count, languageStart: count, is: undefined }
  }
  const countOf = (x: Value, as: string): Value => {
    const shape = builder.op('Shape', [x], { elementType: 'int64' })
    return builder.op('Gather', [shape, builder.int64([0])], { as })
  }
  const count = countOf(rows.vision, 'vision_count')
  // From the end, because of the last layer there may be no others.
  const languageCount = countOf(rows.language, 'language_count')
  const languageStart = builder.op('Sub', [builder.int64([0]), languageCount], { as: 'language_start' })
  const isMore = (x: Value, as: string): Value =>
    builder.op('Greater', [x, builder.int64([0])], { elementType: 'bool', as })
  const wanted = builder.input('vision_output', 'int64', [1])
  return {
    count,
    languageStart,
    is: { there: isMore(count, 'has_vision'), wanted: isMore(wanted, 'wants_vision') },
  }
}

/** The inputs that attention has in common in all layers: counts, positions, rotary tables, mask. */
export function attentionFrame(
  builder: GraphBuilder,
  { variant, target, context }: Build,
  cacheFormat: CacheFormat,
): AttentionFrame {
  const { headCount, kvHeadCount, headDim } = variant
  const heads = { headCount, kvHeadCount, headDim }
  const isCpu = target === 'cpu'
  const keyCounts = builder.input('key_counts', 'int64', [isCpu ? 3 : 2])
  const positionIds = builder.input('position_ids', 'int64', [1, 'R'])
  const mask = builder.input('mask', 'float32', ['R', 'K'])
  return {
    ...heads,
    target,
    cacheFormat,
    positionIds,
    cos: builder.input('cos', 'float32', ['M', headDim / 2]),
    sin: builder.input('sin', 'float32', ['M', headDim / 2]),
    mask,
    keyCounts,
    shapes: attentionShapes(builder, heads),
    cpu: isCpu ? cpuFrame(builder, { keyCounts, codes: codesOf(context, cacheFormat), ...heads }) : undefined,
    device: isCpu
      ? undefined
      : {
          keptSlots: builder.input('kept_slots', 'int64', ['K']),
          prefixMask: builder.input('prefix_mask', 'float32', ['P']),
        },
  }
}

function codesOf({ codes }: Build['context'], cacheFormat: CacheFormat): CodeRange | undefined {
  return cacheFormat === 'int8' ? codes : undefined
}

/** The cache of one layer as inputs: prefixes of images, on the CPU several, and what sequences wrote behind them. */
export function cacheInputs(
  builder: GraphBuilder,
  { variant: { kvHeadCount, headDim }, target }: Build,
  { layer, frame }: { layer: number; frame: AttentionFrame },
): LayerCache {
  if (target !== 'cpu') {
    const rows = (name: string, length: string): LayerRows => ({
      keys: builder.input(`${name}_keys.${layer}`, 'float32', [kvHeadCount, headDim, length]),
      values: builder.input(`${name}_values.${layer}`, 'float32', [kvHeadCount, length, headDim]),
    })
    const [prefix, suffix] = [rows('prefix', 'P'), rows('suffix', 'S')]
    return { prefixes: [prefix], suffixKeys: suffix.keys, suffixValues: suffix.values }
  }
  const prefix = (slot: number): LayerPrefix => {
    const [keys, values] = [`prefix_keys.${slot}.${layer}`, `prefix_values.${slot}.${layer}`]
    const all = frame.cpu?.bytes?.scales[slot]
    if (all === undefined)
      return {
        keys: builder.input(keys, 'float32', [kvHeadCount, 'P', headDim]),
        values: builder.input(values, 'float32', [kvHeadCount, headDim, 'P']),
      }
    return {
      keys: builder.input(keys, 'uint8', [kvHeadCount, 'P', headDim]),
      values: builder.input(values, 'int8', [kvHeadCount, 'P', headDim]),
      scales: { all, layer },
    }
  }
  return {
    prefixes: Array.from({ length: prefixSlots }, (_, slot) => prefix(slot)),
    suffixKeys: builder.input(`suffix_keys.${layer}`, 'float32', [kvHeadCount, 'S', headDim]),
    suffixValues: builder.input(`suffix_values.${layer}`, 'float32', [kvHeadCount, 'S', headDim]),
  }
}

/** What one layer adds to the cache, as outputs: new rows and a prefix that was made whole, or a suffix that has grown. */
export function attentionOutputs(
  builder: GraphBuilder,
  { kvHeadCount, headDim }: Variant,
  { layer, attended }: { layer: number; attended: Attended },
): void {
  const { suffix, rows, prefix } = attended
  if (suffix !== undefined) {
    builder.output(`next_keys.${layer}`, suffix.keys, [kvHeadCount, headDim, 'N'])
    builder.output(`next_values.${layer}`, suffix.values, [kvHeadCount, 'N', headDim])
    return
  }
  const rowShape = [kvHeadCount, 'R', headDim]
  builder.output(`new_keys.${layer}`, rows.keys, rowShape)
  builder.output(`new_values.${layer}`, rows.values, rowShape)
  const { keyScales, valueScales } = prefix
  const valueShape = valueScales === undefined ? [headDim, 'N'] : ['N', headDim]
  builder.output(`next_prefix_keys.${layer}`, prefix.keys, [1, kvHeadCount, 'N', headDim])
  builder.output(`next_prefix_values.${layer}`, prefix.values, [1, kvHeadCount, ...valueShape])
  if (keyScales === undefined || valueScales === undefined) return
  builder.output(`next_prefix_key_scales.${layer}`, keyScales, [1, kvHeadCount, 1, headDim])
  builder.output(`next_prefix_value_scales.${layer}`, valueScales, [1, kvHeadCount, 1, headDim])
}
