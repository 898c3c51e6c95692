// The cost of the cloud on hand-worked cases, and how a run compares with its plan.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { instancesOf } from '../../cli/prices.ts'
import { type CloudWork, endpointsPerZone, fixedCosts, planCost } from '../../dataset/cost.ts'
import { comparePlan } from '../../dataset/run-estimate.ts'
import type { Estimate } from '../../schemas/estimate.ts'
import { holdsModel } from '../../schemas/instance-memory.ts'
import { Prices } from '../../schemas/prices.ts'

const text = readFileSync(new URL('../../schemas/prices/aws.json', import.meta.url), 'utf8')
const prices = Prices.parse(JSON.parse(text))
const { services } = prices

const exactly = (value: number) => ({ low: value, mid: value, high: value })
const million: CloudWork = {
  images: 1_000_000,
  imagesPerSecond: exactly(4),
  maxWorkers: 16,
  compute: 'instances',
  isUpload: false,
  hasClaims: false,
}

function instance(region: string, type: string) {
  const found = instancesOf(prices, region).find((one) => one.type === type)
  if (found === undefined) throw new Error(`no ${type} in ${region}`)
  return found
}

describe('a million images at 4 a second on g6e.xlarge', () => {
  const { workers, durationMs, workerHours, usd, parts } = planCost(
    million,
    instance('us-east-2', 'g6e.xlarge'),
    services,
  )

  test('takes the hours that arithmetic says', () => {
    // 1e6 / 4 / 3600 = 69.4 h; at 85 % 81.7 h, and 3 % of it twice; 16 boots of 330 s with tails of 900 s are 5.47 h.
    const bootHours = (16 * 1230) / 3600
    expect(workers).toBe(16)
    expect(workerHours.mid - bootHours).toBeCloseTo(81.7 * 1.03, 1)
    expect(workerHours.low - bootHours).toBeCloseTo(69.44 / 0.95, 1)
    expect(workerHours.high - 2 * bootHours).toBeCloseTo((69.44 / 0.7) * 1.1, 1)
    expect(durationMs.mid).toBeCloseTo((330 + ((81.7 * 1.03) / 16) * 3600) * 1000, -4)
  })

  test('costs what the hours cost, between spot and on demand', () => {
    const volumeHour = (64 * 0.08) / 730
    expect(parts.labelling.low).toBeCloseTo((69.44 / 0.95) * (0.526 + volumeHour), 1)
    expect(parts.labelling.mid).toBeCloseTo(81.7 * 1.03 * (0.536 + volumeHour), 1)
    expect(parts.labelling.high).toBeCloseTo((69.44 / 0.7) * 1.1 * (1.861 + volumeHour), 0)
    expect(usd.mid).toBeCloseTo(parts.labelling.mid + parts.bootsAndTails.mid + parts.requests.mid, 6)
  })

  test('asks services for little but thumbnails', () => {
    // A PUT a thumbnail: $5; a GET an image: $0.40; parts of 128: $0.04.
    expect(parts.requests.mid).toBeGreaterThan(5.4)
    expect(parts.requests.mid).toBeLessThan(5.6)
    const claimed = planCost({ ...million, hasClaims: true }, instance('us-east-2', 'g6e.xlarge'), services)
    // Two PUT and two GET more.
    expect(claimed.parts.requests.mid - parts.requests.mid).toBeCloseTo(10.8, 1)
    const uploaded = planCost({ ...million, isUpload: true }, instance('us-east-2', 'g6e.xlarge'), services)
    expect(uploaded.parts.requests.mid - parts.requests.mid).toBeCloseTo(5, 1)
  })
})

test('few images need one worker, and its boot and tail are what they cost', () => {
  const { workers, parts } = planCost(
    { ...million, images: 10 },
    instance('us-east-1', 'g6.xlarge'),
    services,
  )
  expect(workers).toBe(1)
  expect(parts.bootsAndTails.mid).toBeGreaterThan(100 * parts.labelling.mid)
})

test('managed instances have the shorter tail', () => {
  const on = (compute: CloudWork['compute']) =>
    planCost({ ...million, compute }, instance('us-east-1', 'g6.xlarge'), services).parts.bootsAndTails.mid
  expect(on('managed-instances') / on('instances')).toBeCloseTo(630 / 1230, 6)
})

test('a measured interval becomes the best and the worst case', () => {
  const measured = { low: 2, mid: 4, high: 5 }
  const { workerHours } = planCost(
    { ...million, imagesPerSecond: measured },
    instance('us-east-1', 'g6.xlarge'),
    services,
  )
  expect(workerHours.high / workerHours.low).toBeGreaterThan((5 / 2) * (0.95 / 0.7))
})

