// Checkpoints: finding the newest that the chain vouches for, and writing the next one. It does not know parts' content.
import { UserError } from '../schemas/errors.ts'
import { checkpointsPrefix, checkpointVersion, IdRunHead, SealCheckpoint } from '../schemas/checkpoint.ts'
import type { SealedManifest } from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { readManifest } from './chain.ts'
import { entryBytes, type IdRun, packIdRun, sortEntries } from './id-run.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** Runs of about one size that are merged; more make look-ups slower, fewer make merging dearer. */
const runsPerLevel = 4
/** Runs of at most so many entries are level 0; each level holds four times as many. */
const smallestRun = 4096
/** Merging holds a run in memory twice, 17 bytes an entry; what is larger stays as it is. */
const maxMergedEntries = 4 * 1024 * 1024

/** Names under checkpoints/ that are looked at before the chain is read from its start. */
const maxCandidates = 16

/** Keys count down from here, so that one listing of one key finds the newest. */
const countdownFrom = 99_999_999

/**
 * The newest checkpoint whose digest the chain names, or null. One that is damaged, forged or was written by a
 * sealer that lost its race is passed over: it is a cache, and the chain is what counts.
 */
export async function findCheckpoint(store: ObjectStore): Promise<SealCheckpoint | null> {
  const { objects } = await store.list({ prefix: checkpointsPrefix, limit: maxCandidates })
  for (const { key } of objects) {
    const generation = generationOf(key)
    const next = generation === null ? null : await readManifest(store, generation + 1)
    if (next?.manifest.checkpoint?.key !== key) continue
    const checkpoint = await readCheckpoint(store, next.manifest)
    if (checkpoint !== null) return checkpoint
  }
  return null
}

/** The checkpoint that a manifest names; null when it names none or one that is missing or damaged. */
export async function readCheckpoint(
  store: ObjectStore,
  manifest: Pick<SealedManifest, 'checkpoint' | 'generation' | 'prevSha256'>,
): Promise<SealCheckpoint | null> {
  if (manifest.checkpoint === undefined) return null
  const bytes = await store.get(manifest.checkpoint.key)
  if (bytes === null || sha256Hex(bytes) !== manifest.checkpoint.sha256) return null
  const parsed = SealCheckpoint.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  if (!parsed.success)
    throw new UserError(
      `${store.uri}${manifest.checkpoint.key} is not a checkpoint this version can read; it was written by a newer one`,
      { cause: parsed.error },
    )
  const isOfItsPlace =
    parsed.data.generation === manifest.generation - 1 && parsed.data.manifestSha256 === manifest.prevSha256
  return isOfItsPlace ? parsed.data : null
}

/** The generation in a checkpoint's key, or null when the key is none of a checkpoint. */
export function generationOf(key: string): number | null {
  const digits = /^checkpoints\/([0-9]{8})-[0-9a-f]{16}\.json$/.exec(key)?.[1]
  return digits === undefined ? null : countdownFrom - Number(digits)
}

/** Writes a checkpoint; the manifest of the next generation must name what this returns. */
export async function writeCheckpoint(
  store: ObjectStore,
  content: Omit<SealCheckpoint, 'v'>,
): Promise<{ key: string; sha256: string }> {
  const checkpoint: SealCheckpoint = { v: checkpointVersion, ...content }
  const bytes = Buffer.from(`${JSON.stringify(checkpoint)}\n`)
  const sha256 = sha256Hex(bytes)
  const countdown = String(countdownFrom - content.generation).padStart(8, '0')
  const key = `${checkpointsPrefix}${countdown}-${sha256.slice(0, 16)}.json`
  await store.putIfAbsent(key, bytes)
  return { key, sha256 }
}

type WriteRun = { runs: readonly IdRun[]; entries: Buffer; generation: number }

/**
 * Writes new ids (entries in any order) as a run, merged with the newest runs once enough of about its size have
 * gathered: each id is rewritten once per level, so the cost of a generation follows its ids, not all of them.
 * Returns the runs there are now, or null when one that had to be read is missing or damaged.
 */
export async function writeIdRun(
  store: ObjectStore,
  { runs, entries, generation }: WriteRun,
): Promise<IdRunHead[] | null> {
  const kept = runs.slice()
  let [newest, level] = [entries, levelOf(entries)]
  for (;;) {
    const merged = kept.slice(kept.findLastIndex((run) => run.head.level > level) + 1)
    const total = merged.reduce((sum, run) => sum + run.head.entries, newest.length / entryBytes)
    if (merged.length < runsPerLevel - 1 || total > maxMergedEntries) break
    const older: Buffer[] = []
    for (const run of merged) {
      const read = await run.readEntries()
      if (read === null) return null
      older.push(read)
    }
    kept.length -= merged.length
    newest = Buffer.concat([...older, newest])
    level = Math.max(level + 1, levelOf(newest))
  }
  const { head, bytes } = packIdRun(sortEntries(newest), level)
  const key = `${checkpointsPrefix}ids/${String(generation).padStart(8, '0')}-${head.sha256.slice(0, 16)}.bin`
  await store.putIfAbsent(key, bytes)
  return [...kept.map((run) => run.head), IdRunHead.parse({ key, ...head })]
}

function levelOf(entries: Buffer): number {
  const count = Math.max(1, entries.length / entryBytes)
  return Math.max(0, Math.floor(Math.log(count / smallestRun) / Math.log(runsPerLevel)) + 1)
}
