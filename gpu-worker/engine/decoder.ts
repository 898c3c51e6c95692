// Runs the two compiled graphs: pixels to image rows, rows to logits and new cache rows. Turns plain arrays into the
// graph's inputs and back. Knows neither sequences nor sampling.
import { InvariantError } from '../../schemas/errors.ts'
import { attentionWays, prefixSlots } from '../../schemas/model-manifest.ts'
import { masked } from './attention-mask.ts'
import type { CompiledModel } from './compiled-model.ts'
import { emptyPrefix, emptyRows, SuffixCache } from './kv-cache.ts'
import type { NewRows, PrefixRows } from './kv-cache.ts'
import { laneInputs } from './lane-inputs.ts'
import { detectKernel } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import type { Decoder, DecoderRows, DecoderStep, Ran, StepRan } from './decoder-contract.ts'
import { extendOnDevice, stepOnDevice } from './decoder-device.ts'
import { expectFloats, float32, int64, layerNumbers, runGraph } from './decoder-run.ts'
import type { Feeds, Loaded } from './decoder-run.ts'
import { openGraphs } from './decoder-sessions.ts'
import type { DecoderOptions } from './decoder-sessions.ts'
import { blankRows, DeviceSuffix, freeRows } from './device-cache.ts'
import { rotaryTables } from './rotary.ts'
import type { RotaryTables } from './rotary.ts'
import type { GraphTensor, HostTensor, Session } from './session.ts'

/** Loads both graphs of a compiled model. */
export async function openDecoder(compiled: CompiledModel, options: DecoderOptions = {}): Promise<Decoder> {
  const { cacheFormat = 'fp32' } = options
  const { manifest } = compiled
  const kernel = await detectKernel(compiled)
  const { residence, maxAhead, notice } = await openGraphs(compiled, options)
  // Graphs for GPUs keep their own cache, whichever device runs them.
  const isCpu = manifest.target === 'cpu'
  const shape = manifest.language
  let tables: RotaryTables | undefined
  const tablesFor = (positionCount: number): RotaryTables => {
    // Grown by doubling, so that a long answer does not build them at every step.
    if (tables === undefined || tables.positionCount < positionCount) {
      tables = rotaryTables(manifest.rotary, Math.max(256, 2 ** Math.ceil(Math.log2(positionCount))))
    }
    return tables
  }
  const withTables = (decoder: Session, rows: DecoderRows): Loaded => ({
    compiled,
    kernel,
    cacheFormat,
    decoder,
    // Tokens ahead stand behind.
    tables: tablesFor(tableLength(rows) + maxAhead),
  })
  return {
    compiled,
    shape,
    kernel,
    cacheFormat,
    slotCount: isCpu ? prefixSlots : 1,
    maxAhead,
    ...(notice === undefined ? {} : { notice }),
    emptyPrefix: () => (isCpu ? emptyPrefix(shape, cacheFormat) : blankRows(shape)),
    openSuffix: () => (isCpu ? new SuffixCache(shape) : new DeviceSuffix(shape)),
    encodeImage: (pixels) => residence.tower((vision) => encodeImage({ vision, compiled, kernel }, pixels)),
    extend: (rows, prefix) =>
      residence[rows.visionRows.length > 0 ? 'prefill' : 'step']((decoder) =>
        (isCpu ? extendPrefix : extendOnDevice)(withTables(decoder, rows), rows, prefix),
      ),
    run: (step) =>
      residence.step<StepRan>((decoder) => (isCpu ? runStep : stepOnDevice)(withTables(decoder, step), step)),
    freePrefix: (prefix) => {
      if (prefix.format === 'device') freeRows(prefix)
    },
    close: residence.close,
  }
}

/** The operator wants as many positions in its tables as a run has rows, although an image's rows share one position. */
function tableLength({ positionIds }: DecoderRows): number {
  return positionIds.reduce((largest, position) => Math.max(largest, position + 1), positionIds.length)
}

async function encodeImage(
  { vision, compiled, kernel }: { vision: Session; compiled: CompiledModel; kernel: Kernel },
  pixels: Float32Array,
): Promise<Float32Array> {
  const { imageSize } = compiled.manifest.vision
  if (pixels.length !== 3 * imageSize * imageSize) {
    throw new InvariantError(
      `the tower takes ${3 * imageSize * imageSize} pixel values, it was given ${pixels.length}`,
    )
  }
  const feeds = { pixels: float32(pixels, [1, 3, imageSize, imageSize]), ...kernel.feeds }
  const { image_features: features } = await vision.run(feeds, ['image_features'])
  return expectFloats(features)
}

