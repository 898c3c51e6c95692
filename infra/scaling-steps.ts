// The scaler's metric as steps of a policy: so many workers needed, so many asked for. Pure.

/** A step scaling policy of Application Auto Scaling has at most so many steps; the one to zero is a policy's own. */
const maxSteps = 20

/** Numbers of workers that a pool goes to: each of them while a policy has room for it, else fewer, further apart. */
export function capacityLevels(max: number): number[] {
  if (max <= maxSteps) return Array.from({ length: max }, (_, index) => index + 1)
  const ratio = max ** (1 / (maxSteps - 1))
  const spread = Array.from({ length: maxSteps }, (_, index) => Math.round(ratio ** index))
  return [...new Set([...spread, max])].toSorted((a, b) => a - b)
}

export type Step = { lower?: number; upper?: number; change: number }

/** Between two levels the higher one is asked for: too many for a while is cheaper than too late. */
export function scalingSteps(max: number): Step[] {
  const levels = capacityLevels(max)
  return [
    { upper: 0, change: 0 },
    ...levels.map((level, index) => ({ lower: (levels[index - 1] ?? 0) + 1, change: level })),
  ]
}
