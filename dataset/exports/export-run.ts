// An export of one generation of a run, in the run's own store: create-only files and, last, an index that names them.
// Repeating it changes nothing. It does not know formats.
import { UserError } from '../../schemas/errors.ts'
import { sealedManifestsPrefix } from '../../schemas/sealed-manifest.ts'
import { sha256Hex } from '../canonical-json.ts'
import { manifestKey, readChain } from '../chain.ts'
import { readRecordLines } from '../read.ts'
import type { ObjectStore } from '../stores/object-store.ts'
import type { ExportFormat } from './format.ts'

export type ExportIndex = {
  v: 1
  format: string
  generation: number
  records: number
  /** In the order of the rows. */
  files: { key: string; records: number; bytes: number; sha256: string }[]
}

/** Exports all that is sealed now. Throws UserError when nothing is. */
export async function exportRun(
  store: ObjectStore,
  format: ExportFormat,
): Promise<{ indexKey: string; index: ExportIndex }> {
  const generation = await lastGeneration(store)
  if (generation === 0) throw new UserError(`nothing of ${store.uri} is sealed; seal it first`)
  const folder = `exports/${format.name}/${String(generation).padStart(8, '0')}/`
  const index: ExportIndex = { v: 1, format: format.name, generation, records: 0, files: [] }
  for await (const { bytes, records } of format.files(readRecordLines(asOf(store, generation)))) {
    const key = `${folder}${String(index.files.length).padStart(5, '0')}${format.extension}`
    await store.putIfAbsent(key, bytes)
    index.files.push({ key, records, bytes: bytes.length, sha256: sha256Hex(bytes) })
    index.records += records
  }
  const indexKey = `${folder}index.json`
  await store.putIfAbsent(indexKey, Buffer.from(`${JSON.stringify(index, null, 1)}\n`))
  return { indexKey, index }
}

async function lastGeneration(store: ObjectStore): Promise<number> {
  let last = 0
  for await (const { manifest } of readChain(store)) last = manifest.generation
  return last
}

/** The store as it was then: sealers may add generations while rows are read. */
function asOf(store: ObjectStore, generation: number): ObjectStore {
  const last = manifestKey(generation)
  return {
    ...store,
    get: async (key) => (key.startsWith(sealedManifestsPrefix) && key > last ? null : await store.get(key)),
  }
}
