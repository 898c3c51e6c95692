// Pausing, resuming and cancelling a run: a create-only sequence of entries below control/, whose last one counts.
// It does not know who labels.
import { RetryableError, UserError } from '../schemas/errors.ts'
import type { HealthSetting } from '../schemas/health.ts'
import {
  type RunAction,
  RunControlEntry,
  runControlPrefix,
  runControlVersion,
} from '../schemas/run-control.ts'
import { lastGenerationOf } from './chain.ts'
import { createEntry, entryKey, maxRaces, readEntry } from './numbered-entries.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type RunState = 'running' | 'paused' | 'cancelled'

/** How a run stands after its first `entries` entries. */
export type RunStanding = {
  state: RunState
  entries: number
  /** The last of them; null when there is none. */
  last: RunControlEntry | null
  /** When its checks are to stop it, where somebody has said so since it began. */
  health: HealthSetting | null
}

export const untouchedRun: RunStanding = { state: 'running', entries: 0, last: null, health: null }

/** Entries that are read at once, and that a run may have: a person's switches, not a program's. */
const maxEntries = 10_000

/** How a run stands now; what is known already is not read again. */
export async function readControl(
  store: ObjectStore,
  known: RunStanding = untouchedRun,
): Promise<RunStanding> {
  let standing = known
  // Nothing comes after a cancellation, so nothing is looked for.
  while (standing.state !== 'cancelled' && standing.entries < maxEntries) {
    const entry = await readEntry(store, controlKey(standing.entries + 1), RunControlEntry)
    if (entry === null) break
    standing = {
      state: stateAfter[entry.action],
      entries: standing.entries + 1,
      last: entry,
      health: entry.health ?? standing.health,
    }
  }
  return standing
}

export type RunSwitch = Pick<RunControlEntry, 'action' | 'cause' | 'reason' | 'health'> & {
  now: Date
  /** How the run stood when this was decided: whoever has switched it since has the word. */
  decidedAt?: RunStanding
}

/**
 * Switches a run. Returns how it stood and how it stands; a switch that changes nothing writes nothing.
 * Throws UserError for a run that is cancelled: what it had left is gone.
 */
export async function controlRun(
  store: ObjectStore,
  { now, decidedAt, ...said }: RunSwitch,
): Promise<{ before: RunState; after: RunState }> {
  const { action } = said
  const entry: RunControlEntry = RunControlEntry.parse({
    v: runControlVersion,
    ...said,
    ...(action === 'resume' ? { afterGeneration: await lastGenerationOf(store) } : {}),
    createdAt: now.toISOString(),
  })
  let standing = untouchedRun
  for (let races = 0; races < maxRaces; races += 1) {
    standing = await readControl(store, standing)
    const { state: before, entries } = standing
    if (decidedAt !== undefined && entries !== decidedAt.entries) return { before, after: before }
    const after = stateAfter[action]
    if (before === 'cancelled' && action !== 'cancel')
      throw new UserError(
        `the run ${store.uri} is cancelled, which is for good; submit its images again as another run`,
      )
    if (before === after && said.health === undefined) return { before, after }
    if (entries >= maxEntries)
      throw new UserError(`the run ${store.uri} was switched ${entries} times; it takes no more`)
    if (await createEntry(store, controlKey(entries + 1), entry)) return { before, after }
  }
  throw new RetryableError(`others switch the run ${store.uri} at the same time; try again`)
}

const stateAfter: Readonly<Record<RunAction, RunState>> = {
  pause: 'paused',
  resume: 'running',
  cancel: 'cancelled',
}

function controlKey(number: number): string {
  return entryKey(runControlPrefix, number)
}
