// The metrics of public benchmarks: against figures of their original code, and on cases worked by hand.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { anls } from '../../../dataset/metrics/anls.ts'
import { scoreChair } from '../../../dataset/metrics/chair.ts'
import { ciderD } from '../../../dataset/metrics/cider.ts'
import { openCocoVocabulary } from '../../../dataset/metrics/coco-things.ts'
import { scoreDetection } from '../../../dataset/metrics/detection.ts'
import { mmeTotals, readMmeAnswer, scoreMme } from '../../../dataset/metrics/mme.ts'
import { readChoice } from '../../../dataset/metrics/multiple-choice.ts'
import { scoreNocaps } from '../../../dataset/metrics/nocaps.ts'
import { readPopeAnswer, scorePope } from '../../../dataset/metrics/pope.ts'
import { ptbTokens } from '../../../dataset/metrics/ptb-tokens.ts'
import { scoreReferring } from '../../../dataset/metrics/referring.ts'
import { normaliseVqa, vqaAccuracy } from '../../../dataset/metrics/vqa.ts'
import type { Box } from '../../../schemas/task-output.ts'

/** Figures of the metrics' original code; see tests/golden/data. */
function golden<T>(name: string): T {
  return JSON.parse(
    readFileSync(new URL(`../../golden/data/metrics/${name}.json`, import.meta.url), 'utf8'),
  ) as T
}

describe('against the original code', () => {
  test('CIDEr-D, each caption and the set', () => {
    const { rows, corpus } = golden<{
      corpus: number
      rows: { candidate: string; references: string[]; ciderD: number }[]
    }>('cider-d')
    const words = (text: string) => text.split(' ').filter((word) => word !== '')
    const { each, mean } = ciderD(
      rows.map(({ candidate, references }) => ({
        candidate: words(candidate),
        references: references.map(words),
      })),
    )
    for (const [index, row] of rows.entries()) expect(each[index]).toBeCloseTo(row.ciderD, 9)
    expect(mean).toBeCloseTo(corpus, 9)
  })

  test('VQA accuracy, each answer and the set', () => {
    const { rows, overall } = golden<{
      overall: number
      rows: { answers: string[]; prediction: string; accuracy: number }[]
    }>('vqa')
    const said = rows.map(({ prediction, answers }) => vqaAccuracy(prediction, answers) * 100)
    for (const [index, row] of rows.entries())
      expect([row, said[index]?.toFixed(6)]).toEqual([row, row.accuracy.toFixed(6)])
    expect(said.reduce((sum, value) => sum + value, 0) / said.length).toBeCloseTo(overall, 6)
  })

  test('POPE, each answer as it is read and the totals', () => {
    const { rows, accuracy, precision, recall, f1, yesRatio } = golden<
      Record<'accuracy' | 'precision' | 'recall' | 'f1' | 'yesRatio', number> & {
        rows: { answer: string; label: 'yes' | 'no'; parsed: 'yes' | 'no' }[]
      }
    >('pope')
    for (const { answer, parsed } of rows) expect([answer, readPopeAnswer(answer)]).toEqual([answer, parsed])
    const score = scorePope(rows.map(({ answer, label }) => ({ said: answer, gold: label })))
    expect(score.accuracy).toBeCloseTo(accuracy, 9)
    expect(score.precision).toBeCloseTo(precision, 9)
    expect(score.recall).toBeCloseTo(recall, 9)
    expect(score.f1).toBeCloseTo(f1, 9)
    expect(score.yesRatio).toBeCloseTo(yesRatio, 9)
  })

  test('MME, the totals of published rows', () => {
    const { models } = golden<{ models: Record<string, Record<string, number>> }>('mme')
    const llama = models['CogVLM-LLaMA3-8B']!
    const totals = mmeTotals(llama)
    expect(Math.abs(totals.perception - llama['perception']!)).toBeLessThan(0.02)
    expect(Math.abs(totals.reasoning - llama['reasoning']!)).toBeLessThan(0.02)
    expect(Math.abs(totals.total - llama['MME']!)).toBeLessThan(0.02)
    // The other model's perception rows hold a misprint.
    const glm = models['CogVLM-GLM3-32B']!
    expect(mmeTotals(glm).reasoning).toBeCloseTo(glm['reasoning']!, 2)
  })
})

