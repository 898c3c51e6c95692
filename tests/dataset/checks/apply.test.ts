// Which gates look at a label, and how they count the words of any script.
import { expect, test } from 'vitest'
import { applyChecks } from '../../../dataset/checks/apply.ts'
import { wordsOf } from '../../../dataset/checks/said.ts'
import { TextMemory } from '../../../dataset/checks/text-memory.ts'
import type { CheckSetting } from '../../../schemas/check-setting.ts'
import { someRecord } from '../../helpers/records.ts'

/** The statuses that records of one word get. */
function statuses(tasks: readonly string[], settings: readonly CheckSetting[]): string[] {
  const records = tasks.map((task) => someRecord({ key: 'a', task, text: 'dog' }))
  const context = { texts: new TextMemory(), thingsIn: () => [] }
  return applyChecks(records, settings, context).map(({ status }) => status)
}

const length = { name: 'length', action: 'filter' } as const

test('what is said of one task stands before what is said of all', () => {
  const note: CheckSetting = { name: 'length', action: 'note', tasks: ['caption'] }
  expect(statuses(['caption', 'other'], [length, note])).toEqual(['ok', 'filtered'])
})

test('a share that is set for one task leaves the rest of its images to nobody else', () => {
  const few: CheckSetting = { ...length, tasks: ['caption'], share: 1e-9 }
  expect(statuses(['caption', 'other'], [length, few])).toEqual(['ok', 'filtered'])
})

test.each([
  ['一只狗坐在草地上。', 5],
  ['犬が芝生の上に座っている', 9],
  ['สุนัขนั่งอยู่บนหญ้า', 5],
  ['कुत्ता घास पर बैठा है', 5],
  ["A dog's well-known cafe\u0301", 4],
  ['… 🐶', 0],
])('%j has %i words', (text, count) => {
  expect(wordsOf(text)).toHaveLength(count)
})
