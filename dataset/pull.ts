// A verified copy of a run's sealed labels: whatever the manifest chain names, and nothing else. It does not know
// where from or where to; names in a manifest are checked by its schema, and stores never lead outside.
import { UserError } from '../schemas/errors.ts'
import { runConfigKey } from '../schemas/run-config.ts'
import type { SealedManifest } from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { manifestKey, readChain } from './chain.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type PullTally = { generations: number; copied: number; copiedBytes: number; known: number }

export type Pull = { from: ObjectStore; to: ObjectStore; onProgress?: (tally: PullTally) => void }

/**
 * Copies config and generations in order, each manifest after all that it names; so a copy that was interrupted is a
 * shorter chain, and goes on. Throws UserError when something is missing or not what its digest says, on either side,
 * or the copy is of another run.
 */
export async function pullRun({ from, to, onProgress }: Pull): Promise<PullTally> {
  const tally: PullTally = { generations: 0, copied: 0, copiedBytes: 0, known: 0 }
  const config = await from.get(runConfigKey)
  if (config === null) throw new UserError(`there is no run at ${from.uri}`)
  await put(to, { key: runConfigKey, bytes: config }, tally)
  for await (const { manifest, sha256 } of readChain(from)) {
    const key = manifestKey(manifest.generation)
    const standing = await to.get(key)
    if (standing === null) {
      for (const named of namedBy(manifest)) await copy({ from, to }, named, tally)
      await copy({ from, to }, { key, sha256 }, tally)
    } else if (sha256Hex(standing) === sha256) tally.known += 1
    else throw different(to, key)
    tally.generations += 1
    onProgress?.(tally)
  }
  return tally
}

type Named = { key: string; sha256: string }

function namedBy({ shards, ids }: SealedManifest): Named[] {
  return [...shards, ids]
}

async function copy(
  { from, to }: Pick<Pull, 'from' | 'to'>,
  { key, sha256 }: Named,
  tally: PullTally,
): Promise<void> {
  const standing = await to.get(key)
  if (standing !== null && sha256Hex(standing) === sha256) {
    tally.known += 1
    return
  }
  if (standing !== null) throw different(to, key)
  const bytes = await from.get(key)
  if (bytes === null || sha256Hex(bytes) !== sha256)
    throw new UserError(
      `${from.uri}${key} is ${bytes === null ? 'missing' : 'not what its manifest says'}; nothing of it was copied, restore it there`,
    )
  await put(to, { key, bytes }, tally)
}

async function put(
  to: ObjectStore,
  { key, bytes }: { key: string; bytes: Uint8Array },
  tally: PullTally,
): Promise<void> {
  if ((await to.putIfAbsent(key, bytes)) === 'created') {
    tally.copied += 1
    tally.copiedBytes += bytes.length
    return
  }
  const standing = await to.get(key)
  if (standing === null || sha256Hex(standing) !== sha256Hex(bytes)) throw different(to, key)
  tally.known += 1
}

function different(to: ObjectStore, key: string): UserError {
  return new UserError(
    `${to.uri}${key} is there already and differs; it is of another run or damaged, give another folder to --out`,
  )
}
