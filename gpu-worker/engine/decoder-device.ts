// Steps of graphs for GPUs, which grow their cache themselves and have one way of attention. What crosses the bus is a
// step's few numbers and its logits. Knows neither sequences nor sampling.
import { InvariantError } from '../../schemas/errors.ts'
import { causalMask, masked } from './attention-mask.ts'
import type { Ahead, DecoderRows, DecoderStep, Ran, StepRan } from './decoder-contract.ts'
import {
  expectFloats,
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
  { slots, suffix, mask, ahead, ...rows }: DecoderStep,
): Promise<StepRan> {
  const [slot] = slots
  if (slot === undefined || slots.length > 1 || !('kept' in suffix))
    throw new InvariantError('a step on a device has one image, and a suffix of the device')
  const prefix = expectDevice(slot.prefix)
  const { grown, ...ran } = await runRows(loaded, { rows, prefix, suffix, mask, ahead })
  return { ...ran, newRows: grown }
}

type DeviceRun = {
  rows: DecoderRows
  prefix: DeviceRows
  suffix: DeviceRows & { kept: readonly number[] }
  /** [R, kept + R] */
  mask: Float32Array
  ahead?: number | undefined
}

async function runRows(
  loaded: Loaded,
  { rows, prefix, suffix, mask, ahead = 0 }: DeviceRun,
): Promise<Ran & { grown: DeviceRows; ahead?: Ahead }> {
  const { compiled } = loaded
  const goesAhead = loaded.decoder.inputNames.has('ahead_count')
  const { headCount, kvHeadCount, headDim } = compiled.manifest.language
  const rowCount = rows.positionIds.length
  const ownCount = 1 + suffix.kept.length + rowCount
  const prefixCount = 1 + prefix.length
  const perGroup = headCount / kvHeadCount
  const { outputs, ran } = await runGraph(loaded, {
    rows,
    outputNames: [...heldOutputs(compiled), ...(goesAhead ? ['ahead_tokens', 'ahead_sums'] : [])],
    feeds: {
      ...cacheFeeds('prefix', prefix),
      ...cacheFeeds('suffix', suffix),
      ...ownRotary(loaded, rows, headDim / 2),
      ...(goesAhead ? aheadFeeds(loaded, rows, { ahead, perGroup }) : {}),
      vision_count: int64([visionCountOf(compiled, rows)], [1]),
      kept_slots: int64([0, ...suffix.kept], [1 + suffix.kept.length]),
      key_counts: int64([prefixCount, ownCount], [2]),
      prefix_mask: float32(hideFirst(prefixCount), [prefixCount]),
      mask: float32(ownMask(mask, { rowCount, perGroup }), [perGroup * rowCount, ownCount]),
    },
  })
  const pick = (kind: string): GraphTensor[] =>
    layerNumbers(compiled).map((layer) => outputs[`${kind}.${layer}`] ?? missing(kind))
  const grown: DeviceRows = {
    format: 'device',
    length: ownCount - 1 + ahead * rowCount,
    keys: pick('next_keys'),
    values: pick('next_values'),
  }
  const chosen = goesAhead ? { ahead: readAhead(outputs) } : {}
  return { ...ran, ...chosen, grown }
}

/** What a graph that goes on by itself needs beside: how far, from where, and the tables by any position. */
function aheadFeeds(
  { tables }: Loaded,
  { positionIds }: DecoderRows,
  { ahead, perGroup }: { ahead: number; perGroup: number },
): Feeds {
  const rowCount = positionIds.length
  const own = new Float32Array(perGroup * rowCount * rowCount).fill(masked)
  for (let row = 0; row < perGroup * rowCount; row++) own[row * rowCount + (row % rowCount)] = 0
  const dims = [tables.positionCount, tables.cos.length / tables.positionCount]
  return {
    ahead_count: int64([ahead], []),
    next_positions: int64(
      positionIds.map((position) => position + 1),
      [1, rowCount],
    ),
    own_mask: float32(own, [perGroup * rowCount, rowCount]),
    table_cos: float32(tables.cos, dims),
    table_sin: float32(tables.sin, dims),
  }
}

function readAhead({ ahead_tokens: tokens, ahead_sums: sums }: Feeds): Ahead {
  if (tokens?.type !== 'int64') throw new InvariantError('the graph chose no tokens ahead')
  return { tokens: Array.from(tokens.data, Number), sums: expectFloats(sums) }
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

function hideFirst(length: number): Float32Array {
  const mask = new Float32Array(length)
  mask[0] = masked
  return mask
}

/** The mask [R, K + R] with the blank slot that nobody sees, once a group: [G*R, 1 + K + R]. */
function ownMask(
  mask: Float32Array,
  { rowCount, perGroup }: { rowCount: number; perGroup: number },
): Float32Array {
  const own = mask.length / rowCount
  const whole = new Float32Array(perGroup * rowCount * (1 + own))
  for (let row = 0; row < perGroup * rowCount; row++) {
    whole[row * (1 + own)] = masked
    const from = (row % rowCount) * own
    whole.set(mask.subarray(from, from + own), row * (1 + own) + 1)
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
