// Embedded metrics: the specification's own example, its limits, and what a worker's events become.
import { expect, test } from 'vitest'
import { type EmfDocument, encodeEmf } from '../../dataset/emf.ts'
import { openMetrics } from '../../gpu-worker/cloud/metrics.ts'
import { InvariantError } from '../../schemas/errors.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { someRecord } from '../helpers/records.ts'
import { seededRandom } from '../helpers/seeded-random.ts'
import { openTestWorld } from '../helpers/test-worker.ts'

const example: EmfDocument = {
  namespace: 'lambda-function-metrics',
  timestampMs: 1574109732004,
  dimensions: { functionVersion: '$LATEST' },
  dimensionSets: [['functionVersion']],
  metrics: [{ name: 'time', unit: 'Milliseconds', value: 100 }],
  properties: { requestId: '989ffbf8-9ace-4817-a57c-e4dd734019ee' },
}

test('writes the example of the specification', () => {
  expect(JSON.parse(encodeEmf(example))).toEqual({
    _aws: {
      Timestamp: 1574109732004,
      CloudWatchMetrics: [
        {
          Namespace: 'lambda-function-metrics',
          Dimensions: [['functionVersion']],
          Metrics: [{ Name: 'time', Unit: 'Milliseconds' }],
        },
      ],
    },
    functionVersion: '$LATEST',
    time: 100,
    requestId: '989ffbf8-9ace-4817-a57c-e4dd734019ee',
  })
})

const many = (length: number) => Array.from({ length }, () => 1)

test.each<[string, Partial<EmfDocument>]>([
  ['no metric', { metrics: [] }],
  ['a value that is none', { metrics: [{ name: 'a', unit: 'Count', value: Number.NaN }] }],
  ['no values', { metrics: [{ name: 'a', unit: 'Count', value: [] }] }],
  ['101 values', { metrics: [{ name: 'a', unit: 'Count', value: many(101) }] }],
  ['101 metrics', { metrics: many(101).map((value, n) => ({ name: `m${n}`, unit: 'Count', value })) }],
  ['a name twice', { properties: { time: 5 } }],
  ['a field named as its own', { properties: { _aws: 5 } }],
  ['a dimension without a value', { dimensionSets: [['pool']] }],
  ['a line that is too long', { properties: { text: 'é'.repeat(200_000) } }],
])('refuses %s, which CloudWatch would drop in silence', (_name, change) => {
  expect(() => encodeEmf({ ...example, ...change })).toThrow(InvariantError)
})

type Line = Record<string, unknown> & {
  _aws: { CloudWatchMetrics: { Dimensions: string[][]; Metrics: { Name: string; Unit: string }[] }[] }
}

const linesOf = (metrics: ReturnType<typeof openMetrics>) =>
  metrics.take(5).map((line) => JSON.parse(line) as Line)

const open = () => openMetrics({ pool: 'spot', model: 'm', random: seededRandom(3) })

function imageEvent(records: LabelRecord[], runId = 'r1') {
  return {
    kind: 'image' as const,
    runId,
    records,
    forwards: 0,
    statuses: records.map(({ status }) => status),
    coalesced: records.length === 0,
  }
}

test('sums an interval by run, with the run as a property and never as a dimension', () => {
  const metrics = open()
  const ok = someRecord({ key: 'a' })
  const failed = {
    ...ok,
    status: 'failed' as const,
    output: null,
    error: { code: 'image-corrupt' as const, message: 'x' },
  }
  metrics.event(imageEvent([ok, failed]))
  metrics.event(imageEvent([ok]))
  metrics.event(imageEvent([]))
  metrics.event({ kind: 'part', runId: 'r1', key: 'parts/…', records: 3 })
  metrics.event(imageEvent([ok], 'r2'))
  metrics.event({ kind: 'lease-lost', messageId: 'm', heldMs: 1 })
  const lines = linesOf(metrics)
  const [first, byClass, second, none] = lines
  expect(first).toMatchObject({
    service: 'gpu-worker',
    pool: 'spot',
    model: 'm',
    runId: 'r1',
    ImagesLabelled: 2,
    RecordsWritten: 3,
    FailedRecords: 1,
    DuplicatesCoalesced: 1,
    TokensOut: 3 * ok.usage.outputTokens,
    BatchSize: [3],
    FetchMs: [ok.timing.fetchMs, ok.timing.fetchMs],
  })
  expect(byClass).toMatchObject({ class: 'image-corrupt', FailedRecords: 1 })
  expect(second).toMatchObject({ runId: 'r2', ImagesLabelled: 1 })
  expect(none).toMatchObject({ LeaseLost: 1 })
  expect(none).not.toHaveProperty('runId')
  const sets = lines.map((line) => line._aws.CloudWatchMetrics[0]!.Dimensions)
  const both = [
    ['service', 'pool'],
    ['service', 'pool', 'model'],
  ]
  expect(sets).toEqual([both, [['service', 'pool', 'class']], both, both])
  expect(linesOf(metrics)).toEqual([])
})

test('keeps an even sample of a distribution that is larger than a line', () => {
  const metrics = open()
  for (let value = 0; value < 20_000; value += 1) metrics.observe('InferMs', value)
  const [line] = linesOf(metrics)
  const values = line!['InferMs'] as number[]
  expect(values).toHaveLength(100)
  // The mean of 100 even draws is within four standard errors (577) of the middle.
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  expect(Math.abs(mean - 10_000)).toBeLessThan(4 * 577)
})

test('counts what a worker really did, images that come twice and images that fail', async () => {
  const world = await openTestWorld({ tasks: ['caption', 'qa'] })
  const images = await world.upload(20)
  await world.bucket.putIfAbsent('broken.png', Buffer.from('no image'))
  await world.send([...images, { bucket: 'photos', key: 'broken.png' }], 3)
  await world.send(images.slice(0, 5), 1)
  const metrics = open()
  const worker = world.start({ onEvent: (event) => metrics.event(event) })
  await worker.end()
  const records = await world.sealed()
  const [line, byClass] = linesOf(metrics)
  expect(line).toMatchObject({
    ImagesLabelled: 21,
    RecordsWritten: 42,
    FailedRecords: 2,
    DuplicatesCoalesced: 5,
    TokensOut: records.reduce((sum, { usage }) => sum + usage.outputTokens, 0),
  })
  expect(byClass).toMatchObject({ class: 'image-format-unsupported', FailedRecords: 2 })
})
