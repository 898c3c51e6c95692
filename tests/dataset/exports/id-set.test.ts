// Numbers that were seen, a bit each.
import { expect, it } from 'vitest'
import { IdSet, isId } from '../../../dataset/exports/core/id-set.ts'

it('tells of every id whether it was there, whatever its size and order', () => {
  const set = new IdSet()
  const ids = [0, 7, 8, 65_535, 65_536, 1_000_000, 2 ** 40, Number.MAX_SAFE_INTEGER, 3]
  expect(ids.map((id) => set.has(id))).toEqual(ids.map(() => false))
  expect(ids.map((id) => set.add(id))).toEqual(ids.map(() => true))
  expect(ids.map((id) => set.add(id))).toEqual(ids.map(() => false))
  expect([1, 6, 9, 65_534, 65_537, 2 ** 40 + 1].map((id) => set.has(id))).not.toContain(true)
})

it.each([-1, 0.5, Number.NaN, 2 ** 53, '1', null, undefined])('%s is no id, and is in no set', (value) => {
  expect(isId(value)).toBe(false)
  expect(new IdSet().has(Number(value === '1' ? Number.NaN : (value ?? Number.NaN)))).toBe(false)
})

it('stops at ids that are spread so far that bits would fill the memory', () => {
  const set = new IdSet()
  expect(() => {
    for (let id = 0; ; id += 65_536) set.add(id)
  }).toThrow(/number them so/)
})
