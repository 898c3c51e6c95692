// Conditions of --where: what they take, and what is said about wrong ones.
import { expect, test } from 'vitest'
import { parseWhere } from '../../../dataset/exports/core/where.ts'
import { UserError } from '../../../schemas/errors.ts'
import { LabelRecord } from '../../../schemas/label-record.ts'
import { someRecord } from '../../helpers/records.ts'

const record = LabelRecord.parse({
  ...someRecord({ key: 'a/b.jpg', task: 'qa' }),
  output: { turns: [{ question: 'Is it red?', answer: 'Yes, red.', kind: 'asked' }] },
  checks: [{ name: 'region-cycle', pass: true, score: 0.5, evidence: '' }],
  meta: { site: 'north pole', year: 2024 },
})

test.each([
  ['task=qa', true],
  ['task = "qa"', true],
  ['task!=qa', false],
  ['task=qa and checks.region-cycle>=0.5', true],
  ['task=qa and checks.region-cycle>0.5', false],
  ['checks.region-cycle.pass=true', true],
  ['checks.unknown>=0', false],
  ['not checks.unknown>=0', true],
  ['task=caption or status=ok', true],
  ['task=caption or status=ok and key~zebra', false],
  ['(task=caption or status=ok) and key~A/B', true],
  ["meta.site='north pole' AND meta.year<2025", true],
  ['length=9', true],
  ['text~"yes, RED"', true],
  ['width<=1 and not not height=1', true],
  ['createdAt<2027-01-01', true],
])('%s is %s', (condition, expected) => {
  expect(parseWhere(condition)(record)).toBe(expected)
})

test.each([
  ['', /has the end at character 1; expected a field/],
  ['colour=red', /"colour" at character 1; expected a field: key, task/],
  ['task qa', /"qa" at character 6; expected one of >=/],
  ['task=', /the end at character 6; expected a value/],
  ['task=qa status=ok', /"status" at character 9; expected "and", "or" or the end/],
  ['(task=qa', /the end at character 9; expected "and", "or" or "\)"/],
  ['length>long', /"long" at character 8; expected a number after >/],
  ["task='qa", /"'" at character 6/],
  [`${'('.repeat(101)}task=qa`, /deeper than 100/],
  ['a'.repeat(10_001), /10001 characters/],
])('refuses %s', (condition, message) => {
  expect(() => parseWhere(condition)).toThrow(UserError)
  expect(() => parseWhere(condition)).toThrow(message)
})
