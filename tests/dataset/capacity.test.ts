// Capacity: the plan as a function, and what it costs and how late it is over whole loads.
import { describe, expect, test } from 'vitest'
import {
  type CapacityPolicy,
  type CapacityState,
  defaultCapacityPolicy,
  planCapacity,
} from '../../dataset/capacity.ts'
import { type Decide, loads, simulate, simulated } from '../helpers/scaling-simulation.ts'

const policy: CapacityPolicy = { ...defaultCapacityPolicy, imagesPerSecond: simulated.imagesPerSecond }
const idle = { desired: 0, running: 0, pendingSinceMs: null }
const quiet: CapacityState = {
  waiting: 0,
  held: 0,
  oldestAgeMs: null,
  emptySinceMs: 0,
  spot: idle,
  onDemand: idle,
  restReason: null,
}
const minutes = (n: number) => n * 60_000

describe('planCapacity', () => {
  const busy = { ...quiet, emptySinceMs: null, waiting: 1000, oldestAgeMs: minutes(1) }
  const stuck = {
    ...busy,
    waiting: 20_000,
    oldestAgeMs: minutes(16),
    spot: { desired: 9, running: 2, pendingSinceMs: 0 },
  }
  test.each([
    ['nothing to do', quiet, 10, [0, 0]],
    ['one image', { ...busy, waiting: 1 }, 0, [1, 0]],
    ['one image that a worker holds', { ...busy, waiting: 0, held: 1, oldestAgeMs: null }, 0, [1, 0]],
    ['more than the largest pool could do in time', { ...busy, waiting: 1e7 }, 0, [16, 0]],
    ['less than there was', { ...busy, spot: { ...idle, desired: 7, running: 7 } }, 0, [7, 0]],
    ['a moment without work', { ...quiet, spot: { ...idle, desired: 7, running: 7 } }, 2.9, [7, 0]],
    ['long enough without work', { ...quiet, spot: { ...idle, desired: 7, running: 7 } }, 3, [0, 0]],
    ['spot that does not come in time', stuck, 20, [9, 4]],
    ['spot that is only slow', stuck, 7, [9, 0]],
    ['spot that does not come, and nobody waits long', { ...stuck, oldestAgeMs: minutes(3) }, 20, [9, 0]],
    [
      'spot that has come',
      { ...stuck, spot: { ...idle, desired: 9, running: 9 }, onDemand: { ...idle, desired: 4 } },
      20,
      [9, 0],
    ],
    [
      'on-demand kept while spot is missing',
      { ...stuck, oldestAgeMs: minutes(1), onDemand: { ...idle, desired: 3 } },
      20,
      [9, 3],
    ],
    ['a pause', { ...stuck, restReason: 'paused' as const }, 20, [0, 0]],
    ['a cost cap', { ...stuck, restReason: 'cost-cap' as const }, 20, [0, 0]],
  ] as const)('with %s', (...[, state, atMinutes, expected]) => {
    const { spot, onDemand, reason } = planCapacity(state, minutes(atMinutes), policy)
    expect([spot, onDemand]).toEqual(expected)
    expect(reason).not.toBe('')
  })
})

/** The planner of the project over one pool, with the memory its function has. */
function planner(): Decide {
  let emptySinceMs: number | null = 0
  return ({ nowMs, desired, running, ...look }) => {
    emptySinceMs = look.waiting + look.held > 0 ? null : (emptySinceMs ?? nowMs)
    const spot = { desired, running, pendingSinceMs: null }
    return planCapacity({ ...look, emptySinceMs, spot, onDemand: idle, restReason: null }, nowMs, policy).spot
  }
}

/** What the planner is measured against: as many as the backlog needs at the moment. */
const needOnly: Decide = ({ waiting }) => Math.ceil(waiting / (simulated.imagesPerSecond * 570))

/** Keeps the backlog per worker on target, as a target-tracking policy does, with a first worker from nothing. */
const targetTracking: Decide = ({ waiting, desired }) => {
  const target = simulated.imagesPerSecond * 900
  const wanted = Math.ceil(waiting / target)
  return waiting === 0 ? Math.max(0, desired - 1) : Math.max(1, wanted, desired - 1)
}

describe('over a whole load', () => {
  // The better figure of three strategies in a simulation of the same kind, hours of GPU and minutes of the oldest image.
  const best: Record<string, [number, number]> = {
    '100k at once': [12.8, 35],
    '1 a second for 2 h': [2.3, 7.2],
    'a single image': [0.4, 7.2],
    '20k each 30 min, four times': [17.1, 17.2],
  }
  test.each(Object.entries(loads))('%s', (name, load) => {
    const total = [...load.values()].reduce((sum, images) => sum + images, 0)
    const result = simulate(load, planner())
    const [gpuHours, worstAgeMinutes] = best[name]!
    expect(result.labelled).toBe(total)
    expect(result.gpuHours).toBeLessThanOrEqual(gpuHours * 1.1)
    expect(result.worstAgeMinutes).toBeLessThanOrEqual(worstAgeMinutes * 1.1)
    const others = [needOnly, targetTracking].map((decide) => simulate(load, decide))
    for (const other of others) expect(other.labelled).toBe(total)
    // Nobody else is better on both.
    for (const other of others)
      expect(other.gpuHours >= result.gpuHours / 1.1 || other.worstAgeMinutes >= result.worstAgeMinutes).toBe(
        true,
      )
  })

  test('never swings: capacity changes once up and once down for each burst at most', () => {
    for (const load of Object.values(loads))
      expect(simulate(load, planner()).changes).toBeLessThanOrEqual(2 * Math.min(load.size, 4) + 2)
  })
})
