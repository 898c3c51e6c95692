// The manifest chain of a run: reading it link by link, and the ids it names. It does not know how parts are made.
import { InvariantError, UserError } from '../schemas/errors.ts'
import { statusRank } from '../schemas/label-record.ts'
import { SealedManifest, sealedManifestsPrefix } from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import type { IdIndex } from './id-index.ts'
import { mapInParallel } from './in-parallel.ts'
import { listAll, type ObjectStore } from './stores/object-store.ts'

/** A place in the chain: a generation and the digest of its manifest. */
export type ChainPlace = { generation: number; sha256: string }
export type ChainLink = { manifest: SealedManifest; sha256: string }

/** Statuses in the order of an ids file. */
const idsFileOrder = ['ok', 'filtered', 'failed'] as const

const idBytes = 16

/** Manifests asked for at once: one at first, then twice as many each time, for most walks end soon. */
const maxReadAhead = 32
const idsReadAhead = 16

/** Key of a generation's manifest; eight digits keep the listing in order. */
export function manifestKey(generation: number): string {
  return `${sealedManifestsPrefix}${String(generation).padStart(8, '0')}.json`
}

/** Generations in order, from the first or from behind `after`, each checked against the digest the next one names. */
export async function* readChain(
  store: ObjectStore,
  after: ChainPlace | null = null,
): AsyncGenerator<ChainLink> {
  let last = after
  for (let readAhead = 1; ; readAhead = Math.min(maxReadAhead, readAhead * 2)) {
    const next = (last?.generation ?? 0) + 1
    const generations = Array.from({ length: readAhead }, (_, n) => next + n)
    const found = await Promise.all(
      generations.map(async (generation) => await readManifest(store, generation)),
    )
    for (const [n, link] of found.entries()) {
      if (link === null) return
      checkFollows(store, { link, generation: next + n, last })
      last = { generation: next + n, sha256: link.sha256 }
      yield link
    }
  }
}

/** As `readChain`, each generation with the file of its ids. */
export async function* readChainWithIds(
  store: ObjectStore,
  after: ChainPlace | null = null,
): AsyncGenerator<ChainLink & { ids: Uint8Array }> {
  let links: ChainLink[] = []
  const readAll = async () =>
    await mapInParallel(links, { max: idsReadAhead }, async (link) => ({
      ...link,
      ids: await readIds(store, link.manifest),
    }))
  for await (const link of readChain(store, after)) {
    links.push(link)
    if (links.length < idsReadAhead) continue
    yield* await readAll()
    links = []
  }
  yield* await readAll()
}

/** One generation's manifest with its digest, or null where there is none; not checked against its neighbours. */
export async function readManifest(store: ObjectStore, generation: number): Promise<ChainLink | null> {
  const bytes = await store.get(manifestKey(generation))
  if (bytes === null) return null
  return { manifest: parseManifest(bytes, store.uri + manifestKey(generation)), sha256: sha256Hex(bytes) }
}

/** The number of the last generation, by its name alone; 0 where nothing is sealed. */
export async function lastGenerationOf(store: ObjectStore): Promise<number> {
  let last = 0
  for await (const { key } of listAll(store, { prefix: sealedManifestsPrefix })) {
    const digits = /^manifests\/([0-9]{8})\.json$/.exec(key)?.[1]
    last = Math.max(last, Number(digits ?? 0))
  }
  return last
}

function checkFollows(
  store: ObjectStore,
  { link, generation, last }: { link: ChainLink; generation: number; last: ChainPlace | null },
): void {
  const prevSha256 = last?.sha256 ?? null
  if (link.manifest.generation === generation && link.manifest.prevSha256 === prevSha256) return
  throw new UserError(
    `${store.uri}${manifestKey(generation)} does not follow generation ${generation - 1}: ` +
      `it names ${link.manifest.prevSha256}, expected ${prevSha256}; the run folder was changed by hand, restore it`,
  )
}

function parseManifest(bytes: Uint8Array, name: string): SealedManifest {
  try {
    return SealedManifest.parse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  } catch (error) {
    throw new UserError(
      `${name} is not a manifest this version can read; it was changed by hand or written by a newer one`,
      {
        cause: error,
      },
    )
  }
}

/** Packs the ids of a generation's rows: 16 bytes each, by status and then sorted. */
export function packIds(
  idsByStatus: Readonly<Record<'ok' | 'filtered' | 'failed', readonly string[]>>,
): Uint8Array {
  const ids = idsFileOrder.flatMap((status) => idsByStatus[status].toSorted())
  return new Uint8Array(Buffer.from(ids.join(''), 'hex'))
}

/** The file of a generation's ids, checked against the manifest. */
async function readIds(store: ObjectStore, { ids }: SealedManifest): Promise<Uint8Array> {
  const bytes = await store.get(ids.key)
  if (bytes !== null && sha256Hex(bytes) === ids.sha256) return bytes
  throw new UserError(
    `${store.uri}${ids.key} is ${bytes === null ? 'missing' : 'damaged'}; restore the run folder`,
  )
}

/** Adds the ids of one generation to an index; later generations overwrite the status of earlier ones. */
export function addIds({ ids }: SealedManifest, bytes: Uint8Array, index: IdIndex): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  for (const status of idsFileOrder) {
    for (let n = 0; n < ids.counts[status]; n += 1, at += idBytes) {
      index.setBytes(buffer.subarray(at, at + idBytes), statusRank[status])
    }
  }
  if (at !== buffer.length)
    throw new InvariantError(`${ids.key} holds ${buffer.length} bytes, its counts say ${at}`)
}
