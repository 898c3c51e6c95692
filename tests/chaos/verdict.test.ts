// The judge of storms is itself judged: each kind of damage to a good set of records is seen.
import { expect, test } from 'vitest'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { someRecord } from '../helpers/records.ts'
import { findLosses, judge } from './verdict.ts'

const keys = ['a', 'b', 'bad']
// Records of helpers/records.ts are about images whose bytes are their key.
const expected = {
  images: new Map(keys.map((key) => [key, Buffer.from(key)])),
  corrupt: new Set(['bad']),
  tasks: ['caption'],
}
const named = { code: 'image-truncated' as const, message: 'it ends in the middle' }
const good = (): LabelRecord[] => [
  someRecord({ key: 'a' }),
  someRecord({ key: 'b' }),
  { ...someRecord({ key: 'bad', status: 'failed' }), error: named },
]

test.each<[string, (records: LabelRecord[]) => LabelRecord[], RegExp | null]>([
  ['nothing', (records) => records, null],
  ['a record missing', (records) => records.slice(1), /^a has 0 records/],
  ['a record twice', (records) => [...records, records[0]!], /1 sealed ids stand twice/],
  ['an image twice', (records) => [...records, someRecord({ key: 'a', id: 'other' })], /^a has 2 records/],
  [
    'a record of another task in its place',
    ([a, ...rest]) => [{ ...a!, task: 'qa' }, ...rest],
    /^a has 1 records: qa/,
  ],
  ['an image nobody sent', (records) => [...records, someRecord({ key: 'c' })], /c was never uploaded/],
  [
    'a record of other bytes',
    ([a, ...rest]) => [{ ...a!, source: { ...a!.source, sha256: '0'.repeat(64) } }, ...rest],
    /other bytes/,
  ],
  [
    'a good image that failed',
    ([, ...rest]) => [someRecord({ key: 'a', status: 'failed' }), ...rest],
    /a: it is failed/,
  ],
  [
    'a broken image that did not fail',
    ([a, b]) => [a!, b!, someRecord({ key: 'bad' })],
    /bad: it cannot be decoded/,
  ],
  [
    'a failure without its name',
    ([a, b]) => [a!, b!, someRecord({ key: 'bad', status: 'failed' })],
    /its failure is not named/,
  ],
])('sees %s', (_name, damage, sentence) => {
  const violations = judge(damage(good()), expected)
  if (sentence === null) expect(violations).toEqual([])
  else expect(violations.join('\n')).toMatch(new RegExp(sentence.source, 'm'))
})

test('sees a sealed record that is gone', () => {
  const before = new Set(good().map(({ recordId }) => recordId))
  expect(findLosses(good(), before)).toEqual([])
  expect(findLosses(good().slice(1), before)).toEqual([expect.stringContaining('1 sealed records are gone')])
})
