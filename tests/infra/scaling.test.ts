// Capacity over whole loads as the synthesized stacks give it: how late, how dear, how often it changes.
import { expect, test } from 'vitest'
import { loads, simulated } from '../helpers/scaling-simulation.ts'
import { simulateCloud } from './cloud-simulation.ts'
import { model, synthesize } from './synthesized.ts'

const synthesized = synthesize({ fleets: [{ model, imagesPerSecond: simulated.imagesPerSecond }] })
const totalOf = (load: ReadonlyMap<number, number>) => [...load.values()].reduce((sum, n) => sum + n, 0)

// The better figure of three strategies in a simulation of the same kind: hours of GPU, and minutes of the oldest image.
const best: Readonly<Record<string, readonly [gpuHours: number, worstAgeMinutes: number]>> = {
  '100k at once': [12.8, 35],
  '1 a second for 2 h': [2.3, 7.2],
  'a single image': [0.4, 7.2],
  '20k each 30 min, four times': [17.1, 17.2],
}

test.each(Object.entries(loads))('%s: close to the best known, without churn', async (name, arrivals) => {
  const outcome = await simulateCloud(synthesized, { arrivals })
  const [gpuHours, worstAgeMinutes] = best[name]!
  expect(outcome.labelled).toBe(totalOf(arrivals))
  expect(outcome.gpuHours).toBeLessThanOrEqual(gpuHours * 1.1)
  expect(outcome.worstAgeMinutes).toBeLessThanOrEqual(worstAgeMinutes * 1.1)
  expect(outcome.onDemandHours).toBe(0)
  // Up for each burst, and down to nothing once it is over: never down while there is work.
  const downs = outcome.changes.filter(({ to }, n) => to < (outcome.changes[n - 1]?.to ?? 0))
  expect(downs.every(({ to }) => to === 0)).toBe(true)
  expect(outcome.changes.length).toBeLessThanOrEqual(2 * Math.min(arrivals.size, 4))
})

const burst = new Map([[1, 20_000]])

test('all spot instances taken away at once cost their boot, and no image', async () => {
  const calm = await simulateCloud(synthesized, { arrivals: burst })
  const stormy = await simulateCloud(synthesized, { arrivals: burst, spotGoes: [700] })
  expect(stormy.labelled).toBe(20_000)
  expect(stormy.worstAgeMinutes - calm.worstAgeMinutes).toBeLessThanOrEqual(
    (simulated.bootSeconds + simulated.lookEverySeconds) / 60,
  )
  for (const { changes } of [calm, stormy]) expect(changes.map(({ to }) => to)).toEqual([9, 0])
})

test('where spot does not come, workers on demand do the work, and go when they have', async () => {
  const outcome = await simulateCloud(synthesized, { arrivals: burst, spotComes: () => false })
  expect(outcome.labelled).toBe(20_000)
  expect(outcome.changes.filter(({ pool }) => pool === 'onDemand').map(({ to }) => to)).toEqual([4, 0])
  expect(outcome.onDemandHours).toBe(outcome.gpuHours)
  // Four in the place of nine, from when the objective is missed.
  expect(outcome.worstAgeMinutes).toBeLessThanOrEqual(45)
})

test('workers on demand go as soon as spot has come', async () => {
  const outcome = await simulateCloud(synthesized, {
    arrivals: new Map([[1, 60_000]]),
    spotComes: (at) => at > 2400,
  })
  const [up, down] = outcome.changes.filter(({ pool }) => pool === 'onDemand')
  expect([up?.to, down?.to]).toEqual([4, 0])
  expect(down!.atSeconds).toBeLessThan(2400 + simulated.bootSeconds + 3 * simulated.lookEverySeconds)
  expect(outcome.labelled).toBe(60_000)
})

test('a scaler that says nothing for ten minutes leaves capacity as it is', async () => {
  const isSilent = (at: number) => at > 600 && at <= 1200
  const outcome = await simulateCloud(synthesized, { arrivals: burst, isSilent })
  expect(outcome.labelled).toBe(20_000)
  expect(outcome.changes.filter(({ atSeconds }) => atSeconds > 660 && atSeconds <= 1200)).toEqual([])
})
