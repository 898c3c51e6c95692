// The graphs of a compiled model as sessions: which files, on which device, and what is done where the runtime does not take
// one. It does not know rows.
import { join } from 'node:path'
import { UserError } from '../../schemas/errors.ts'
import type { CacheFormat, Target } from '../../schemas/model-manifest.ts'
import type { CompiledModel } from './compiled-model.ts'
import { heldOutputs } from './decoder-device.ts'
import { openCachedSession } from './prepacked.ts'
import { openBoth, openInTurns, type Residence } from './residence.ts'
import { openSession, type Session, type Traffic } from './session.ts'

export type DecoderOptions = {
  threads?: number
  /** The CPU when left out. */
  device?: Target
  /** The decoder graph's bytes in place of the file, for a trace. */
  decoderGraph?: Uint8Array
  /** Writes each node's times to files that start so, when the decoder is closed; the packed cache is not used. */
  profilePrefix?: string
  /** How the rows of images are cached; float32 where it is left out. */
  cacheFormat?: CacheFormat
  /** Keeps no more weights in memory than a stage needs, and opens graphs again for it. */
  lowMemory?: boolean
  /** Told after each run on another device than the CPU what crossed to it and back. */
  onTraffic?: (graph: 'vision' | 'decoder', traffic: Traffic) => void
}

export type OpenedGraphs = {
  residence: Residence
  /** Tokens that a step may choose by itself. */
  maxAhead: number
  notice: string | undefined
}

/** Opens both graphs. Throws UserError where one cannot be run. */
export async function openGraphs(compiled: CompiledModel, options: DecoderOptions): Promise<OpenedGraphs> {
  const { device = 'cpu', decoderGraph, profilePrefix, cacheFormat = 'fp32', lowMemory, onTraffic } = options
  const { folder, manifest } = compiled
  if (lowMemory === true && device !== 'cpu')
    throw new UserError(`--low-memory is for the CPU's memory and does nothing on ${device}; leave it out`)
  const threadOption = threadsFor(compiled, options.threads)
  const isCpu = manifest.target === 'cpu'
  const open = (graph: string, bytes?: Uint8Array): Promise<Session> => {
    if (bytes === undefined && device === 'cpu' && profilePrefix === undefined)
      return openCachedSession(compiled, { graph, mustMap: lowMemory === true, ...threadOption })
    const isTower = graph === manifest.graphs.vision
    return openSession({
      graph: bytes === undefined ? join(folder, graph) : { bytes, weightsFolder: folder },
      device,
      heldOutputs: isCpu || isTower ? [] : heldOutputs(compiled),
      // Counting takes a pass over a run's tensors, so it is only done for who asks.
      ...(onTraffic && { onTraffic: (traffic) => onTraffic(isTower ? 'vision' : 'decoder', traffic) }),
      ...(profilePrefix === undefined ? {} : { profilePrefix: `${profilePrefix}-${graph}` }),
      ...threadOption,
    })
  }
  const plain = decoderFile(compiled, cacheFormat)
  const { decoderAhead } = manifest.graphs
  let [maxAhead, notice]: [number, string | undefined] = [0, undefined]
  const openGoingAhead = async (graph: string): Promise<Session> => {
    try {
      const session = await open(graph)
      maxAhead = maxTokensAhead
      return session
    } catch (error) {
      // Slower and not wrong without it, so a runtime that cannot do it is no reason to stop.
      notice = `${graph} cannot be used, so tokens come one a run: ${error instanceof Error ? error.message : String(error)}`
      return await open(plain)
    }
  }
  const residence = await (lowMemory === true ? openInTurns : openBoth)({
    openTower: () => open(manifest.graphs.vision),
    openDecoder: () =>
      decoderGraph === undefined && decoderAhead !== undefined
        ? openGoingAhead(decoderAhead)
        : open(plain, decoderGraph),
  })
  return { residence, maxAhead, notice }
}

function decoderFile({ folder, manifest }: CompiledModel, cacheFormat: CacheFormat): string {
  const { decoder, decoderInt8Cache } = manifest.graphs
  const file = cacheFormat === 'int8' ? decoderInt8Cache : decoder
  if (file !== undefined) return file
  throw new UserError(`${folder} has no graph for an ${cacheFormat} cache; compile the model again`)
}

/** A sequence that joins waits as long, and of one that ends as many tokens are thrown away. */
const maxTokensAhead = 16

/** Below this, handing work to a second thread costs more than it brings (LOG.md, 2026-11-23: 1.8 against 2.7 ms a step). */
const oneThreadBytes = 64 << 20

function threadsFor({ manifest }: CompiledModel, asked: number | undefined): { threads?: number } {
  if (asked !== undefined) return { threads: asked }
  const bytes = manifest.files.reduce((sum, file) => sum + file.bytes, 0)
  return bytes < oneThreadBytes ? { threads: 1 } : {}
}
