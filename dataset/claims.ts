// Claims: who labels an image says so first, so that an event that comes again meanwhile is left alone. Each is a short
// sequence of create-only entries, the last of which counts until it expires. It does not know messages or models.
import { ClaimEntry, claimsPrefix, claimVersion } from '../schemas/claim.ts'
import { sha256Hex } from './canonical-json.ts'
import { parseJson } from './parse-json.ts'
import type { Clock } from './queues/clock.ts'
import type { ObjectStore } from './stores/object-store.ts'

export type ClaimLimits = {
  /**
   * How long a claim holds. A lease's length: the message of a worker that died comes back when its claim has expired.
   * Work that takes longer may be done twice, which costs a pass and no more.
   */
  claimMs: number
  /** How long `done` counts. By then the records are sealed, and their ids say the same. */
  claimDoneMs: number
}

export const defaultClaimLimits: ClaimLimits = { claimMs: 300_000, claimDoneMs: 2 * 60 * 60_000 }

export type Claim =
  | { state: 'mine'; settle(outcome: 'done' | 'open'): Promise<void> }
  /** The records are durable. */
  | { state: 'done' }
  | { state: 'held'; leftMs: number }

/** Entries of one claim that are read; behind them nobody is kept waiting. */
const maxReads = 64

type ClaimOptions = { store: ObjectStore; clock: Pick<Clock, 'nowMs'>; limits: ClaimLimits }

/** Claims the making of these records. What others write at the same time decides who is first. */
export async function takeClaim(recordIds: readonly string[], options: ClaimOptions): Promise<Claim> {
  const { clock, limits } = options
  const name = sha256Hex(recordIds.toSorted().join()).slice(0, 32)
  let last: ClaimEntry | null = null
  for (let [number, reads] = [1, 0]; reads < maxReads; reads += 1) {
    const entry = await readEntry(options.store, entryKey(name, number))
    if (entry !== null) {
      last = entry
      number += 1
      continue
    }
    const standing = standingOf(last, { nowMs: clock.nowMs(), limits })
    if (standing !== null) return standing
    // Where somebody was faster, the same entry is read again, and is there.
    if (await writeEntry({ name, number, state: 'held' }, options))
      return {
        state: 'mine',
        async settle(state) {
          // Taken: the claim has expired and is another worker's, which will say what became of it.
          await writeEntry({ name, number: number + 1, state }, options)
        },
      }
  }
  return { state: 'mine', settle: async () => {} }
}

/** What the last entry asks of others, or null when they may go on. */
function standingOf(
  last: ClaimEntry | null,
  { nowMs, limits }: { nowMs: number; limits: ClaimLimits },
): Exclude<Claim, { state: 'mine' }> | null {
  if (last === null || last.state === 'open') return null
  const leftMs = last.untilMs - nowMs
  const mostMs = last.state === 'held' ? limits.claimMs : limits.claimDoneMs
  // Further away than any claim lasts: it was written by a clock that runs ahead, and would block too long.
  if (leftMs <= 0 || leftMs > mostMs) return null
  return last.state === 'done' ? { state: 'done' } : { state: 'held', leftMs }
}

type NewEntry = { name: string; number: number; state: ClaimEntry['state'] }

async function writeEntry({ name, number, state }: NewEntry, options: ClaimOptions): Promise<boolean> {
  const { store, clock, limits } = options
  const lastsMs = { held: limits.claimMs, done: limits.claimDoneMs, open: 0 }[state]
  const entry: ClaimEntry = { v: claimVersion, state, untilMs: Math.round(clock.nowMs() + lastsMs) }
  const bytes = Buffer.from(`${JSON.stringify(entry)}\n`)
  return (await store.putIfAbsent(entryKey(name, number), bytes)) === 'created'
}

/** One that cannot be read counts as open: claims are no reason to stop. */
async function readEntry(store: ObjectStore, key: string): Promise<ClaimEntry | null> {
  const bytes = await store.get(key)
  if (bytes === null) return null
  const parsed = ClaimEntry.safeParse(parseJson(bytes))
  return parsed.data ?? { v: claimVersion, state: 'open', untilMs: 0 }
}

/** Hashed names spread over the store's partitions. */
function entryKey(name: string, number: number): string {
  return `${claimsPrefix}${name.slice(0, 2)}/${name}-${String(number).padStart(4, '0')}.json`
}