async function extendPrefix(
  loaded: Loaded,
  rows: DecoderRows,
  past: PrefixRows,
): Promise<Ran & { prefix: PrefixRows }> {
  const { manifest } = loaded.compiled
  const rowCount = rows.positionIds.length
  const layers = layerNumbers(loaded.compiled)
  const names = (kind: string): string[] => layers.map((layer) => `next_prefix_${kind}.${layer}`)
  const kinds = ['keys', 'values', ...(loaded.cacheFormat === 'int8' ? ['key_scales', 'value_scales'] : [])]
  const { outputs, ran } = await runGraph(loaded, {
    rows,
    outputNames: kinds.flatMap(names),
    feeds: {
      ...nothing,
      ...prefixFeeds(loaded, [past]),
      ...suffixFeeds(loaded.compiled, emptyRows(manifest.language)),
      ...laneFeeds(loaded.compiled, { rowCount, slotCount: 0, lanes: undefined, mask: new Float32Array(0) }),
      // Not read: who sees whom is the way itself.
      mask: float32(new Float32Array(0), [rowCount, 0]),
      key_counts: int64([past.length, 0, rowCount], [3]),
      slot_rows: int64([rowCount, 0, 0, 0], [prefixSlots]),
      attention_way: int64([attentionWays.causal], [1]),
    },
  })
  const floats = (kind: string): Float32Array[] => names(kind).map((name) => expectFloats(outputs[name]))
  const length = past.length + rowCount
  if (loaded.cacheFormat === 'fp32')
    return { ...ran, prefix: { format: 'fp32', length, keys: floats('keys'), values: floats('values') } }
  const bytes = (kind: string): Int8Array[] => names(kind).map((name) => expectBytes(outputs[name]))
  return {
    ...ran,
    prefix: {
      format: 'int8',
      length,
      keys: bytes('keys'),
      values: bytes('values'),
      keyScales: floats('key_scales'),
      valueScales: floats('value_scales'),
    },
  }
}

async function runStep(loaded: Loaded, step: DecoderStep): Promise<Ran & { newRows: NewRows }> {
  const { positionIds, slots } = step
  const { suffix, mask } = neverEmpty(loaded, step)
  if (slots.some(({ prefix }) => prefix.length === 0))
    throw new InvariantError('a step has an empty prefix: the causal way makes the first')
  const rowCount = positionIds.length
  const layers = layerNumbers(loaded.compiled)
  const keyNames = layers.map((layer) => `new_keys.${layer}`)
  const valueNames = layers.map((layer) => `new_values.${layer}`)
  const { outputs, ran } = await runGraph(loaded, {
    rows: step,
    outputNames: [...keyNames, ...valueNames],
    feeds: {
      ...nothing,
      ...prefixFeeds(
        loaded,
        slots.map(({ prefix }) => prefix),
      ),
      ...suffixFeeds(loaded.compiled, suffix),
      ...laneFeeds(loaded.compiled, {
        rowCount,
        slotCount: suffix.length,
        lanes: step.suffix.length > 0 ? step.lanes : undefined,
        mask,
      }),
      mask: float32(mask, [rowCount, mask.length / rowCount]),
      key_counts: int64([slots[0]?.prefix.length ?? 0, suffix.length, rowCount], [3]),
      slot_rows: int64(
        Array.from({ length: prefixSlots }, (_, slot) => slots[slot]?.rowCount ?? 0),
        [prefixSlots],
      ),
      attention_way: int64([wayOf(loaded.compiled, { ...step, slots })], [1]),
    },
  })
  const pick = (names: readonly string[]): Float32Array[] => names.map((name) => expectFloats(outputs[name]))
  return { ...ran, newRows: { length: rowCount, keys: pick(keyNames), values: pick(valueNames) } }
}

/** A product over no keys leaves all but its first head unwritten in onnxruntime 1.30 (FusedMatMul), so an empty suffix is one row that nobody sees. */
function neverEmpty(
  { compiled }: Loaded,
  { suffix, mask, positionIds }: DecoderStep,
): { suffix: NewRows; mask: Float32Array } {
  if ('kept' in suffix)
    throw new InvariantError("the suffix is a device's, this graph takes rows of host memory")
  if (suffix.length > 0) return { suffix, mask }
  const { layerCount, kvHeadCount, headDim } = compiled.manifest.language
  const rows = Array.from({ length: layerCount }, () => new Float32Array(kvHeadCount * headDim))
  return { suffix: { length: 1, keys: rows, values: rows }, mask: behindHidden(mask, positionIds.length) }
}

