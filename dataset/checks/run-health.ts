// The breaker of a run that many workers label: its sealers see all records, each once and in one order, count what the
// checks found in every generation, and pause the run when that goes past its limits. It knows no workers and no queue.
import type { HealthSetting, HealthTally } from '../../schemas/health.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import type { SealedManifest } from '../../schemas/sealed-manifest.ts'
import { readManifest } from '../chain.ts'
import { mapInParallel } from '../in-parallel.ts'
import { controlRun, readControl, type RunStanding } from '../run-control.ts'
import type { ObjectStore } from '../stores/object-store.ts'
import {
  defaultHealthLimits,
  findTrip,
  type HealthReport,
  ratesOf,
  sumTallies,
  type TalliedRecord,
  tallyRecord,
} from './health.ts'

/** Generations that are read at each end of a run, and at once: a run that trickles is judged by what they hold. */
const maxGenerations = 256
const readAtOnce = 16

/** Counts lines of records; the sealer that calls it has parsed them, and copies them as they are. */
export function tallyLines(lines: readonly string[]): HealthTally {
  // Records that workers of ours wrote, of which a few fields are looked at.
  return sumTallies(lines.map((line) => tallyRecord(JSON.parse(line) as TalliedRecord)))
}

export type Guarded = { store: ObjectStore; config: RunConfig; lastGeneration: number; now: Date }

/**
 * Pauses a running run whose last records are past its limits, with the reason beside the pause; returns the reason, or
 * null. Any number of sealers may do so at once: one pause comes of it. Whoever has resumed the run meanwhile has the word.
 */
export async function guardRun({ store, config, lastGeneration, now }: Guarded): Promise<string | null> {
  const standing = await readControl(store)
  if (standing.state !== 'running') return null
  const found = await readRunHealth(store, { config, standing, lastGeneration })
  if (found === null || found.tripped === null) return null
  await controlRun(store, {
    action: 'pause',
    cause: 'health',
    reason: found.tripped,
    now,
    decidedAt: standing,
  })
  return found.tripped
}

/** What its checks are to pause it by. */
export function healthSettingOf(config: RunConfig, standing: RunStanding): HealthSetting {
  return standing.health ?? config.health ?? defaultHealthLimits
}

type Judged = { config: RunConfig; standing: RunStanding; lastGeneration: number }

/**
 * How the run does, by its last generations and those that it began with; of a run that was resumed, since then: a person
 * has seen what was before. Null where nobody watches, or nothing was counted.
 */
export async function readRunHealth(
  store: ObjectStore,
  { config, standing, lastGeneration }: Judged,
): Promise<HealthReport | null> {
  const limits = healthSettingOf(config, standing)
  if (limits === 'off' || lastGeneration === 0) return null
  // Only the last word of a run that is at work can be a resume.
  const oldest = (standing.last?.afterGeneration ?? 0) + 1
  if (oldest > lastGeneration) return null
  const span = { oldest, newest: lastGeneration, least: limits.window }
  const now = await collect(store, { ...span, isFromEnd: true })
  if (now.records === 0) return null
  const begun = now.records < limits.window ? null : await collect(store, { ...span, isFromEnd: false })
  const window = { now, first: begun !== null && begun.records >= limits.window ? begun : null }
  return { records: now.records, rates: ratesOf(window), tripped: findTrip(window, limits) }
}

type Span = { oldest: number; newest: number; least: number; isFromEnd: boolean }

/** The sum of whole generations from one end of the span, until there are enough records. */
async function collect(store: ObjectStore, { oldest, newest, least, isFromEnd }: Span): Promise<HealthTally> {
  const count = Math.min(maxGenerations, newest - oldest + 1)
  let sum = sumTallies([])
  // One at first: in a run at work a generation has more records than are wanted.
  for (let done = 0, size = 1; done < count && sum.records < least; done += size, size = readAtOnce) {
    const numbers = Array.from({ length: Math.min(size, count - done) }, (_, n) =>
      isFromEnd ? newest - done - n : oldest + done + n,
    )
    const found = await mapInParallel(numbers, { max: readAtOnce }, async (n) => await manifestOf(store, n))
    for (const manifest of found)
      if (sum.records < least && manifest?.health !== undefined) sum = sumTallies([sum, manifest.health])
  }
  return sum
}

async function manifestOf(store: ObjectStore, generation: number): Promise<SealedManifest | null> {
  return (await readManifest(store, generation))?.manifest ?? null
}
