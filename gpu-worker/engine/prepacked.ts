// A cache of weights as this CPU's kernels want them, beside a compiled model and outside its digest.
// The runtime repacks large weights at load; the cache is mapped instead, so that a second start takes seconds and its
// memory is shared and reclaimable. It costs up to twice the weights' size again on disk.
import { createHash } from 'node:crypto'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { UserError } from '../../schemas/errors.ts'
import type { CompiledModel } from './compiled-model.ts'
import { openSession, runtimeVersion } from './session.ts'
import type { Session } from './session.ts'

/** Weights below this load in a second anyway. */
const minCachedBytes = 256 << 20

export const prepackedFolderName = '.prepacked'

/**
 * Opens a graph of a compiled model on the CPU, from the cache where it is filled, and fills it where it is not.
 * A folder that cannot be written is no error: the graph is then loaded as it is.
 */
export async function openCachedSession(
  { folder, manifest }: CompiledModel,
  {
    graph,
    threads,
    minBytes = minCachedBytes,
    mustMap = false,
  }: {
    graph: string
    threads?: number
    minBytes?: number
    /** Throws UserError in place of a session with a copy of the weights in memory. */
    mustMap?: boolean
  },
): Promise<Session> {
  const threadOption = threads === undefined ? {} : { threads }
  const path = join(folder, graph)
  // A second graph over the same weights has no file of its own.
  const isOwn = (name: string): boolean => name === graph.replace(/\.onnx$/, '.weights')
  const isShared = (name: string): boolean => name === manifest.graphs.decoder.replace(/\.onnx$/, '.weights')
  const weights =
    manifest.files.find(({ name }) => isOwn(name)) ?? manifest.files.find(({ name }) => isShared(name))
  const weightBytes = weights?.bytes ?? 0
  if (weightBytes < minBytes) return openSession({ graph: path, ...threadOption })
  const place = join(
    folder,
    prepackedFolderName,
    `${packingKey()}-${manifest.digest.slice(0, 12)}-${graph.replace(/\.onnx$/, '')}`,
  )
  const mapped = (): Promise<Session> => openSession({ graph: join(place, graph), ...threadOption })
  if (await exists(place)) {
    const cached = await mapped().catch(() => undefined)
    if (cached !== undefined) return cached
    // Whatever is wrong with it, it can be made again; where it cannot be removed, the graph is loaded as it is.
    await rm(place, { recursive: true, force: true }).catch(() => undefined)
  }
  const problem = await fill({ place, path, graph, ...threadOption })
  // What packed the weights held a copy of its own, and is gone; what is mapped is shared.
  const cached = problem === undefined ? await mapped().catch(() => undefined) : undefined
  if (cached !== undefined) return cached
  if (mustMap) {
    throw new UserError(
      `--low-memory wants packed weights on disk, and ${join(folder, prepackedFolderName)} cannot take them; make room for about twice the model there, or leave the flag out`,
      { cause: problem },
    )
  }
  // A full disk must not stop the run; whatever else is wrong shows now.
  return openSession({ graph: path, ...threadOption })
}

/** Writes a graph and its packed weights into the cache. Returns what went wrong, undefined where nothing did. */
async function fill({
  place,
  path,
  graph,
  ...threadOption
}: {
  place: string
  path: string
  graph: string
  threads?: number
}): Promise<unknown> {
  const aside = `${place}.partial-${process.pid}`
  try {
    await mkdir(aside, { recursive: true })
    const session = await openSession({
      graph: path,
      ...threadOption,
      saveOptimized: { folder: aside, graph },
    })
    await session.close()
    // Another process may have filled it meanwhile; either copy will do.
    await rename(aside, place).catch(() => rm(aside, { recursive: true, force: true }))
    return undefined
  } catch (error) {
    await rm(aside, { recursive: true, force: true }).catch(() => undefined)
    return error
  }
}

/** Counted up when packed files are written in another way, so that those of before are made again. */
const packing = 2

/** Packing depends on the instruction set, on the runtime's version, and on what is packed how. */
function packingKey(): string {
  const model = cpus()[0]?.model ?? 'unknown'
  const parts = `${process.arch} ${model} ${runtimeVersion} ${packing}`
  return createHash('sha256').update(parts).digest('hex').slice(0, 12)
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
