// Every sealed id of a run in memory, for whoever skips what is done. It does not know parts or records.
import { addIds, type ChainPlace, readChainWithIds } from './chain.ts'
import { findCheckpoint } from './checkpoint.ts'
import { IdIndex } from './id-index.ts'
import { entryBytes, openIdRun } from './id-run.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** Ids that a growing chain names: `refresh` reads the generations added since. Beyond `maxIds` it learns no more. */
export type IdFollower = { index: IdIndex; refresh(): Promise<void> }

/** Every sealed id with the rank of its status. */
export async function loadIdIndex(store: ObjectStore): Promise<IdIndex> {
  const { index, refresh } = followIds(store, { maxIds: Infinity })
  await refresh()
  return index
}

/** Follows a run's sealed ids; empty until the first refresh, which begins at the newest checkpoint. */
export function followIds(store: ObjectStore, { maxIds }: { maxIds: number }): IdFollower {
  const index = new IdIndex()
  let last: ChainPlace | null = null
  const refresh = async () => {
    last ??= await addCheckpointIds(store, { index, maxIds })
    for await (const { ids, manifest, sha256 } of readChainWithIds(store, last)) {
      if (index.size >= maxIds) return
      addIds(manifest, ids, index)
      last = { generation: manifest.generation, sha256 }
    }
  }
  return { index, refresh }
}

/** Adds the ids of the newest checkpoint and returns its place; null, with nothing lost, where one must start over. */
async function addCheckpointIds(
  store: ObjectStore,
  { index, maxIds }: { index: IdIndex; maxIds: number },
): Promise<ChainPlace | null> {
  const checkpoint = await findCheckpoint(store)
  if (checkpoint === null) return null
  for (const head of checkpoint.idRuns) {
    if (index.size >= maxIds) break
    const entries = await openIdRun(store, head).readEntries()
    // The chain names every id, so what was added already is only added again.
    if (entries === null) return null
    for (let at = 0; at < entries.length && index.size < maxIds; at += entryBytes)
      index.setBytes(entries.subarray(at, at + entryBytes - 1), entries[at + entryBytes - 1] ?? 0)
  }
  return { generation: checkpoint.generation, sha256: checkpoint.manifestSha256 }
}
