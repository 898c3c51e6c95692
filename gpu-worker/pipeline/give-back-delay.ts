// How long a message that is given back stays away. Pure; it does not know queues.
import type { Problem } from './label-request.ts'
import type { WorkerLimits } from './worker-limits.ts'

type Chance = { limits: WorkerLimits; random: () => number }

/** Another worker's claim lasts at most so long, and is done when its part is written; a pause lasts. */
export function giveBackDelayMs(
  receiveCount: number,
  { reason, leftMs = Infinity }: Problem,
  { limits, random }: Chance,
): number {
  if (reason === 'stopping') return 0
  if (reason === 'paused') return Math.round(limits.pausedDelayMs * (0.5 + random() / 2))
  const delayMs = backoffMs(receiveCount, { limits, random })
  return reason === 'claimed' ? Math.round(Math.min(leftMs + 1000, limits.partAgeMs + delayMs)) : delayMs
}

/** Doubles with each delivery up to a limit; of that, between half and all. */
export function backoffMs(receiveCount: number, { limits, random }: Chance): number {
  const fullMs = Math.min(limits.maxBackoffMs, limits.backoffMs * 2 ** Math.min(receiveCount - 1, 30))
  return Math.round(fullMs * (0.5 + random() / 2))
}
