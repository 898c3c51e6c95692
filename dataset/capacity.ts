// How many workers a deployment needs now: a pure function of what is known and what was decided before. It does not
// know clouds. It ratchets: capacity rises with the backlog and falls only when there is nothing left to do, because a
// worker that ends and boots again costs more than one that waits.

/** What a pool of workers is asked to have and has. */
export type PoolState = {
  desired: number
  running: number
  /** Since when fewer run than are asked for; null when all do. */
  pendingSinceMs: number | null
}

export type CapacityState = {
  /** Images that wait, and those that workers hold. */
  waiting: number
  held: number
  /** How long the image that waits longest does, or a bound from above; null when none waits. */
  oldestAgeMs: number | null
  /** Since when nothing waits and nothing is held; null while something does. */
  emptySinceMs: number | null
  spot: PoolState
  onDemand: PoolState
  /** Nobody wants labels now: every run with work is paused or cancelled, has spent its cap, or goes on no more. */
  restReason: 'paused' | 'cost-cap' | 'stalled' | null
}

export type CapacityPolicy = {
  /** Of one worker, measured. */
  imagesPerSecond: number
  /** From upload to label. */
  objectiveMs: number
  /** From the decision to the first image of a worker. */
  bootMs: number
  maxSpot: number
  maxOnDemand: number
  /** How long everything must be done before workers end. */
  emptyMs: number
  /** Spot capacity that has not come by then is not coming. */
  pendingMs: number
}

export const defaultCapacityPolicy: Omit<CapacityPolicy, 'imagesPerSecond'> = {
  objectiveMs: 15 * 60_000,
  bootMs: 330_000,
  maxSpot: 16,
  maxOnDemand: 4,
  emptyMs: 3 * 60_000,
  pendingMs: 8 * 60_000,
}

export type CapacityPlan = { spot: number; onDemand: number; reason: string }

/** The workers to ask for. */
export function planCapacity(state: CapacityState, nowMs: number, policy: CapacityPolicy): CapacityPlan {
  const { spot, onDemand, emptySinceMs, restReason } = state
  if (restReason === 'paused') return { spot: 0, onDemand: 0, reason: 'every run with work is paused' }
  if (restReason === 'cost-cap')
    return { spot: 0, onDemand: 0, reason: 'every run with work is paused or has spent its cost cap' }
  if (restReason === 'stalled')
    return {
      spot: 0,
      onDemand: 0,
      reason: 'beside paused runs there are only such as have made nothing for hours',
    }
  if (emptySinceMs !== null) {
    if (nowMs - emptySinceMs >= policy.emptyMs)
      return { spot: 0, onDemand: 0, reason: 'there is nothing to do' }
    return { spot: spot.desired, onDemand: onDemand.desired, reason: 'all is done, more may come' }
  }
  const need = neededWorkers(state, policy)
  const wantedSpot = Math.min(policy.maxSpot, Math.max(spot.desired, need))
  const extra = overflow(state, { need, nowMs, policy })
  return {
    spot: wantedSpot,
    onDemand: extra,
    reason:
      extra > 0
        ? `${need} workers are needed, ${spot.running} came from spot in time`
        : `${need} workers are needed for ${state.waiting + state.held} images`,
  }
}

/** Enough to have everything that is here now done in time, of which booting takes its share. */
function neededWorkers({ waiting, held }: CapacityState, policy: CapacityPolicy): number {
  const { imagesPerSecond, objectiveMs, bootMs } = policy
  // At least a fifth of the objective is left for work, however long workers boot.
  const workSeconds = Math.max(objectiveMs - bootMs, objectiveMs / 5) / 1000
  return Math.max(1, Math.ceil((waiting + held) / (imagesPerSecond * workSeconds)))
}

/** On-demand workers in the place of spot capacity that does not come, kept until it has come. */
function overflow(
  { spot, onDemand, oldestAgeMs }: CapacityState,
  { need, nowMs, policy }: { need: number; nowMs: number; policy: CapacityPolicy },
): number {
  const missing = Math.max(0, Math.min(need, policy.maxSpot) - spot.running)
  if (missing === 0) return 0
  const isLate = (oldestAgeMs ?? 0) > policy.objectiveMs
  const isStuck = spot.pendingSinceMs !== null && nowMs - spot.pendingSinceMs > policy.pendingMs
  const wanted = isLate && isStuck ? missing : 0
  return Math.min(policy.maxOnDemand, Math.max(onDemand.desired, wanted))
}
