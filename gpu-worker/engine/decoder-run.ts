// One run of the decoder graph: rows as plain numbers in, logits and named outputs out. It does not know how a cache is kept.
import { InvariantError } from '../../schemas/errors.ts'
import type { CacheFormat } from '../../schemas/model-manifest.ts'
import type { CompiledModel } from './compiled-model.ts'
import type { DecoderRows, Ran } from './decoder-contract.ts'
import type { Kernel } from './kernel.ts'
import type { RotaryTables } from './rotary.ts'
import type { GraphTensor, HostTensor, Session } from './session.ts'

export type Loaded = {
  decoder: Session
  compiled: CompiledModel
  kernel: Kernel
  tables: RotaryTables
  cacheFormat: CacheFormat
}

export type Feeds = Record<string, GraphTensor>

/** Runs the graph on `rows`; `feeds` are the cache's and the mask, and what else stands in the place of a default. */
export async function runGraph(
  { decoder, compiled, kernel, tables }: Loaded,
  { rows, feeds, outputNames }: { rows: DecoderRows; feeds: Feeds; outputNames: readonly string[] },
): Promise<{ outputs: Feeds; ran: Ran }> {
  const { language } = compiled.manifest
  const halfDim = language.headDim / 2
  const { hiddenSize } = compiled.manifest.vision
  const visionCount = visionCountOf(compiled, rows)
  const { traced = [] } = rows
  const wantsVision = traced.length > 0 || rows.logitRows.some((row) => row < visionCount)
  const outputs = await decoder.run(
    {
      vision_rows: float32(rows.visionRows, [visionCount, hiddenSize]),
      embedded_rows: float32(rows.embeddedRows, [rows.embeddedRows.length / hiddenSize, hiddenSize]),
      token_ids: int64(rows.tokenIds, [rows.tokenIds.length]),
      logit_rows: int64(rows.logitRows, [rows.logitRows.length]),
      position_ids: int64(rows.positionIds, [1, rows.positionIds.length]),
      vision_output: int64([wantsVision && visionCount > 0 ? 1 : 0], [1]),
      cos: float32(tables.cos, [tables.positionCount, halfDim]),
      sin: float32(tables.sin, [tables.positionCount, halfDim]),
      ...kernel.feeds,
      ...feeds,
    },
    ['logits', ...outputNames, ...traced],
  )
  const found = traced.flatMap((name): [string, HostTensor][] => {
    const tensor = outputs[name]
    return tensor === undefined || tensor.type === 'device' ? [] : [[name, tensor]]
  })
  return { outputs, ran: { logits: expectFloats(outputs['logits']), traced: Object.fromEntries(found) } }
}

export function visionCountOf({ manifest }: CompiledModel, { visionRows }: DecoderRows): number {
  return visionRows.length / manifest.vision.hiddenSize
}

export function layerNumbers({ manifest }: CompiledModel): number[] {
  return Array.from({ length: manifest.language.layerCount }, (_, layer) => layer)
}

export function float32(data: Float32Array | undefined, dims: readonly number[]): HostTensor {
  if (data === undefined) throw new InvariantError('a layer of the cache is missing')
  return { type: 'float32', data, dims }
}

export function int64(numbers: readonly number[], dims: readonly number[]): HostTensor {
  return { type: 'int64', data: BigInt64Array.from(numbers, BigInt), dims }
}

export function expectFloats(tensor: GraphTensor | undefined): Float32Array {
  if (tensor?.type !== 'float32')
    throw new InvariantError(`the graph returned ${tensor?.type ?? 'nothing'} where float32 was expected`)
  return tensor.data
}