describe('MME', () => {
  test('counts images with both right in accuracy+', () => {
    // Two images: one with both right, one with one right. accuracy 3/4, accuracy+ 1/2, score 75 + 50.
    const score = scoreMme([
      { subtask: 'count', image: 'a', said: 'Yes.', gold: 'yes' },
      { subtask: 'count', image: 'a', said: 'No', gold: 'no' },
      { subtask: 'count', image: 'b', said: 'Yes', gold: 'yes' },
      { subtask: 'count', image: 'b', said: 'I do not know', gold: 'no' },
    ])
    expect(score.subtasks).toEqual([
      { subtask: 'count', accuracy: 0.75, accuracyPlus: 0.5, score: 125, questions: 4 },
    ])
    expect(score).toMatchObject({ perception: 125, reasoning: 0, total: 125 })
  })

  test.each([
    ['Yes.', 'yes'],
    ['n', 'no'],
    ['Yes, there is', 'yes'],
    ['No there is not', 'no'],
    ['I say yes', null],
    ['', null],
  ])('reads %j as %s', (said, expected) => {
    expect(readMmeAnswer(said)).toBe(expected)
  })
})

test('POPE read strictly counts an answer that says neither as wrong, and a model that never says yes has scores', () => {
  const answers = [
    { said: 'Absolutely', gold: 'yes' as const },
    { said: 'No', gold: 'no' as const },
  ]
  expect(scorePope(answers, 'strict')).toMatchObject({
    accuracy: 0.5,
    precision: 0,
    recall: 0,
    f1: 0,
    yesRatio: 0,
  })
  expect(scorePope(answers)).toMatchObject({ accuracy: 1 })
})

describe('VQA', () => {
  test.each([
    // Meant: a full stop before a digit stands only between digits; as published it always stays before one.
    ['no. 5', { bugForBug: true }, 'no 5'],
    ['.5 u.s.', { bugForBug: true }, '.5 us'],
    ['.5 u.s.', { bugForBug: false }, '5 us'],
    ["somebody'd", { bugForBug: true }, 'somebodyd'],
    ["somebody'd", { bugForBug: false }, "somebody'd"],
    ['The dog, a cat', { bugForBug: true }, 'dog cat'],
    ['left/right', { bugForBug: true }, 'left right'],
    ['1,000 left/right', { bugForBug: true }, '1000 leftright'],
    ['dont', { bugForBug: true }, "don't"],
    ['Two', { bugForBug: true }, '2'],
    ["'ow'sat", { bugForBug: true }, "'ow's'at"],
  ])('%j with %j is %j', (text, options, expected) => {
    expect(normaliseVqa(text, options)).toBe(expected)
  })

  test('normalises nothing where all agree, unless it counts as it was meant', () => {
    const ten = Array.from({ length: 10 }, () => 'dog')
    expect(vqaAccuracy('A dog.', ten)).toBe(0)
    expect(vqaAccuracy('A dog.', ten, { bugForBug: false })).toBe(1)
  })

  test('two of ten who say the same: two of them see one, eight see two', () => {
    const answers = ['cat', 'cat', ...Array.from({ length: 8 }, () => 'dog')]
    // (2 * 1/3 + 8 * 2/3) / 10
    expect(vqaAccuracy('cat', answers)).toBeCloseTo(6 / 10, 9)
  })
})

test.each([
  ['Coglabel', ['coglabel'], 1],
  // One letter of eight differs.
  ['coglabol', ['coglabel', 'other'], 7 / 8],
  // Four of eight differ: just enough.
  ['cogl', ['coglabel'], 0.5],
  ['cog', ['coglabel'], 0],
  ['  12  May ', ['12 may'], 1],
  ['', ['x'], 0],
  // Two changes; in capitals both have six letters.
  ['größe', ['grösse'], 1 - 2 / 6],
  // The spaces before it count in the length that one change is divided by: seven letters, not five.
  ['  helpo', ['hello'], 1 - 1 / 7],
])('ANLS of %j against %j is %f', (said, answers, expected) => {
  expect(anls(said, answers)).toBeCloseTo(expected, 9)
})

