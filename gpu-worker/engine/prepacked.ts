// A cache of weights as this CPU's kernels want them, beside a compiled model and outside its digest.
// The runtime repacks large weights at load; the cache is mapped instead, so that a second start takes seconds and its
// memory is shared and reclaimable. It costs the weights' size again on disk.
import { createHash } from 'node:crypto'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import type { Target } from '../../schemas/model-manifest.ts'
import type { CompiledModel } from './compiled-model.ts'
import { openSession, runtimeVersion } from './session.ts'
import type { Session } from './session.ts'

/** Weights below this load in a second anyway. */
export const minCachedBytes = 256 << 20

export const prepackedFolderName = '.prepacked'

/**
 * Opens a graph of a compiled model, from the cache where it is filled, and fills it where it is not.
 * A folder that cannot be written is no error: the graph is then loaded as it is.
 */
export async function openCachedSession(
  { folder, manifest }: CompiledModel,
  {
    graph,
    threads,
    device = 'cpu',
    minBytes = minCachedBytes,
  }: { graph: string; threads?: number; device?: Target; minBytes?: number },
): Promise<Session> {
  const threadOption = { device, ...(threads === undefined ? {} : { threads }) }
  const path = join(folder, graph)
  // A second graph over the same weights has no file of its own.
  const isOwn = (name: string): boolean => name === graph.replace(/\.onnx$/, '.weights')
  const isShared = (name: string): boolean => name === manifest.graphs.decoder.replace(/\.onnx$/, '.weights')
  const weights =
    manifest.files.find(({ name }) => isOwn(name)) ?? manifest.files.find(({ name }) => isShared(name))
  const weightBytes = weights?.bytes ?? 0
  // Packing is the CPU's.
  if (weightBytes < minBytes || device !== 'cpu') return openSession({ graph: path, ...threadOption })
  const place = join(
    folder,
    prepackedFolderName,
    `${cpuKey()}-${manifest.digest.slice(0, 12)}-${graph.replace(/\.onnx$/, '')}`,
  )
  if (await exists(place)) {
    const cached = await openSession({ graph: join(place, graph), ...threadOption }).catch(() => undefined)
    if (cached !== undefined) return cached
    // Whatever is wrong with it, it can be made again.
    await rm(place, { recursive: true, force: true })
  }
  const aside = `${place}.partial-${process.pid}`
  const writable = await mkdir(aside, { recursive: true }).then(
    () => true,
    () => false,
  )
  if (!writable) return openSession({ graph: path, ...threadOption })
  const session = await openSession({
    graph: path,
    ...threadOption,
    saveOptimized: { folder: aside, graph },
  }).catch(async (error: unknown) => {
    await rm(aside, { recursive: true, force: true })
    // A full disk must not stop the run; whatever else is wrong shows again without the cache.
    return openSession({ graph: path, ...threadOption }).catch(() => Promise.reject(error as Error)) // the first error says more
  })
  // Another process may have filled it meanwhile; either copy will do.
  await rename(aside, place).catch(() => rm(aside, { recursive: true, force: true }))
  return session
}

/** Packing depends on the instruction set and on the runtime's version. */
function cpuKey(): string {
  const model = cpus()[0]?.model ?? 'unknown'
  return createHash('sha256').update(`${process.arch} ${model} ${runtimeVersion}`).digest('hex').slice(0, 12)
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
