// Agreement of answers: words by words, boxes by overlap.
import { expect, test } from 'vitest'
import { agreementOf } from '../../../dataset/checks/self-consistency.ts'

test.each([
  // As the shipped model draws them at a temperature of 0.7: the digits differ, the boxes are one.
  ['An owl [[127,237,401,551]].', 'An owl [[126,235,400,554]].', 1],
  ['[[476,595,648,933]]', '[[477,590,650,927]]', 1],
  ['[[476,595,648,933]]', '[[000,000,100,100]]', 0],
  ['A dog.', 'A cat.', 0.5],
  // Words agree by 4 of 6, boxes by 2 of 3.
  ['A dog [[0,0,100,100]].', 'A dog [[0,0,100,100]] and a [[500,500,600,600]]', 2 / 3],
  ['', '', 1],
])('%j and %j agree by %f', (left, right, agreement) => {
  expect(agreementOf(left, right)).toBeCloseTo(agreement, 6)
  expect(agreementOf(right, left)).toBeCloseTo(agreement, 6)
})