test('a type whose on-demand price is not known in a region takes another region’s, with its date', () => {
  const ohio = instance('us-east-2', 'g6e.xlarge')
  expect(ohio.onDemandHour).toBe(1.861)
  expect(ohio.sources).toEqual(['skypilot', 'karpenter'])
})

test('an instance holds a model when its GPU and its own memory do', () => {
  const types = (bytes: number) =>
    instancesOf(prices, 'us-east-1')
      .filter((one) => holdsModel(one, bytes))
      .map(({ type }) => type)
  expect(types(11e9)).toContain('g6.xlarge')
  // Its GPU would do, its 16 GiB would not.
  expect(types(17.6e9)).toEqual(['g5.2xlarge', 'g6e.xlarge', 'g6e.2xlarge', 'g7e.2xlarge'])
  expect(types(35e9)).toEqual(['g6e.2xlarge', 'g7e.2xlarge'])
  expect(types(200e9)).toEqual([])
})

describe('an idle month', () => {
  test.each([
    ['endpoints', 1, endpointsPerZone * 7.3],
    ['endpoints', 2, endpointsPerZone * 14.6],
    ['nat', 2, 36.5],
    ['existing-vpc', 2, 0],
  ] as const)('of %s in %i zones costs %d for the network', (network, zones, usd) => {
    const [first] = fixedCosts({ network, zones, weightsBytes: 0 }, services)
    expect(first?.monthUsd).toBeCloseTo(usd, 6)
  })

  test('has the weights in it', () => {
    const costs = fixedCosts({ network: 'nat', zones: 2, weightsBytes: 20e9 }, services)
    expect(costs.find(({ what }) => what === 'weights in S3')?.monthUsd).toBeCloseTo(0.46, 6)
  })
})

describe('prices', () => {
  test('all name their source, and each source is used', () => {
    const { instances } = { instances: prices.regions.flatMap((region) => region.instances) }
    const used = [
      ...Object.values(services).map(({ source }) => source),
      ...instances.flatMap(({ sources }) => sources),
    ]
    expect(new Set(used)).toEqual(new Set(Object.keys(prices.sources)))
  })

  test('with a source that is not listed are refused', () => {
    const broken = {
      ...prices,
      services: { ...services, keyMonth: { ...services.keyMonth, source: 'hearsay' } },
    }
    expect(Prices.safeParse(broken).error?.issues[0]?.message).toContain('not listed')
  })
})

describe('a plan and what comes', () => {
  const estimate: Estimate = {
    v: 1,
    createdAt: '2026-11-26T00:00:00.000Z',
    images: 1000,
    recordsPerImage: 3,
    model: null,
    tasks: [],
    pilot: null,
    cloud: {
      region: 'us-east-1',
      instance: 'g6.xlarge',
      pricesAsOf: '2026-07-20',
      imagesPerSecond: 1,
      rateFrom: 'given',
      workers: 1,
      durationMs: exactly(1),
      workerHours: { low: 8, mid: 10, high: 14 },
      usd: { low: 4, mid: 5, high: 14 },
      fixedMonthUsd: 100,
    },
  }

  test.each([
    { verdict: 'within', images: 100, workerHours: 1, heading: 10 },
    { verdict: 'above', images: 100, workerHours: 2, heading: 20 },
    { verdict: 'below', images: 500, workerHours: 2, heading: 4 },
  ])('is $verdict the plan with $images images in $workerHours hours', (one) => {
    const { verdict, images, workerHours, heading } = one
    const found = comparePlan(estimate, { images, expectedImages: 1000, workerHours, usd: 0.5 })
    expect(found?.verdict).toBe(verdict)
    expect(found?.heading?.workerHours).toBeCloseTo(heading, 6)
  })

  test('of a run with fewer images is compared with its share', () => {
    const found = comparePlan(estimate, { images: 500, expectedImages: 500, workerHours: 5, usd: null })
    expect(found).toMatchObject({ planned: { images: 500, workerHours: { mid: 5 } }, verdict: 'within' })
  })

  test('says only what was planned while nothing is done, and nothing without a plan of the cloud', () => {
    const none = { images: 0, expectedImages: null, workerHours: null, usd: null }
    expect(comparePlan(estimate, none)).toMatchObject({ heading: null, verdict: null })
    expect(comparePlan({ ...estimate, cloud: null }, none)).toBeNull()
  })
})
