// A Hugging Face checkpoint folder: config.json and its tensors, one file or many, an adapter merged in.
// Knows the file layout, not the architecture.
import { readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import { decodeFloats, openSafetensors } from './safetensors.ts'
import type { SafetensorsFile, StoredTensor } from './safetensors.ts'
import { openAdapter } from './adapter.ts'
import type { Adapter } from './adapter.ts'

const maxJsonBytes = 50_000_000
const maxShardCount = 1_000

export type Checkpoint = {
  folder: string
  config: unknown
  /** generation_config.json, where there is one. */
  generationConfig?: unknown
  /** Shape of every tensor by name. */
  shapes: ReadonlyMap<string, readonly number[]>
  totalBytes: number
  /** Rows [first, first + count) of a tensor seen as [shape[0], rest], as float32. A vector is one row a number. */
  readRows(name: string, first: number, count: number): Promise<Float32Array<ArrayBuffer>>
  close(): Promise<void>
}

/**
 * Opens a checkpoint folder (symlinks are followed, as in the Hugging Face cache).
 * Throws UserError for folders in another format, each with its own sentence.
 */
export async function openCheckpoint(folder: string, adapterFolder?: string): Promise<Checkpoint> {
  const names = await listFolder(folder)
  refuseOtherFormats(folder, names)
  const config = await readJson(join(folder, 'config.json'), 'the configuration of the model')
  refuseQuantized(config)
  const generationConfig = names.includes('generation_config.json')
    ? await readJson(join(folder, 'generation_config.json'), 'the settings of generation')
    : undefined
  const files = await openShards(folder, names)
  try {
    return await readCheckpoint({ folder, config, generationConfig, files, adapterFolder })
  } catch (error) {
    await closeAll(files)
    throw error
  }
}

type Parts = {
  folder: string
  config: unknown
  generationConfig: unknown
  files: readonly SafetensorsFile[]
  adapterFolder: string | undefined
}

async function readCheckpoint({
  folder,
  config,
  generationConfig,
  files,
  adapterFolder,
}: Parts): Promise<Checkpoint> {
  const located = new Map<string, { file: SafetensorsFile; tensor: StoredTensor }>()
  for (const file of files) {
    for (const tensor of file.tensors.values()) {
      if (located.has(tensor.name)) {
        throw new UserError(
          `the tensor ${tensor.name} is in two files of ${folder}; remove the stray one (${file.path})`,
        )
      }
      located.set(tensor.name, { file, tensor })
    }
  }
  const adapter = adapterFolder === undefined ? undefined : await openAdapter(adapterFolder)
  const shapes = new Map([...located].map(([name, { tensor }]) => [name, tensor.shape]))
  adapter?.checkTargets(shapes)
  return {
    folder,
    config,
    generationConfig,
    shapes,
    totalBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    readRows: (name, first, count) => readRows({ located: located.get(name), adapter, name, first, count }),
    close: async () => {
      await closeAll(files)
      await adapter?.close()
    },
  }
}

async function closeAll(files: readonly SafetensorsFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()))
}

async function readRows({
  located,
  adapter,
  name,
  first,
  count,
}: {
  located: { file: SafetensorsFile; tensor: StoredTensor } | undefined
  adapter: Adapter | undefined
  name: string
  first: number
  count: number
}): Promise<Float32Array<ArrayBuffer>> {
  if (located === undefined)
    throw new InvariantError(`tensor ${name} was asked for but not declared by the variant`)
  const { file, tensor } = located
  const rowCount = tensor.shape[0] ?? 1
  const rowBytes = (tensor.end - tensor.begin) / rowCount
  const bytes = await file.readBytes(tensor, first * rowBytes, (first + count) * rowBytes)
  const floats = decodeFloats(bytes, tensor.storedType, name)
  if (!allFinite(floats))
    throw new UserError(
      `the tensor ${name} holds NaN or infinity; the file is damaged or the training had diverged`,
    )
  await adapter?.addDelta({ name, rows: floats, first, count })
  return floats
}

function allFinite(values: Float32Array): boolean {
  for (const value of values) if (!Number.isFinite(value)) return false
  return true
}

async function listFolder(folder: string): Promise<string[]> {
  const info = await stat(folder).catch(() => undefined)
  if (info === undefined)
    throw new UserError(`there is no folder ${folder}; give the folder that holds config.json`)
  if (!info.isDirectory()) throw new UserError(`${folder} is a file; give the folder that holds config.json`)
  return readdir(folder)
}