test.each([
  ['B', 1],
  ['(b)', 1],
  ['C. green', 2],
  ['The answer is A', 0],
  ['The answer is b.', 1],
  ['The answer is a green one', 2],
  ['Answer: B', 1],
  ['It is green.', 2],
  ['A green thing', 2],
  ['red wine', 3],
  ['red or green', null],
  ['a', 0],
  ['E', null],
  ['', null],
])('of red, blue, green, red wine %j means %s', (said, expected) => {
  expect(readChoice(said, ['red', 'blue', 'green', 'red wine'])).toBe(expected)
})

test.each([
  ['', ['?', 'dog'], null],
  ['-', ['+', '-'], 1],
  ['!', ['+', '-'], null],
  // A word inside another word is not named by it.
  ['red and bored', ['red', 'bored'], null],
])('%j of %j means %s', (said, choices, expected) => {
  expect(readChoice(said, choices)).toBe(expected)
})

test('NoCaps has a score for each domain, with one rarity', () => {
  const input = (text: string, references: string[], domain: 'in-domain' | 'out-domain') => ({
    candidate: ptbTokens(text),
    references: references.map(ptbTokens),
    domain,
  })
  const inputs = [
    input('a dog on a lawn', ['a dog on a lawn'], 'in-domain'),
    input('a red fox', ['a tall tower'], 'out-domain'),
  ]
  const score = scoreNocaps(inputs)
  // The same words as the only reference: every n-gram shared, likeness 1 for each length, 10 in all. Of the second only
  // "a" is shared, which stands in every image and weighs nothing.
  expect(score).toEqual({ 'overall': 5, 'in-domain': 10, 'near-domain': null, 'out-domain': 0 })
})

test('referring expressions: shares at overlaps, mean overlap, centres', () => {
  const gold: Box = [0, 0, 0.4, 0.4]
  const score = scoreReferring([
    { said: [0, 0, 0.4, 0.4], gold },
    // Half of it: overlap 0.5, which is enough.
    { said: [0, 0, 0.4, 0.2], gold },
    // A quarter: 0.25; its centre is inside.
    { said: [0, 0, 0.2, 0.2], gold },
    { said: null, gold },
  ])
  expect(score).toMatchObject({
    accuracy: 0.5,
    accuracyAt: { '0.1': 0.75, '0.3': 0.5, '0.7': 0.25, '0.9': 0.25 },
  })
  expect(score.meanIoU).toBeCloseTo((1 + 0.5 + 0.25) / 4, 9)
  expect(score.centreHits).toBe(0.75)
})

