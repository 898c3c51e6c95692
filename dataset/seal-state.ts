// What a sealer must know of a run: the end of its chain, which parts are sealed and which ids stand. Loaded from the
// newest checkpoint and the few generations behind it. It does not know how a generation is made.
import type { SealCheckpoint } from '../schemas/checkpoint.ts'
import { PartKey, partsPrefix } from '../schemas/part.ts'
import type { SealedManifest } from '../schemas/sealed-manifest.ts'
import { addIds, type ChainLink, type ChainPlace, readChainWithIds } from './chain.ts'
import { findCheckpoint, readCheckpoint } from './checkpoint.ts'
import { IdIndex } from './id-index.ts'
import { type IdRun, openIdRun } from './id-run.ts'
import { listingStart, unwindowed, windowOf } from './part-windows.ts'
import { listAll, type ObjectHead, type ObjectStore } from './stores/object-store.ts'

export type SealState = {
  last: ChainPlace | null
  totals: SealedManifest['totals']
  /** Every part that counts in windows below is sealed. */
  partsFrom: number
  /** Sealed parts of the other windows. */
  parts: Set<string>
  /** Ids up to the generation `checkpointed`, oldest first; where two hold an id the later one stands. */
  idRuns: readonly IdRun[]
  checkpointed: number
  /** Ids of the generations since; they stand above those of the runs. */
  young: IdIndex
}

/**
 * Loads the state at the end of the chain. From the start it reads every manifest and all ids, and needs no
 * checkpoint: that is for when one has been found damaged.
 */
export async function loadState(
  store: ObjectStore,
  { fromStart = false }: { fromStart?: boolean } = {},
): Promise<SealState> {
  const state: SealState = {
    last: null,
    totals: {},
    partsFrom: unwindowed,
    parts: new Set(),
    idRuns: [],
    checkpointed: 0,
    young: new IdIndex(),
  }
  const checkpoint = fromStart ? null : await findCheckpoint(store)
  if (checkpoint !== null) {
    adoptRuns(store, state, checkpoint)
    state.last = { generation: checkpoint.generation, sha256: checkpoint.manifestSha256 }
    state.totals = checkpoint.totals
    state.partsFrom = checkpoint.partsFrom
    state.parts = new Set(checkpoint.parts)
  }
  for await (const { ids, ...link } of readChainWithIds(store, state.last)) applyLink(state, link, ids)
  return state
}

/** Reads the generations that others added since. */
export async function catchUp(store: ObjectStore, state: SealState): Promise<void> {
  for await (const { ids, ...link } of readChainWithIds(store, state.last)) {
    const checkpoint = await readCheckpoint(store, link.manifest)
    if (checkpoint !== null) adoptRuns(store, state, checkpoint)
    applyLink(state, link, ids)
  }
}

/** Takes one more generation in; `ids` are the bytes of the file it names. */
export function applyLink(state: SealState, { manifest, sha256 }: ChainLink, ids: Uint8Array): void {
  state.last = { generation: manifest.generation, sha256 }
  state.totals = manifest.totals
  for (const part of manifest.parts) state.parts.add(part)
  addIds(manifest, ids, state.young)
  const partsFrom = manifest.partsFrom ?? unwindowed
  if (partsFrom <= state.partsFrom) return
  state.partsFrom = partsFrom
  for (const part of state.parts) if (windowOf(part) < partsFrom) state.parts.delete(part)
}

/** Puts a checkpoint's runs in the place of those there are and of the ids they took in. */
export function adoptRuns(
  store: ObjectStore,
  state: SealState,
  { generation, idRuns }: Pick<SealCheckpoint, 'generation' | 'idRuns'>,
): void {
  const known = new Map(state.idRuns.map((run) => [run.head.key, run]))
  state.idRuns = idRuns.map((head) => known.get(head.key) ?? openIdRun(store, head))
  state.checkpointed = generation
  state.young = new IdIndex()
}

/** Whether a listed part is still to be sealed. One that came into its window too late does not count. */
export function isUnsealed(state: SealState, key: string): boolean {
  return PartKey.safeParse(key).success && windowOf(key) >= state.partsFrom && !state.parts.has(key)
}

/** Parts still to be sealed, in the order of their keys; the state may move on while they are listed. */
export async function* listUnsealed(store: ObjectStore, state: SealState): AsyncGenerator<ObjectHead> {
  const after = listingStart(state.partsFrom)
  for await (const part of listAll(store, { prefix: partsPrefix, after }))
    if (isUnsealed(state, part.key)) yield part
}

/** The ranks of those of the ids that are sealed; null when a run is missing or damaged. */
export async function sealedRanks(
  state: SealState,
  ids: readonly string[],
): Promise<Map<string, number> | null> {
  const ranks = new Map<string, number>()
  const found = await Promise.all(state.idRuns.map(async (run) => await run.ranksOf(ids)))
  for (const ofRun of found) {
    if (ofRun === null) return null
    for (const [id, rank] of ofRun) ranks.set(id, rank)
  }
  for (const id of ids) {
    const rank = state.young.rankOf(id)
    if (rank !== null) ranks.set(id, rank)
  }
  return ranks
}
