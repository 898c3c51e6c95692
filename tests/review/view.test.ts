// Which records a query walks through, what a sample is, and how sure its share is.
import { expect, it } from 'vitest'
import type { IndexedImage, IndexedRecord } from '../../review/index-entry.ts'
import { wilson } from '../../review/interval.ts'
import { audit, makeView, ViewQuery } from '../../review/view.ts'
import type { Verdict } from '../../schemas/verdict.ts'

function record(id: string, change: Partial<IndexedRecord> = {}): IndexedRecord {
  return {
    recordId: id,
    task: 'caption',
    ordinal: 0,
    status: 'ok',
    code: null,
    checks: [],
    text: 'a dog',
    chars: 5,
    boxes: 0,
    digest: '',
    at: 0,
    bytes: 0,
    ...change,
  }
}

function image(key: string, records: IndexedRecord[], change: Partial<IndexedImage> = {}): IndexedImage {
  return {
    key,
    uri: `file:///${key}`,
    sha256: key,
    mime: 'image/png',
    perceptualHash: null,
    width: 1,
    height: 1,
    orientation: 1,
    group: 0,
    groupSize: 1,
    ...change,
    records,
  }
}

const check = (name: string, score: number | null, pass = true) => ({ name, pass, score })
const images = [
  image('a', [
    record('a0'),
    record('a1', { task: 'qa', text: 'how many? three cats', chars: 20, checks: [check('cycle', 0.9)] }),
  ]),
  image(
    'b',
    [
      record('b0', { status: 'failed', text: '', chars: 0 }),
      record('b1', { task: 'qa', checks: [check('cycle', 0.2, false), check('yes-no', 0.5)] }),
    ],
    { groupSize: 2, group: 1 },
  ),
  image('c', [record('c0', { chars: 90, boxes: 4, checks: [check('yes-no', null)] })], {
    groupSize: 2,
    group: 1,
  }),
]
const verdict = (recordId: string, kind: Verdict['verdict']): [string, Verdict] => [
  recordId,
  { v: 1, recordId, verdict: kind, who: 'ada', at: '2026-01-01T00:00:00.000Z' },
]
const context = {
  images,
  verdicts: new Map([verdict('a0', 'accept'), verdict('a1', 'withdraw'), verdict('b1', 'reject')]),
  wanted: null,
  differing: new Set(['c0']),
}
const idsOf = (query: Record<string, string>) =>
  makeView(ViewQuery.parse(query), context).items.flatMap((item) =>
    item.records.map((at) => images[item.image]!.records[at]!.recordId),
  )

it.each([
  [{}, 'a0 a1 b0 b1 c0'],
  [{ task: 'qa' }, 'a1 b1'],
  [{ status: 'failed' }, 'b0'],
  [{ text: ' Three CATS ' }, 'a1'],
  [{ verdict: 'none' }, 'a1 b0 c0'],
  [{ verdict: 'any' }, 'a0 b1'],
  [{ verdict: 'reject' }, 'b1'],
  [{ check: 'cycle' }, 'a1 b1'],
  [{ check: 'cycle', to: '0.5' }, 'b1'],
  [{ check: 'cycle', from: '0.5' }, 'a1'],
  [{ pass: 'no' }, 'b1'],
  [{ check: 'yes-no', from: '0' }, 'b1'],
  [{ near: '1' }, 'b0 b1 c0'],
  [{ differs: '1' }, 'c0'],
  [{ sort: 'score', check: 'cycle' }, 'b1 a1'],
  [{ sort: 'score' }, 'b0 b1 a0 a1 c0'],
  [{ sort: 'score-down', task: 'qa' }, 'a1 b1'],
  [{ sort: 'longest' }, 'c0 a0 a1 b0 b1'],
  [{ sort: 'shortest' }, 'b0 b1 a0 a1 c0'],
  [{ sort: 'boxes' }, 'c0 a0 a1 b0 b1'],
  [{ sort: 'near' }, 'b0 b1 c0 a0 a1'],
])('%j walks through %s', (query, ids) => {
  expect(idsOf(query).join(' ')).toBe(ids)
})

it('finds words in names of files, and in what people wrote instead of a label or about it', () => {
  const said: Verdict = {
    ...verdict('c0', 'edit')[1],
    output: { tags: ['Penguin', 'ice'] },
    comment: 'Not a Whale',
  }
  const judged = {
    ...context,
    images: [...images, image('zoo/Owl 7.png', [record('d0')])],
    verdicts: new Map([['c0', said]]),
  }
  const found = (text: string) =>
    makeView(ViewQuery.parse({ text }), judged).items.map(({ image: at }) => judged.images[at]!.key)
  expect([found('penguin'), found('a whale'), found('OWL 7'), found('nothing')]).toEqual([
    ['c'],
    ['c'],
    ['zoo/Owl 7.png'],
    [],
  ])
})

it('draws the same sample again, another one for another seed, and all when there are fewer', () => {
  const many = Array.from({ length: 200 }, (_, n) => image(`i${n}`, [record(`r${n}`)]))
  const draw = (seed: string, sample = '20') =>
    makeView(ViewQuery.parse({ sample, seed }), { ...context, images: many }).items.map((item) => item.image)
  expect(draw('1')).toEqual(draw('1'))
  expect(draw('1')).toHaveLength(20)
  expect(draw('2')).not.toEqual(draw('1'))
  expect(draw('1', '500')).toHaveLength(200)
  // Drawn by seed and id, so more of them hold the fewer.
  expect(draw('1', '40')).toEqual(expect.arrayContaining(draw('1')))
})

it('counts verdicts of the walk; withdrawn ones are none', () => {
  const view = makeView(ViewQuery.parse({}), context)
  expect(audit(view, context)).toMatchObject({ records: 5, judged: 2, accepted: 1, edited: 0, rejected: 1 })
})

// As R's prop.test(x, n, correct = FALSE) has them.
it.each([
  [0, 0, { low: 0, high: 1 }],
  [0, 10, { low: 0, high: 0.2775328 }],
  [10, 10, { low: 0.7224672, high: 1 }],
  [5, 10, { low: 0.2365931, high: 0.7634069 }],
  [45, 50, { low: 0.7863973, high: 0.956524 }],
  [900, 1000, { low: 0.8798378, high: 0.9170908 }],
])('of %d hits among %d the interval is %j', (hits, count, { low, high }) => {
  const found = wilson(hits, count)
  expect(found.low).toBeCloseTo(low, 4)
  expect(found.high).toBeCloseTo(high, 4)
})
