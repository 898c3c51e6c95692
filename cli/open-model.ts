// From a model folder to a running engine: compiled folders as they are, checkpoints compiled once into a cache.
import { createHash } from 'node:crypto'
import { access, constants, open, readdir, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeFolder } from '../dataset/stores/make-folder.ts'
import type { PixelEngine } from '../gpu-worker/engine/contract.ts'
import { openEngineHost } from '../gpu-worker/engine/host.ts'
import { compileModel, type CompileProgress } from '../gpu-worker/model/compile.ts'
import { openTokenizer } from '../gpu-worker/tokenizer/tokenizer.ts'
import { UserError } from '../schemas/errors.ts'
import type { Target } from '../schemas/model-manifest.ts'
import { manifestFileName, manifestVersion } from '../schemas/model-manifest.ts'
import type { CacheFlags } from './cache-flags.ts'
import { makeOwnFolder, userCacheFolder } from './user-cache.ts'

/** The checkpoint that ships with the package. */
const defaultModelFolder = fileURLToPath(new URL('../models/scenes-v2', import.meta.url))

/** Part of every cache name beside the manifest's version: raised when the compiler writes something better in the same format. */
const compiledCacheVersion = 4

export type OpenModelOptions = {
  /** A compiled folder (manifest.json) or a checkpoint (config.json); undefined for the one that ships. */
  modelFolder?: string | undefined
  /** What it is opened on, and a checkpoint compiled for; the CPU when left out. */
  device?: Target | undefined
  /** How the engine caches keys and values; its own choice where it is left out. */
  keyValueCache?: CacheFlags
  onCompile?: (progress: CompileProgress) => void
}

/** Opens a model for labelling. Throws UserError when the folder is neither kind or cannot be used. */
export async function openEngineForModel(options: OpenModelOptions): Promise<PixelEngine> {
  const { device = 'cpu', keyValueCache } = options
  return await openEngineHost({ modelFolder: await findCompiledModel(options), device, ...keyValueCache })
}

/** The compiled folder of a model, made when it is not there yet. Throws UserError when the folder is of neither kind. */
export async function findCompiledModel({
  modelFolder = defaultModelFolder,
  device: target = 'cpu',
  onCompile,
}: OpenModelOptions): Promise<string> {
  const folder = resolve(modelFolder)
  if (await exists(join(folder, manifestFileName))) return folder
  if (!(await exists(join(folder, 'config.json')))) {
    throw new UserError(
      `"${modelFolder}" is no model: expected a compiled folder with ${manifestFileName} (made by coglabel compile) or a checkpoint with config.json`,
    )
  }
  const name = `${basename(folder)}-${await fingerprint(folder)}${target === 'cpu' ? '' : `-${target}`}`
  const known = join(userCacheFolder(), name)
  if (await exists(join(known, manifestFileName))) return known
  const compiled = join(await writableCache(), name)
  if (!(await exists(join(compiled, manifestFileName))))
    await compileOnce({ folder, compiled, target, onCompile })
  return compiled
}

type CompileOnce = {
  folder: string
  compiled: string
  target: Target
  onCompile: OpenModelOptions['onCompile']
}

async function compileOnce({ folder, compiled, target, onCompile }: CompileOnce): Promise<void> {
  try {
    await compileModel({
      checkpointFolder: folder,
      outFolder: compiled,
      target,
      openTokenizer,
      ...(onCompile === undefined ? {} : { onProgress: onCompile }),
    })
  } catch (error) {
    // Another process may have put the same model there first.
    if (!(await exists(join(compiled, manifestFileName)))) throw error
  }
}

/** The user's cache, or one in the temp folder where that cannot be written. */
async function writableCache(): Promise<string> {
  const preferred = userCacheFolder()
  try {
    await makeFolder(preferred)
    await access(preferred, constants.W_OK)
    return preferred
  } catch {
    const fallback = join(tmpdir(), `coglabel-cache-${process.getuid?.() ?? 'user'}`)
    await makeOwnFolder(fallback)
    return fallback
  }
}

/** Tells checkpoints apart without reading gigabytes: names, sizes, times and the first 64 KiB of every file. */
async function fingerprint(folder: string): Promise<string> {
  const hash = createHash('sha256').update(`compiled ${manifestVersion} ${compiledCacheVersion}`)
  for (const name of (await readdir(folder)).toSorted()) {
    const path = join(folder, name)
    const stats = await stat(path)
    if (!stats.isFile()) continue
    hash.update(JSON.stringify([name, stats.size, Math.floor(stats.mtimeMs)]))
    hash.update(await readHead(path))
  }
  return hash.digest('hex').slice(0, 16)
}

async function readHead(path: string): Promise<Uint8Array> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(64 * 1024), 0, 64 * 1024, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}
