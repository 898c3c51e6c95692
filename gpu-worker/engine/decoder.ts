// Runs the two compiled graphs: pixels to image rows, rows to logits and new cache rows. Turns plain arrays into the
// graph's inputs and back. Knows neither sequences nor sampling.
import { join } from 'node:path'
import { InvariantError } from '../../schemas/errors.ts'
import type { CompiledModel } from './compiled-model.ts'
import type { CacheRows, CacheShape } from './kv-cache.ts'
import { detectKernel } from './kernel.ts'
import type { Kernel } from './kernel.ts'
import { rotaryTables } from './rotary.ts'
import type { RotaryTables } from './rotary.ts'
import { openCachedSession } from './prepacked.ts'
import { openSession } from './session.ts'
import type { HostTensor, Session } from './session.ts'

/** The mask's value where a row may not look: its exponential is exactly zero beside any other score. */
export const masked = -1e30

/** One run of the decoder: V vision rows, E embedded rows and L tokens, in this order; R = V + E + L. */
export type DecoderRun = {
  visionRows: Float32Array
  embeddedRows: Float32Array
  tokenIds: readonly number[]
  /** [R] */
  positionIds: readonly number[]
  /** Rows whose logits are wanted. */
  logitRows: readonly number[]
  prefix: CacheRows
  suffix: CacheRows
  /** [R, prefix + suffix + R]: 0 or `masked`. */
  mask: Float32Array
  /** More values of the graph to return, by name, for a trace. */
  traced?: readonly string[]
}

export type DecoderResult = {
  /** [logitRows, vocabulary] */
  logits: Float32Array
  /** Keys and values of the R rows. */
  newRows: CacheRows
  traced: Readonly<Record<string, HostTensor>>
}

export type Decoder = {
  readonly compiled: CompiledModel
  readonly shape: CacheShape
  readonly kernel: Kernel
  /** Image rows [patchRows + 2, hidden] of pixels [3, S, S]. */
  encodeImage(pixels: Float32Array): Promise<Float32Array>
  run(run: DecoderRun): Promise<DecoderResult>
  close(): Promise<void>
}

export type DecoderOptions = {
  threads?: number
  /** The decoder graph's bytes in place of the file, for a trace. */
  decoderGraph?: Uint8Array
  /** Writes each node's times to files that start so, when the decoder is closed; the packed cache is not used. */
  profilePrefix?: string
}

/** Loads both graphs of a compiled model. */
export async function openDecoder(
  compiled: CompiledModel,
  { threads, decoderGraph, profilePrefix }: DecoderOptions = {},
): Promise<Decoder> {
  const { folder, manifest } = compiled
  const threadOption = threadsFor(compiled, threads)
  const kernel = await detectKernel(compiled)
  const open = (graph: string): Promise<Session> =>
    profilePrefix === undefined
      ? openCachedSession(compiled, { graph, ...threadOption })
      : openSession({
          graph: join(folder, graph),
          profilePrefix: `${profilePrefix}-${graph}`,
          ...threadOption,
        })
  const vision = await open(manifest.graphs.vision)
  const decoder =
    decoderGraph === undefined
      ? await open(manifest.graphs.decoder)
      : await openSession({ graph: { bytes: decoderGraph, weightsFolder: folder }, ...threadOption })
  const shape = manifest.language
  let tables: RotaryTables | undefined
  const tablesFor = (positionCount: number): RotaryTables => {
    // Grown by doubling, so that a long answer does not build them at every step.
    if (tables === undefined || tables.positionCount < positionCount) {
      tables = rotaryTables(manifest.rotary, Math.max(256, 2 ** Math.ceil(Math.log2(positionCount))))
    }
    return tables
  }
  return {
    compiled,
    shape,
    kernel,
    encodeImage: (pixels) => encodeImage({ vision, compiled, kernel }, pixels),
    run: (run) => runDecoder({ decoder, compiled, kernel, tables: tablesFor(tableLength(run)) }, run),
    close: async () => {
      await vision.close()
      await decoder.close()
    },
  }
}

/** The operator wants as many positions in its tables as a run has rows, although an image's rows share one position. */
function tableLength({ positionIds }: DecoderRun): number {
  return positionIds.reduce((largest, position) => Math.max(largest, position + 1), positionIds.length)
}