describe('detection', () => {
  const at = (x: number): Box => [x, 0, x + 0.1, 0.1]
  const gold = [0, 0.2, 0.4].map((x) => ({ image: 'a', name: 'dog', box: at(x) }))

  test('F1 and average precision of two right of three said, three there', () => {
    const said = [
      { image: 'a', name: 'dog', box: at(0), score: 0.9 },
      { image: 'a', name: 'dog', box: at(0.6), score: 0.8 },
      { image: 'a', name: 'dog', box: at(0.2), score: 0.7 },
    ]
    const score = scoreDetection(said, gold)
    expect(score).toMatchObject({ precision: 2 / 3, recall: 2 / 3 })
    expect(score.f1).toBeCloseTo(2 / 3, 9)
    // Recall 1/3 at precision 1 (34 of the 101 points, 0.00 to 0.33), then 2/3 at 2/3 (33 points, 0.34 to 0.66).
    expect(score.averagePrecisionAt50).toBeCloseTo((34 * 1 + 33 * (2 / 3)) / 101, 9)
    expect(score.averagePrecision).toBeCloseTo((34 * 1 + 33 * (2 / 3)) / 101, 9)
  })

  test('a true box is taken once, by the higher score, and another name is another thing', () => {
    const said = [
      { image: 'a', name: 'dog', box: at(0), score: 0.2 },
      { image: 'a', name: 'dog', box: at(0.001), score: 0.9 },
      { image: 'a', name: 'cat', box: at(0.2), score: 0.9 },
      { image: 'b', name: 'dog', box: at(0.4), score: 0.9 },
    ]
    expect(scoreDetection(said, gold)).toMatchObject({ precision: 1 / 4, recall: 1 / 3 })
  })

  test('what lies in a crowd is neither right nor wrong', () => {
    const crowd = [{ image: 'a', name: 'dog', box: [0, 0, 1, 1] as Box, isCrowd: true }, ...gold]
    const said = [
      { image: 'a', name: 'dog', box: at(0), score: 1 },
      { image: 'a', name: 'dog', box: at(0.8), score: 1 },
    ]
    expect(scoreDetection(said, crowd)).toMatchObject({ precision: 1, recall: 1 / 3, said: 1, gold: 3 })
  })

  test('of true boxes that are overlapped equally the last is taken, as published', () => {
    const two = [
      { image: 'a', name: 'dog', box: [0, 0, 0.5, 1] as Box },
      { image: 'a', name: 'dog', box: [0.5, 0, 1, 1] as Box },
    ]
    // The first covers both by a half and takes the right one, so that the second finds none.
    const said = [
      { image: 'a', name: 'dog', box: [0, 0, 1, 1] as Box, score: 0.9 },
      { image: 'a', name: 'dog', box: [0.5, 0, 1, 1] as Box, score: 0.8 },
    ]
    expect(scoreDetection(said, two)).toMatchObject({ precision: 1 / 2, recall: 1 / 2 })
  })

  test('57 of 100 found are not yet the recall of 0.57 as numpy counts to it', () => {
    const many = Array.from({ length: 100 }, (_, index) => ({ image: `${index}`, name: 'dog', box: at(0) }))
    const said = many.slice(0, 57).map((one) => ({ ...one, score: 1 }))
    // Points 0.00 to 0.56 of 101.
    expect(scoreDetection(said, many).averagePrecisionAt50).toBeCloseTo(57 / 101, 9)
  })

  test('boxes that overlap by 0.61 count at three of the ten overlaps', () => {
    // 0.076 of the width is inside both, 0.124 inside either: 0.61, enough for 0.5, 0.55 and 0.6.
    const said = [{ image: 'a', name: 'dog', box: [0.024, 0, 0.124, 0.1] as Box, score: 1 }]
    const score = scoreDetection(said, [{ image: 'a', name: 'dog', box: at(0) }])
    expect(score.averagePrecisionAt50).toBeCloseTo(1, 9)
    expect(score.averagePrecision).toBeCloseTo(0.3, 9)
  })
})

describe('CHAIR', () => {
  const vocabulary = openCocoVocabulary()

  test('counts mentions over the set, and captions with one that is not there', () => {
    const score = scoreChair(
      [
        { caption: 'A puppy and two cats on a couch.', there: ['dog', 'couch'] },
        { caption: 'A man eats a hot dog.', there: ['hot dog'], references: ['a guy with food'] },
        { caption: 'Nothing we know.', there: [] },
      ],
      vocabulary,
    )
    // Mentions: dog, cat, couch; person, hot dog. Only the cat is not there.
    expect(score).toMatchObject({
      mentions: 5,
      chairI: 1 / 5,
      chairS: 1 / 3,
      hallucinated: [['cat'], [], []],
    })
  })

  test.each([
    ['a hot dog', ['hot dog']],
    ['two teddy bears', ['teddy bear']],
    ['women with purses near the TVs', ['person', 'handbag', 'tv']],
    ['a tennis ball and a bow tie', ['sports ball', 'tie']],
    ['a carpet', []],
    ['a baby elephant beside adult zebras', ['elephant', 'zebra']],
    ['a baby animal at home plate', []],
    ['a passenger train on the train tracks, a passenger waits', ['train', 'person']],
    ['a motor bike and a motor cycle', ['motorcycle']],
    ['the seat of a toilet', ['toilet']],
    ['a seat', ['chair']],
    ['policemen and two thieves chase geese', ['person', 'person', 'bird']],
    // Its list lacks these words.
    ['a mug and a duck', []],
    ['a dog-friendly park', []],
  ])('%j names %j', (text, names) => {
    expect(vocabulary.mentionsIn(text).map(({ name }) => name)).toEqual(names)
  })

  test('boxes have some more words', () => {
    const { mentionsIn, nameOf } = openCocoVocabulary('boxes')
    expect(mentionsIn('a mug, a motor bike').map(({ name }) => name)).toEqual(['cup', 'motorcycle'])
    expect([nameOf('mug'), nameOf('home plate'), vocabulary.nameOf('mug')]).toEqual(['cup', null, null])
  })
})