function refuseOtherFormats(folder: string, names: readonly string[]): void {
  const hasSafetensors = names.some(
    (name) => name.endsWith('.safetensors') || name.endsWith('.safetensors.index.json'),
  )
  if (hasSafetensors && names.includes('config.json')) return
  // SwissArmyTransformer: model_config.json, latest, <iteration>/mp_rank_00_model_states.pt
  if (
    names.includes('model_config.json') ||
    names.includes('latest') ||
    names.some((name) => name.startsWith('mp_rank_'))
  ) {
    throw new UserError(
      `${folder} is a SwissArmyTransformer checkpoint (.pt); its Python pickles are not read. ` +
        'Use the Hugging Face release of the same model (for example cogvlm-chat-hf) in safetensors form',
    )
  }
  if (names.some((name) => name.startsWith('pytorch_model') && name.endsWith('.bin'))) {
    throw new UserError(
      `${folder} holds pytorch_model*.bin only; Python pickles are not read. Save it again with safe_serialization=True`,
    )
  }
  if (!names.includes('config.json')) {
    throw new UserError(
      `${folder} has no config.json (it holds: ${names.slice(0, 8).join(', ') || 'nothing'}); give a Hugging Face model folder`,
    )
  }
  throw new UserError(`${folder} has a config.json but no *.safetensors; download the weights as well`)
}

function refuseQuantized(config: unknown): void {
  const parsed = z
    .object({ quantization_config: z.object({ quant_method: z.string().optional() }).loose() })
    .safeParse(config)
  if (!parsed.success) return
  const method = parsed.data.quantization_config.quant_method ?? 'bitsandbytes'
  throw new UserError(
    `this checkpoint is already quantized (${method}); its 4-bit blocks cannot be converted without loss. ` +
      'Give the original 16-bit checkpoint and choose --weights int4 or int8 here',
  )
}

/** What the reference's loader takes before it looks for an index. */
const singleName = 'model.safetensors'

/** The plain one, where a repository has others beside it, as for a second number format. */
function findIndex(names: readonly string[]): string | undefined {
  const indexes = names.filter((name) => name.endsWith('.safetensors.index.json')).toSorted()
  return indexes.find((name) => name === `${singleName}.index.json`) ?? indexes[0]
}

const ShardIndex = z.object({ weight_map: z.record(z.string(), z.string()) })

async function openShards(folder: string, names: readonly string[]): Promise<SafetensorsFile[]> {
  const indexName = findIndex(names)
  const shardNames =
    indexName === undefined
      ? names.filter((name) => name.endsWith('.safetensors'))
      : await shardsOfIndex(folder, indexName)
  if (names.includes(singleName) && !shardNames.includes(singleName)) {
    throw new UserError(
      `${folder} has both ${singleName} and an index of other files (${indexName}), which may be two sets of weights; remove the one that you do not want`,
    )
  }
  const files: SafetensorsFile[] = []
  try {
    for (const name of shardNames) files.push(await openSafetensors(join(folder, name)))
    return files
  } catch (error) {
    await closeAll(files)
    throw error
  }
}

async function shardsOfIndex(folder: string, indexName: string): Promise<string[]> {
  const parsed = ShardIndex.safeParse(await readJson(join(folder, indexName), 'the index of the weights'))
  if (!parsed.success)
    throw new UserError(`${indexName} has no weight_map of tensor name to file name; download it again`)
  const shardNames = [...new Set(Object.values(parsed.data.weight_map))].sort()
  const odd = shardNames.find((name) => !/^[\w.-]+\.safetensors$/.test(name))
  if (odd !== undefined)
    throw new UserError(
      `${indexName} points to ${JSON.stringify(odd)}; only file names in the same folder are followed`,
    )
  if (shardNames.length > maxShardCount) {
    throw new UserError(
      `${indexName} lists ${shardNames.length} files; at most ${maxShardCount} are accepted`,
    )
  }
  return shardNames
}

/** Reads a JSON file of bounded size. Throws UserError naming the file. */
async function readJson(path: string, what: string): Promise<unknown> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new UserError(`cannot read ${path} (${what})`, { cause })
  })
  if (info.size > maxJsonBytes)
    throw new UserError(`${path} has ${info.size} bytes; at most ${maxJsonBytes} are accepted for ${what}`)
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new UserError(`cannot read ${path} (${what}); check its permissions`, { cause })
  })
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new UserError(`${path} is not JSON (${what})`, { cause })
  }
}
