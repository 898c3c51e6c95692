// Sealing: parts that no manifest names become shards and more generations of the chain. Any number of sealers may
// race; the one that creates the next manifest wins. It does not know tasks or where records came from.
import type { IdRunHead } from '../schemas/checkpoint.ts'
import type { HealthTally } from '../schemas/health.ts'
import { InvariantError, UserError } from '../schemas/errors.ts'
import type { SealedManifest } from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { manifestKey } from './chain.ts'
import { writeCheckpoint, writeIdRun } from './checkpoint.ts'
import { closeWindow, openWindow, unwindowed, windowOf } from './part-windows.ts'
import { writeGeneration } from './seal-generation.ts'
import {
  adoptRuns,
  applyLink,
  catchUp,
  isUnsealed,
  listUnsealed,
  loadState,
  type SealState,
} from './seal-state.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type SealLimits = {
  /** Parts of one generation, by count and by compressed bytes: all their records are in memory at once. */
  maxParts: number
  maxPartBytes: number
  /** Records text of one shard before compression. */
  maxShardBytes: number
  /** Sealed parts of the open window from which on it is closed: as many are listed again by each sealing. */
  windowParts: number
  /** Generations from one checkpoint to the next: as many are read when a sealer starts. */
  checkpointEvery: number
}

export const defaultSealLimits: SealLimits = {
  maxParts: 4096,
  maxPartBytes: 4 * 1024 * 1024,
  maxShardBytes: 128 * 1024 * 1024,
  windowParts: 256,
  checkpointEvery: 8,
}

export type SealSummary = {
  /** Added now. */
  generations: number
  /** The last of the chain; 0 when nothing is sealed. */
  lastGeneration: number
  totals: SealedManifest['totals']
}

export type SealOptions = {
  store: ObjectStore
  runId: string
  clock: () => Date
  limits?: SealLimits
  /** Counts what checks found in the rows of a generation, for whoever watches the run; left out, nothing is counted. */
  tally?: TallyLines | undefined
}

/** Lines of records. */
export type TallyLines = (lines: readonly string[]) => HealthTally

export type Sealer = {
  /** Seals every part that is there when it begins; says how many generations it added and all rows by task. */
  seal(): Promise<SealSummary>
}

/** Seals once. */
export async function sealRun(options: SealOptions): Promise<SealSummary> {
  return await openSealer(options).seal()
}

/** A sealer that remembers the chain from one sealing to the next, for processes that seal again and again. */
export function openSealer({ store, runId, clock, limits = defaultSealLimits, tally }: SealOptions): Sealer {
  let kept: SealState | null = null
  return {
    async seal() {
      const state = kept ?? (await loadState(store))
      // What fails half-way is loaded anew.
      kept = null
      const generations = await sealOnce({ store, runId, clock, limits, tally, state })
      kept = state
      return { generations, lastGeneration: state.last?.generation ?? 0, totals: state.totals }
    },
  }
}

type Sealing = Required<Omit<SealOptions, 'tally'>> & Pick<SealOptions, 'tally'> & { state: SealState }

/** One listing, cut into generations. */
async function sealOnce(sealing: Sealing): Promise<number> {
  const { store, limits, state } = sealing
  await catchUp(store, state)
  // Looked up before the listing: whatever counts in windows closed by now is in the listing.
  const open = await openWindow(store, Math.max(1, state.partsFrom))
  let generations = 0
  let parts: string[] = []
  let bytes = 0
  for await (const part of listUnsealed(store, state)) {
    const isFull = parts.length >= limits.maxParts || bytes + part.sizeBytes > limits.maxPartBytes
    if (parts.length > 0 && isFull) {
      generations += await commit(sealing, { parts, partsFrom: unwindowed })
      parts = []
      bytes = 0
    }
    parts.push(part.key)
    bytes += part.sizeBytes
  }
  generations += await commit(sealing, { parts, partsFrom: open })
  if (countParts(state, open) >= limits.windowParts) await closeWindow(store, open)
  return generations
}

type Commit = {
  parts: readonly string[]
  /** All parts that count below this window are sealed once these are. */
  partsFrom: number
}

/** Adds one generation of those of the parts that nobody else has sealed; returns 0 when none is left. */
async function commit(sealing: Sealing, { parts, partsFrom }: Commit): Promise<0 | 1> {
  const { store, runId, clock, limits, state, tally } = sealing
  for (;;) {
    const unsealed = parts.filter((part) => isUnsealed(state, part))
    if (unsealed.length === 0) return 0
    const checkpoint = isCheckpointDue(sealing) ? await addCheckpoint(sealing) : null
    const generation =
      checkpoint === 'damaged-checkpoint'
        ? checkpoint
        : await writeGeneration(store, {
            runId,
            state,
            parts: unsealed,
            partsFrom: Math.max(partsFrom, state.partsFrom),
            checkpoint: checkpoint?.named,
            maxShardBytes: limits.maxShardBytes,
            tally,
            now: clock(),
          })
    if (checkpoint === 'damaged-checkpoint' || generation === 'damaged-checkpoint') {
      // The chain holds all that the damaged file held, and the next checkpoint is made from it.
      Object.assign(state, await loadState(store, { fromStart: true }))
      continue
    }
    if ('missingPart' in generation) {
      await explainMissing(sealing, generation.missingPart)
      continue
    }
    const { manifest, ids } = generation
    const bytes = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`)
    if ((await store.putIfAbsent(manifestKey(manifest.generation), bytes)) === 'created') {
      if (checkpoint !== null)
        adoptRuns(store, state, { generation: manifest.generation - 1, idRuns: checkpoint.idRuns })
      applyLink(state, { manifest, sha256: sha256Hex(bytes) }, ids)
      return 1
    }
    // Another sealer was first: its generation stands, ours leaves only files that nothing names.
    await catchUp(store, state)
  }
}

/** Catches up with whoever sealed the part before it was deleted. Throws UserError when nobody did. */
async function explainMissing({ store, state }: Sealing, part: string): Promise<void> {
  const before = state.last?.generation
  await catchUp(store, state)
  if (state.last?.generation === before)
    throw new UserError(
      `${store.uri}${part} is missing and not sealed; the run was changed by hand, restore it`,
    )
}

function isCheckpointDue({ state, limits }: Sealing): boolean {
  return state.last !== null && state.last.generation - state.checkpointed >= limits.checkpointEvery
}

type NewCheckpoint = { named: NonNullable<SealedManifest['checkpoint']>; idRuns: IdRunHead[] }

/** Writes a checkpoint of the state; it counts once the next manifest names it. */
async function addCheckpoint({
  store,
  runId,
  clock,
  state,
}: Sealing): Promise<NewCheckpoint | 'damaged-checkpoint'> {
  const { last } = state
  if (last === null) throw new InvariantError('there is no generation to make a checkpoint of')
  const idRuns = await writeIdRun(store, {
    runs: state.idRuns,
    entries: state.young.entries(),
    generation: last.generation,
  })
  if (idRuns === null) return 'damaged-checkpoint'
  const named = await writeCheckpoint(store, {
    runId,
    generation: last.generation,
    manifestSha256: last.sha256,
    totals: state.totals,
    partsFrom: state.partsFrom,
    parts: [...state.parts].toSorted(),
    idRuns,
    createdAt: clock().toISOString(),
  })
  return { named, idRuns }
}

function countParts(state: SealState, window: number): number {
  let count = 0
  for (const part of state.parts) if (windowOf(part) === window) count += 1
  return count
}
