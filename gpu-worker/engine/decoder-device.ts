// Steps of graphs for GPUs, which grow their cache themselves and have one way of attention. What crosses the bus is a
// step's few numbers and its logits. Knows neither sequences nor sampling.
import { InvariantError } from '../../schemas/errors.ts'
import { causalMask, masked } from './attention-mask.ts'
import type { DecoderRows, DecoderStep, Ran } from './decoder-contract.ts'
import {
  type Feeds,
  float32,
  int64,
  layerNumbers,
  type Loaded,
  runGraph,
  visionCountOf,
} from './decoder-run.ts'
import { blankRows } from './device-cache.ts'
import type { CompiledModel } from './compiled-model.ts'
import type { DeviceRows, PrefixRows } from './kv-cache.ts'
import type { GraphTensor } from './session.ts'

/** Outputs that stay on the device. */
export function heldOutputs(compiled: CompiledModel): string[] {
  return ['next_keys', 'next_values'].flatMap((kind) =>
    layerNumbers(compiled).map((layer) => `${kind}.${layer}`),
  )
}

/** Rows in causal order behind a prefix, and the prefix that the two make: a suffix that begins as the prefix. */
export async function extendOnDevice(
  loaded: Loaded,
  rows: DecoderRows,
  past: PrefixRows,
): Promise<Ran & { prefix: DeviceRows }> {
  const { grown, ...ran } = await runRows(loaded, {
    rows,
    prefix: blankRows(loaded.compiled.manifest.language),
    suffix: { ...expectDevice(past), kept: Array.from({ length: past.length }, (_, row) => row + 1) },
    mask: causalMask(rows.positionIds.length, past.length),
  })
  return { ...ran, prefix: grown }
}

/** Runs a step; its rows come back within the grown suffix. */
export async function stepOnDevice(
  loaded: Loaded,
  { slots, suffix, mask, ...rows }: DecoderStep,
): Promise<Ran & { newRows: DeviceRows }> {
  const [slot] = slots
  if (slot === undefined || slots.length > 1 || !('kept' in suffix))
    throw new InvariantError('a step on a device has one image, and a suffix of the device')
  const { grown, ...ran } = await runRows(loaded, { rows, prefix: expectDevice(slot.prefix), suffix, mask })
  return { ...ran, newRows: grown }
}

type DeviceRun = {
  rows: DecoderRows
  prefix: DeviceRows
  suffix: DeviceRows & { kept: readonly number[] }
  /** [R, kept + R] */
  mask: Float32Array
}

async function runRows(
  loaded: Loaded,
  { rows, prefix, suffix, mask }: DeviceRun,
): Promise<Ran & { grown: DeviceRows }> {
  const { compiled } = loaded
  const { headCount, kvHeadCount, headDim } = compiled.manifest.language
  const rowCount = rows.positionIds.length
  const ownCount = 1 + suffix.kept.length + rowCount
  const prefixCount = 1 + prefix.length
  const perGroup = headCount / kvHeadCount
  const { outputs, ran } = await runGraph(loaded, {
    rows,
    outputNames: heldOutputs(compiled),
    feeds: {
      ...cacheFeeds('prefix', prefix),
      ...cacheFeeds('suffix', suffix),
      ...ownRotary(loaded, rows, headDim / 2),
      vision_count: int64([visionCountOf(compiled, rows)], [1]),
      kept_slots: int64([0, ...suffix.kept], [1 + suffix.kept.length]),
      key_counts: int64([prefixCount, ownCount], [2]),
      mask: float32(wholeMask(mask, { rowCount, prefixCount, perGroup }), [
        perGroup * rowCount,
        prefixCount + ownCount,
      ]),
    },
  })
  const pick = (kind: string): GraphTensor[] =>
    layerNumbers(compiled).map((layer) => outputs[`${kind}.${layer}`] ?? missing(kind))
  const grown: DeviceRows = {
    format: 'device',
    length: ownCount - 1,
    keys: pick('next_keys'),
    values: pick('next_values'),
  }
  return { ...ran, grown }
}

function cacheFeeds(name: 'prefix' | 'suffix', { keys, values }: DeviceRows): Feeds {
  return Object.fromEntries([
    ...keys.map((tensor, layer) => [`${name}_keys.${layer}`, tensor] as const),
    ...values.map((tensor, layer) => [`${name}_values.${layer}`, tensor] as const),
  ])
}

/** Of the tables only what these rows turn by, one a row: whole tables are as large as a step's logits. */
function ownRotary({ tables }: Loaded, { positionIds }: DecoderRows, halfDim: number): Feeds {
  const pick = (table: Float32Array): Float32Array => {
    const own = new Float32Array(positionIds.length * halfDim)
    for (const [row, position] of positionIds.entries())
      own.set(table.subarray(position * halfDim, (position + 1) * halfDim), row * halfDim)
    return own
  }
  const dims = [positionIds.length, halfDim]
  return {
    cos: float32(pick(tables.cos), dims),
    sin: float32(pick(tables.sin), dims),
    position_ids: int64([...positionIds.keys()], [1, positionIds.length]),
  }
}

/**
 * The mask [R, K + R] behind a prefix that all see, and with the blank slots of both that nobody does, once a group:
 * [G*R, 1 + P + 1 + K + R].
 */
function wholeMask(
  mask: Float32Array,
  { rowCount, prefixCount, perGroup }: { rowCount: number; prefixCount: number; perGroup: number },
): Float32Array {
  const own = mask.length / rowCount
  const width = prefixCount + 1 + own
  const whole = new Float32Array(perGroup * rowCount * width)
  for (let row = 0; row < perGroup * rowCount; row++) {
    whole[row * width] = masked
    whole[row * width + prefixCount] = masked
    const from = (row % rowCount) * own
    whole.set(mask.subarray(from, from + own), row * width + prefixCount + 1)
  }
  return whole
}

function expectDevice(rows: PrefixRows): DeviceRows {
  if (rows.format === 'device') return rows
  throw new InvariantError(`a prefix is ${rows.format}, this graph takes one of its device`)
}

function missing(kind: string): never {
  throw new InvariantError(`the graph did not return its ${kind}`)
}