/** Below this, handing work to a second thread costs more than it brings (LOG.md, 2026-11-23: 1.8 against 2.7 ms a step). */
const oneThreadBytes = 64 << 20

function threadsFor({ manifest }: CompiledModel, asked: number | undefined): { threads?: number } {
  if (asked !== undefined) return { threads: asked }
  const bytes = manifest.files.reduce((sum, file) => sum + file.bytes, 0)
  return bytes < oneThreadBytes ? { threads: 1 } : {}
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

type Loaded = { decoder: Session; compiled: CompiledModel; kernel: Kernel; tables: RotaryTables }

async function runDecoder(
  { decoder, compiled, kernel, tables }: Loaded,
  run: DecoderRun,
): Promise<DecoderResult> {
  const { language, vision } = compiled.manifest
  const { layerCount } = language
  const rowCount = run.positionIds.length
  const keyCount = run.prefix.length + run.suffix.length + rowCount
  const halfDim = language.headDim / 2
  const feeds: Record<string, HostTensor> = {
    vision_rows: float32(run.visionRows, [run.visionRows.length / vision.hiddenSize, vision.hiddenSize]),
    embedded_rows: float32(run.embeddedRows, [
      run.embeddedRows.length / vision.hiddenSize,
      vision.hiddenSize,
    ]),
    token_ids: int64(run.tokenIds, [run.tokenIds.length]),
    logit_rows: int64(run.logitRows, [run.logitRows.length]),
    position_ids: int64(run.positionIds, [1, rowCount]),
    cos: float32(tables.cos, [tables.positionCount, halfDim]),
    sin: float32(tables.sin, [tables.positionCount, halfDim]),
    mask: float32(run.mask, [1, 1, 1, rowCount, keyCount]),
    key_counts: int64([run.prefix.length, run.suffix.length, rowCount], [3]),
    ...kernel.feeds,
    ...cacheFeeds(compiled, run),
  }
  const layers = Array.from({ length: layerCount }, (_, layer) => layer)
  const keyNames = layers.map((layer) => `new_keys.${layer}`)
  const valueNames = layers.map((layer) => `new_values.${layer}`)
  const outputs = await decoder.run(feeds, ['logits', ...keyNames, ...valueNames, ...(run.traced ?? [])])
  const pick = (names: readonly string[]): Float32Array[] => names.map((name) => expectFloats(outputs[name]))
  return {
    logits: expectFloats(outputs['logits']),
    newRows: { length: rowCount, keys: pick(keyNames), values: pick(valueNames) },
    traced: Object.fromEntries(
      (run.traced ?? []).flatMap((name) => (outputs[name] === undefined ? [] : [[name, outputs[name]]])),
    ),
  }
}

function cacheFeeds({ manifest }: CompiledModel, { prefix, suffix }: DecoderRun): Record<string, HostTensor> {
  const { layerCount, kvHeadCount, headDim } = manifest.language
  const feeds: Record<string, HostTensor> = {}
  for (let layer = 0; layer < layerCount; layer++) {
    for (const [name, rows] of [
      ['prefix', prefix],
      ['suffix', suffix],
    ] as const) {
      const dims = [1, kvHeadCount, rows.length, headDim]
      feeds[`${name}_keys.${layer}`] = float32(rows.keys[layer], dims)
      feeds[`${name}_values.${layer}`] = float32(rows.values[layer], dims)
    }
  }
  return feeds
}

/** Mask of R rows in causal order behind a prefix that all may see: [R, prefix + R]. */
export function causalMask(prefixLength: number, rowCount: number): Float32Array {
  const width = prefixLength + rowCount
  const mask = new Float32Array(rowCount * width)
  for (let row = 0; row < rowCount; row++)
    mask.fill(masked, row * width + prefixLength + row + 1, (row + 1) * width)
  return mask
}

function float32(data: Float32Array | undefined, dims: readonly number[]): HostTensor {
  if (data === undefined) throw new InvariantError('a layer of the cache is missing')
  return { type: 'float32', data, dims }
}

function int64(numbers: readonly number[], dims: readonly number[]): HostTensor {
  return { type: 'int64', data: BigInt64Array.from(numbers, BigInt), dims }
}

function expectFloats(tensor: HostTensor | undefined): Float32Array {
  if (tensor?.type !== 'float32')
    throw new InvariantError(`the graph returned ${tensor?.type ?? 'nothing'} where float32 was expected`)
  return tensor.data
}
