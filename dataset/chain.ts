// The manifest chain of a run: reading it link by link, and the ids it names. It does not know how parts are made.
import { InvariantError, UserError } from '../schemas/errors.ts'
import { statusRank } from '../schemas/label-record.ts'
import { SealedManifest, sealedManifestsPrefix } from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { IdIndex } from './id-index.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type ChainLink = { manifest: SealedManifest; sha256: string }

/** Statuses in the order of an ids file. */
const idsFileOrder = ['ok', 'filtered', 'failed'] as const

const idBytes = 16

/** Key of a generation's manifest; eight digits keep the listing in order. */
export function manifestKey(generation: number): string {
  return `${sealedManifestsPrefix}${String(generation).padStart(8, '0')}.json`
}

/** Generations in order, from the first or from behind `after`, each checked against the digest the next one names. */
export async function* readChain(
  store: ObjectStore,
  after: ChainLink | null = null,
): AsyncGenerator<ChainLink> {
  let prevSha256 = after?.sha256 ?? null
  for (let generation = (after?.manifest.generation ?? 0) + 1; ; generation += 1) {
    const bytes = await store.get(manifestKey(generation))
    if (bytes === null) return
    const manifest = parseManifest(bytes, store.uri + manifestKey(generation))
    if (manifest.generation !== generation || manifest.prevSha256 !== prevSha256) {
      throw new UserError(
        `${store.uri}${manifestKey(generation)} does not follow generation ${generation - 1}: ` +
          `it names ${manifest.prevSha256}, expected ${prevSha256}; the run folder was changed by hand, restore it`,
      )
    }
    prevSha256 = sha256Hex(bytes)
    yield { manifest, sha256: prevSha256 }
  }
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

/** Adds the ids of one generation to an index; later generations overwrite the status of earlier ones. */
export async function addIds(store: ObjectStore, manifest: SealedManifest, index: IdIndex): Promise<void> {
  const { key, sha256, counts } = manifest.ids
  const bytes = await store.get(key)
  if (bytes === null || sha256Hex(bytes) !== sha256) {
    throw new UserError(
      `${store.uri}${key} is ${bytes === null ? 'missing' : 'damaged'}; restore the run folder`,
    )
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  for (const status of idsFileOrder) {
    for (let n = 0; n < counts[status]; n += 1, at += idBytes) {
      index.setBytes(buffer.subarray(at, at + idBytes), statusRank[status])
    }
  }
  if (at !== buffer.length)
    throw new InvariantError(`${key} holds ${buffer.length} bytes, its counts say ${at}`)
}

/** Every sealed id with the rank of its status. */
export async function loadIdIndex(store: ObjectStore): Promise<IdIndex> {
  const index = new IdIndex()
  for await (const { manifest } of readChain(store)) await addIds(store, manifest, index)
  return index
}

/** Ids that a growing chain names: `refresh` reads the generations added since. Beyond `maxIds` it learns no more. */
export type IdFollower = { index: IdIndex; refresh(): Promise<void> }

/** Follows a run's sealed ids from the first generation on; empty until the first refresh. */
export function followIds(store: ObjectStore, { maxIds }: { maxIds: number }): IdFollower {
  const index = new IdIndex()
  let last: ChainLink | null = null
  const refresh = async () => {
    for await (const link of readChain(store, last)) {
      if (index.size >= maxIds) return
      await addIds(store, link.manifest, index)
      last = link
    }
  }
  return { index, refresh }
}
