// What questions give away: hand-worked cases.
import { expect, test } from 'vitest'
import { answerSpelling, measureGivenAway } from '../../../dataset/metrics/given-away.ts'

const ask = (kind: string, question: string, ...answers: string[]) =>
  answers.map((answer) => ({ kind, question, answer }))

test('an answer that follows from the words of the question is given away, however chance stands', () => {
  // Commonest of the kind: "red" or "yellow", 10 of 20. By words: every banana but itself is yellow, so all are right.
  const asked = [
    ...ask('colour', 'What colour is the apple?', ...Array.from({ length: 10 }, () => 'Red.')),
    ...ask('colour', 'What colour is the banana?', ...Array.from({ length: 10 }, () => 'yellow')),
  ]
  expect(measureGivenAway(asked)).toEqual([
    { kind: 'colour', questions: 20, chance: 0.5, byWords: 1, blind: null, isGivenAway: true },
  ])
})

test('what the image alone tells is not, also where one answer is much commoner', () => {
  // 8 of 10 are "one". Left out in turn, the others of the same question still say "one": 8 of 10 are right.
  const answers = ['one', 'two', 'One.', 'one', 'one', 'three', 'one', 'one', 'one', 'one']
  expect(measureGivenAway(ask('count', 'How many are there?', ...answers))).toEqual([
    { kind: 'count', questions: 10, chance: 0.8, byWords: 0.8, blind: null, isGivenAway: false },
  ])
})

test('a question that is asked once is met with what is usual for its kind', () => {
  const asked = [...ask('a', 'x', 'yes'), ...ask('a', 'y', 'yes'), ...ask('a', 'z', 'no')]
  expect(measureGivenAway(asked)).toMatchObject([{ chance: 2 / 3, byWords: 2 / 3 }])
})

test('what the model says without the image counts where it was asked', () => {
  // Four answers, each once: chance 1 of 4 with an error of sqrt(1/4 * 3/4 / 4) = 0.217. Blind: 3 of 4, by 0.5 > 0.433.
  const asked = ['left', 'right', 'top', 'bottom'].map((answer, at) => ({
    kind: 'where',
    question: `Where is ${at}?`,
    answer,
    blind: at === 3 ? 'left' : `${answer}.`,
  }))
  expect(measureGivenAway(asked)).toMatchObject([
    { chance: 0.25, byWords: 0.25, blind: 0.75, isGivenAway: true },
  ])
  const some = asked.map(({ blind, ...one }, at) => (at === 0 ? { ...one, blind } : one))
  // Of one question that was asked blind, with an error of 0.433: 1 - 0.25 = 0.75 is less than two of them.
  expect(measureGivenAway(some)).toMatchObject([{ blind: 1, isGivenAway: false }])
})

test('kinds are apart, order does not matter, and no questions are no rows', () => {
  const asked = [...ask('a', 'x', 'yes', 'no'), ...ask('b', 'x', 'no', 'no')]
  expect(measureGivenAway(asked)).toEqual(measureGivenAway(asked.toReversed()).toReversed())
  expect(measureGivenAway(asked).map(({ kind, chance }) => [kind, chance])).toEqual([
    ['a', 0.5],
    ['b', 1],
  ])
  expect(measureGivenAway([])).toEqual([])
  expect(answerSpelling(' In the “top-left”. ')).toBe('in the top left')
})