/** A mask [R, K] with a row before it that nobody sees: [R, 1 + K]. */
function behindHidden(mask: Float32Array, rowCount: number): Float32Array {
  const width = mask.length / rowCount
  const whole = new Float32Array(rowCount * (1 + width))
  for (let row = 0; row < rowCount; row++) {
    whole[row * (1 + width)] = masked
    whole.set(mask.subarray(row * width, (row + 1) * width), row * (1 + width) + 1)
  }
  return whole
}

/** Rows up to which values on the left side are faster where sequences have several rows (LOG.md, 2026-11-26). */
const maxTurnedRows = 32

function wayOf(
  { manifest }: CompiledModel,
  { slots, positionIds, lanes }: Pick<DecoderStep, 'slots' | 'positionIds' | 'lanes'>,
): number {
  const { headCount, kvHeadCount } = manifest.language
  const rowCount = positionIds.length
  const headRows = (rowCount * headCount) / kvHeadCount
  const isTall = lanes !== undefined && headRows > 1
  // A prefix with one row is read as fast from the right side.
  if (slots.length > 1)
    return isTall && rowCount >= 2 * slots.length ? attentionWays.severalTall : attentionWays.several
  if (isTall) return attentionWays.tall
  return headRows > 1 && headRows <= maxTurnedRows ? attentionWays.turned : attentionWays.plain
}

/** Inputs without elements, for what a way does not make. */
const nothing: Feeds = {
  no_floats: float32(new Float32Array(0), [0]),
  no_bytes: { type: 'int8', data: new Int8Array(0), dims: [0] },
}

/** Slots without an image are given the first one's rows: they have no row that looks at them. */
function prefixFeeds(
  { compiled, cacheFormat }: Pick<Loaded, 'compiled' | 'cacheFormat'>,
  prefixes: readonly PrefixRows[],
): Feeds {
  const { kvHeadCount, headDim } = compiled.manifest.language
  const feeds: Feeds = {}
  for (let slot = 0; slot < prefixSlots; slot++) {
    const prefix = prefixes[slot] ?? prefixes[0]
    if (prefix?.format !== cacheFormat)
      throw new InvariantError(`a prefix is ${prefix?.format ?? 'missing'}, the graph takes ${cacheFormat}`)
    const { length } = prefix
    for (const layer of layerNumbers(compiled)) {
      const at = `${slot}.${layer}`
      feeds[`prefix_keys.${at}`] = cached(prefix.keys[layer], [kvHeadCount, length, headDim])
      feeds[`prefix_values.${at}`] = cached(prefix.values[layer], [kvHeadCount, headDim, length])
      if (prefix.format === 'fp32') continue
      feeds[`prefix_key_scales.${at}`] = float32(prefix.keyScales[layer], [kvHeadCount, length])
      feeds[`prefix_value_scales.${at}`] = float32(prefix.valueScales[layer], [kvHeadCount, length])
    }
  }
  return feeds
}

function suffixFeeds(compiled: CompiledModel, suffix: NewRows): Feeds {
  const { kvHeadCount, headDim } = compiled.manifest.language
  const feeds: Feeds = {}
  for (const layer of layerNumbers(compiled)) {
    feeds[`suffix_keys.${layer}`] = float32(suffix.keys[layer], [kvHeadCount, suffix.length, headDim])
    feeds[`suffix_values.${layer}`] = float32(suffix.values[layer], [kvHeadCount, suffix.length, headDim])
  }
  return feeds
}

function laneFeeds({ manifest }: CompiledModel, given: Parameters<typeof laneInputs>[0]): Feeds {
  const { kvHeadCount, headDim } = manifest.language
  const { size, rows, mask, sums } = laneInputs(given)
  return {
    lane_shape: int64([kvHeadCount, rows.length, size, headDim], [4]),
    lane_rows: int64(rows, [rows.length]),
    lane_mask: float32(mask, [rows.length, 1, size]),
    lane_sums: float32(sums, [given.rowCount, rows.length]),
  }
}

function cached(data: Float32Array | Int8Array | undefined, dims: readonly number[]): HostTensor {
  return data instanceof Int8Array ? { type: 'int8', data, dims } : float32(data, dims)
}

function expectBytes(tensor: GraphTensor | undefined): Int8Array {
  if (tensor?.type !== 'int8')
    throw new InvariantError(`the graph returned ${tensor?.type ?? 'nothing'} where int8 was expected`)
  return tensor.data
}
