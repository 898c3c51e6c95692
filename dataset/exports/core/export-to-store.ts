// An export of one generation of a run into the run's own store: create-only files and, last, an index that names them.
// Repeating it changes nothing. It does not know formats.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InvariantError, UserError } from '../../../schemas/errors.ts'
import type { RunConfig } from '../../../schemas/run-config.ts'
import type { SealedManifest } from '../../../schemas/sealed-manifest.ts'
import { sealedManifestsPrefix } from '../../../schemas/sealed-manifest.ts'
import type { Verdict } from '../../../schemas/verdict.ts'
import { canonicalJson, sha256Hex } from '../../canonical-json.ts'
import { manifestKey, readChain } from '../../chain.ts'
import type { ObjectStore } from '../../stores/object-store.ts'
import { readVerdicts } from '../../verdicts.ts'
import type { ExportFormat } from './format.ts'
import { exportRun } from './run-export.ts'

export type ExportIndex = {
  v: 1
  format: string
  generation: number
  records: number
  entries: number
  files: { key: string; bytes: number; sha256: string }[]
}

export type StoreExport = {
  store: ObjectStore
  config: RunConfig
  format: ExportFormat
  /** An empty folder on this machine, for the files on their way. */
  folder: string
  /** Bytes by URI, for formats that embed images. */
  readImage: (uri: string) => Promise<Uint8Array | null>
  /** What each check looks for, for the card. */
  checkSummaries?: ReadonlyMap<string, string>
  version: string
}

/** A file is sent whole, so it must fit into memory. */
const maxFileBytes = 1024 * 1024 * 1024

/** Exports all that is sealed now, with the verdicts of now. Throws UserError when nothing is. */
export async function exportToStore(options: StoreExport): Promise<{ indexKey: string; index: ExportIndex }> {
  const { store, config, format, folder, readImage, version, checkSummaries = new Map() } = options
  const last = await lastManifest(store)
  if (last === null) throw new UserError(`nothing of ${store.uri} is sealed; seal it first`)
  const verdicts = await readVerdicts(store)
  const prefix = `exports/${format.name}/${String(last.generation).padStart(8, '0')}${markOf(verdicts)}/`
  const indexKey = `${prefix}index.json`
  const done = await store.get(indexKey)
  // Written by the same code before; only its shape is trusted, as that of any file of the run.
  if (done !== null) return { indexKey, index: JSON.parse(Buffer.from(done).toString('utf8')) as ExportIndex }
  const imageMode = (['reference', 'embed'] as const).find((mode) => format.imageModes.includes(mode))
  if (imageMode === undefined)
    throw new UserError(
      `${format.name} needs its images as files; pull the labels and export them on a machine`,
    )
  const { files, statistics } = await exportRun({
    store: asOf(store, last.generation),
    config,
    format,
    folder,
    verdicts,
    ports: { readImage },
    imageMode,
    stripsMetadata: false,
    where: null,
    split: null,
    checks: true,
    command: `export ${config.runId} --format ${format.name} --images ${imageMode}`,
    checkSummaries,
    version,
    // The data's own time: the same generation and verdicts give the same bytes whenever they are exported.
    clock: () => new Date(last.createdAt),
    onProgress: () => {},
  })
  const { records, entries } = statistics
  const index: ExportIndex = {
    v: 1,
    format: format.name,
    generation: last.generation,
    records,
    entries,
    files: [],
  }
  for (const name of files)
    index.files.push(await send(store, { key: prefix + name, path: join(folder, name) }))
  await store.putIfAbsent(indexKey, Buffer.from(`${JSON.stringify(index, null, 1)}\n`))
  return { indexKey, index }
}

async function send(
  store: ObjectStore,
  { key, path }: { key: string; path: string },
): Promise<ExportIndex['files'][number]> {
  const bytes = await readFile(path)
  if (bytes.length > maxFileBytes)
    throw new UserError(
      `${key} would have ${bytes.length} bytes, at most ${maxFileBytes} are sent as one object; export to a folder instead`,
    )
  const sha256 = sha256Hex(bytes)
  if ((await store.putIfAbsent(key, bytes)) === 'exists') {
    const there = await store.get(key)
    if (there === null || sha256Hex(there) !== sha256)
      throw new InvariantError(
        `${key} was exported before with other bytes, of the same generation and verdicts`,
      )
  }
  return { key, bytes: bytes.length, sha256 }
}

async function lastManifest(store: ObjectStore): Promise<SealedManifest | null> {
  let last: SealedManifest | null = null
  for await (const { manifest } of readChain(store)) last = manifest
  return last
}

/** Verdicts change what is exported without a new generation, so they are in the name. */
function markOf(verdicts: ReadonlyMap<string, Verdict>): string {
  if (verdicts.size === 0) return ''
  const sorted = [...verdicts.values()].toSorted((left, right) => (left.recordId < right.recordId ? -1 : 1))
  return `-${sha256Hex(canonicalJson(sorted)).slice(0, 8)}`
}

/** The store as it was then: sealers may add generations while rows are read. */
function asOf(store: ObjectStore, generation: number): ObjectStore {
  const last = manifestKey(generation)
  return {
    ...store,
    get: async (key) => (key.startsWith(sealedManifestsPrefix) && key > last ? null : await store.get(key)),
  }
}
