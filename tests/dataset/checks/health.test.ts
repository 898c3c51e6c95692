// The health of a run while it runs: rates over the last records, and when they trip.
import { expect, test } from 'vitest'
import { defaultHealthLimits, HealthMonitor, worrying } from '../../../dataset/checks/health.ts'
import type { HealthLimits } from '../../../schemas/health.ts'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import { someRecord } from '../../helpers/records.ts'

const limits: HealthLimits = { ...defaultHealthLimits, window: 100 }

function record(
  n: number,
  { fault, text = 'a dog on a lawn' }: { fault?: string | undefined; text?: string } = {},
): LabelRecord {
  const names = ['repetition-loop', 'stock-opening', 'refusal', 'near-duplicate', 'box-sanity']
  const checks = names.map((name) => ({ name, pass: name !== fault, score: 0, evidence: '' }))
  return { ...someRecord({ key: `${n}`, text }), checks }
}

/** A run in which every `every`-th record has the fault; returns after how many it tripped, or null. */
function runUntilTrip(fault: string, every: number): { after: number | null; why: string | null } {
  const monitor = new HealthMonitor(limits)
  for (let n = 1; n <= 1000; n += 1) {
    const { tripped } = monitor.add([record(n, { fault: n % every === 0 ? fault : undefined })])
    if (tripped !== null) return { after: n, why: tripped }
  }
  return { after: null, why: null }
}

test.each([
  ['repetition-loop', 10, /^loops 10\.0 % over the last 100 records; the limit is 5\.0 %$/],
  ['refusal', 20, /^refusals 5\.0 %/],
  ['near-duplicate', 20, /^duplicates 5\.0 %/],
  ['box-sanity', 4, /^bad-boxes 25\.0 %/],
])('%s in every %ith record trips once the window is full', (fault, every, why) => {
  expect(runUntilTrip(fault, every)).toEqual({ after: 100, why: expect.stringMatching(why) })
})

test.each([
  ['repetition-loop', 25],
  ['refusal', 100],
  // Two of a hundred are over the limit, but may be chance.
  ['near-duplicate', 50],
  ['box-sanity', 6],
  // A habit of whole models ("The image showcases …" of CogVLM), which can be taken off afterwards.
  ['stock-opening', 1],
])('%s in every %ith record does not trip', (fault, every) => {
  expect(runUntilTrip(fault, every).after).toBeNull()
})

test('stock openings trip where a limit says so, and are told in any case', () => {
  const strict = new HealthMonitor({ ...limits, most: { ...limits.most, 'stock-openings': 0.8 } })
  const records = Array.from({ length: 100 }, (_, n) => record(n, { fault: 'stock-opening' }))
  expect(strict.add(records).tripped).toMatch(/^stock-openings 100\.0 % .* the limit is 80\.0 %/)
  expect(worrying(new HealthMonitor(limits).add(records), limits)).toEqual(['stock-openings 100.0 %'])
})

test('trips when captions become more than twice as long or short, and on the task that did', () => {
  const monitor = new HealthMonitor(limits)
  for (let n = 0; n < 100; n += 1) monitor.add([record(n)])
  expect(monitor.report()).toMatchObject({ records: 100, tripped: null, rates: { 'length-drift': 1 } })
  // From 5 words to 15: the mean has doubled after 51 of the hundred.
  const long = 'a dog on a lawn beside a house with a red roof and a cat'
  const reports = Array.from({ length: 100 }, (_, n) => monitor.add([record(n, { text: long })]))
  expect(reports.findIndex(({ tripped }) => tripped !== null)).toBe(50)
  expect(reports.at(-1)?.tripped).toMatch(/^captions 2\.\d times as long or short/)
})

test('counts what was drawn again among the loops, and failed records not at all', () => {
  const monitor = new HealthMonitor(limits)
  const again = { ...record(1), repairs: ['asked again 2 times, since the answer repeated itself'] }
  monitor.add([again, record(2), someRecord({ key: '3', status: 'failed' })])
  expect(monitor.report()).toMatchObject({ records: 2, rates: { 'loops': 0.5, 'bad-boxes': 0 } })
})

test('worries half way to a limit', () => {
  const monitor = new HealthMonitor(limits)
  for (let n = 1; n <= 100; n += 1)
    monitor.add([record(n, { fault: n % 25 === 0 ? 'repetition-loop' : undefined })])
  expect(worrying(monitor.report(), limits)).toEqual(['loops 4.0 %'])
})

test('of what no check looked at there is no rate', () => {
  const monitor = new HealthMonitor(limits)
  monitor.add([someRecord({ key: 'a' })])
  expect(Object.values(monitor.report().rates)).toEqual([null, null, null, null, null, null])
})
