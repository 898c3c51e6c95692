// Each metric on cases worked by hand.
import { describe, expect, it } from 'vitest'
import { compareRuns } from '../../../dataset/metrics/compare.ts'
import { intersectionOverUnion } from '../../../dataset/box-overlap.ts'
import { countFoundBoxes, matchBoxes } from '../../../dataset/metrics/box-accuracy.ts'
import { judgeCaption } from '../../../dataset/metrics/caption-objects.ts'
import { isCount, isCountRight, readCount } from '../../../dataset/metrics/count.ts'
import { gradeImage, readGoldBoxes, type Said } from '../../../dataset/metrics/grade-image.ts'
import { asksNameAtBox, isNameRight } from '../../../dataset/metrics/name-at-box.ts'
import { tally } from '../../../dataset/metrics/tally.ts'
import { openVocabulary } from '../../../dataset/metrics/vocabulary.ts'
import { isYesNo, isYesNoRight, readYesNo } from '../../../dataset/metrics/yes-no.ts'
import type { GoldLine } from '../../../schemas/gold.ts'
import type { Box } from '../../../schemas/task-output.ts'
import { World } from '../../../schemas/world.ts'

const world = World.parse({
  version: 1,
  about: 'three things',
  styles: { trained: ['noto'], heldOut: [] },
  scene: {
    objects: { min: 1, max: 6 },
    longerSide: { min: 0.1, max: 0.5 },
    maxOverlapIoU: 0.2,
    heldOutPairs: { modulus: 10, remainder: 3 },
    patterns: ['plain'],
  },
  colours: ['red'],
  backgrounds: [{ name: 'white', rgb: [255, 255, 255] }],
  concepts: [
    {
      name: 'dog',
      plural: 'dogs',
      category: 'a',
      icon: 'dog',
      synonyms: [{ name: 'puppy', plural: 'puppies' }],
    },
    { name: 'apple', plural: 'apples', category: 'b', icon: 'apple', colour: 'red' },
    {
      name: 'clock',
      plural: 'clocks',
      category: 'c',
      icon: 'c',
      synonyms: [{ name: 'alarm clock', plural: 'alarm clocks' }],
    },
  ],
})
const vocabulary = openVocabulary(world, ['robot'])

describe('boxes', () => {
  it.each([
    { left: [0, 0, 0.5, 0.5], right: [0, 0, 0.5, 0.5], iou: 1 },
    { left: [0, 0, 0.5, 1], right: [0.25, 0, 0.75, 1], iou: 1 / 3 },
    { left: [0, 0, 0.2, 0.2], right: [0.2, 0, 0.4, 0.2], iou: 0 },
    { left: [0, 0, 1, 1], right: [0, 0, 0.5, 0.5], iou: 0.25 },
  ] as { left: Box; right: Box; iou: number }[])(
    '$left and $right overlap by $iou',
    ({ left, right, iou }) => {
      expect(intersectionOverUnion(left, right)).toBeCloseTo(iou, 12)
      expect(intersectionOverUnion(right, left)).toBeCloseTo(iou, 12)
    },
  )

  it('are matched one to one, the best pair first', () => {
    const truth: Box[] = [
      [0, 0, 0.4, 0.4],
      [0.1, 0, 0.5, 0.4],
    ]
    // The one said box overlaps both; it belongs to the second, which it fits exactly.
    expect(matchBoxes([[0.1, 0, 0.5, 0.4]], truth)).toEqual([0, 1])
    expect(countFoundBoxes([[0.1, 0, 0.5, 0.4]], truth)).toBe(1)
    // Saying one box twice finds one object, not two; exactly half an overlap is found.
    expect(countFoundBoxes([truth[0]!, truth[0]!], [truth[0]!, [0.6, 0.6, 1, 1]])).toBe(1)
    expect(countFoundBoxes([[0, 0, 0.5, 1]], [[0, 0, 1, 1]])).toBe(1)
    expect(countFoundBoxes([[0, 0, 0.49, 1]], [[0, 0, 1, 1]])).toBe(0)
    expect(matchBoxes([], truth)).toEqual([0, 0])
  })

  it.each([
    ['[[000,500,999,750]]', [[0, 0.5, 0.999, 0.75]]],
    [
      '[[1,2,3,4;5,6,7,8]]',
      [
        [0.001, 0.002, 0.003, 0.004],
        [0.005, 0.006, 0.007, 0.008],
      ],
    ],
    ['On the left.', []],
    ['[[1,2,3]]', []],
  ])('are read from the gold answer %s', (answer, boxes) => {
    expect(readGoldBoxes(answer)).toEqual(boxes)
  })
})

describe('yes and no', () => {
  it.each([
    ['Yes.', 'yes'],
    ['No, there is none.', 'no'],
    ['The answer is yes', 'yes'],
    ['Nothing known.', null],
    ['There is a dog.', null],
    ['', null],
  ])('reads %j as %s', (answer, said) => expect(readYesNo(answer)).toBe(said))

  it('takes an answer that says neither for wrong', () => {
    expect(isYesNoRight('Yes.', 'Yes.')).toBe(true)
    expect(isYesNoRight('no', 'No.')).toBe(true)
    expect(isYesNoRight('No.', 'Yes.')).toBe(false)
    expect(isYesNoRight('Maybe.', 'No.')).toBe(false)
    expect([isYesNo('Yes.'), isYesNo('no'), isYesNo('No dogs.'), isYesNo('Red.')]).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})

describe('counts', () => {
  it.each([
    ['Two.', 2],
    ['There are 13 dogs.', 13],
    ['There are no dogs.', 0],
    ['None', 0],
    ['Zero.', 0],
    ['twenty', 20],
    ['twenty-one', null],
    ['A 2-story house with 5 windows', 5],
    ['about 1,200 people', 1200],
    ['1, 2 or 3', 1],
    ['A few.', null],
    ['Someone.', null],
  ])('reads %j as %s', (answer, count) => expect(readCount(answer)).toBe(count))

  it('must be exact', () => {
    expect(isCountRight('There are 2.', 'Two.')).toBe(true)
    expect(isCountRight('Three.', 'Two.')).toBe(false)
    expect(isCountRight('Many.', 'Two.')).toBe(false)
    expect(['Two.', '4', '1,200', 'Two dogs.', 'No.'].map(isCount)).toEqual([true, true, true, false, false])
  })
})

describe('words', () => {
  it.each([
    [
      'A puppy and two red apples.',
      [
        { name: 'dog', count: 1 },
        { name: 'apple', count: 2 },
      ],
    ],
    [
      'An Alarm  Clock, a dog, a DOG.',
      [
        { name: 'clock', count: 1 },
        { name: 'dog', count: 1 },
        { name: 'dog', count: 1 },
      ],
    ],
    ['A hotdog in a clockwork.', []],
    ['3 robots', [{ name: 'robot', count: 3 }]],
  ])('are found in %j', (text, mentions) => expect(vocabulary.mentionsIn(text)).toEqual(mentions))

  it('name what is in a box, in any word for it and alone', () => {
    expect(isNameRight('A puppy.', 'A dog.', vocabulary)).toBe(true)
    expect(isNameRight('A dog and an apple.', 'A dog.', vocabulary)).toBe(false)
    expect(isNameRight('An apple.', 'A dog.', vocabulary)).toBe(false)
    expect(isNameRight('Something.', 'A dog.', vocabulary)).toBe(false)
    expect(isNameRight('the Teapot', 'A teapot.', vocabulary)).toBe(true)
    expect(asksNameAtBox('What is at [[001,002,300,400]]?')).toBe(true)
    expect(asksNameAtBox('Where is the dog? Answer in [[x0,y0,x1,y1]] format.')).toBe(false)
  })
})

describe('captions', () => {
  it.each([
    { caption: 'A dog and two apples.', names: ['dog', 'apple', 'apple'], judged: [2, 2, 2, 2] },
    { caption: 'A puppy and a clock.', names: ['dog', 'dog', 'apple'], judged: [2, 2, 1, 0] },
    { caption: 'A dog, a dog and an apple.', names: ['dog', 'dog'], judged: [1, 2, 1, 1] },
    { caption: 'Nothing.', names: ['dog'], judged: [1, 0, 0, 0] },
    { caption: null, names: ['dog', 'apple'], judged: [2, 0, 0, 0] },
  ])('$caption over $names', ({ caption, names, judged }) => {
    const { there, named, right, rightlyCounted } = judgeCaption(caption, names, vocabulary)
    expect([there, named, right, rightlyCounted]).toEqual(judged)
  })
})

describe('an image', () => {
  const gold: GoldLine = {
    key: 'a.png',
    width: 100,
    height: 100,
    objects: [
      { name: 'dog', box: [0, 0, 0.4, 0.4] },
      { name: 'dog', box: [0.5, 0.5, 1, 1] },
      { name: 'apple', box: [0.6, 0, 0.8, 0.2] },
    ],
    questions: [
      { question: 'Is there a dog?', answer: 'Yes.', kind: 'exists' },
      { question: 'Is there a clock?', answer: 'No.', kind: 'exists' },
      { question: 'How many dogs are there?', answer: 'Two.', kind: 'count' },
      { question: 'What is at [[600,000,800,200]]?', answer: 'An apple.', kind: 'name' },
      { question: 'What colour is the apple?', answer: 'Red.', kind: 'colour' },
      {
        question: 'Where is the dog? Give its box.',
        answer: '[[000,000,400,400;500,500,999,999]]',
        kind: 'ground',
      },
    ],
  }
  const nothing: Said = { caption: null, phrases: null, answers: new Map(), boxes: new Map() }
  const figures = (said: Said) =>
    Object.fromEntries(
      tally([{ key: 'a.png', objects: 3, grades: gradeImage(gold, said, vocabulary) }]).map(
        ({ metric, all, missing }) => [metric, [all.right, all.total, missing]],
      ),
    )

  it('that was never asked about is wrong in everything', () => {
    expect(figures(nothing)).toEqual({
      'caption recall': [0, 2, 1],
      'caption precision': [0, 0, 1],
      'caption counts': [0, 2, 1],
      'caption boxes Acc@0.5': [0, 3, 1],
      'caption boxes precision': [0, 0, 1],
      'yes/no': [0, 2, 2],
      'count exact': [0, 1, 1],
      'name at box': [0, 1, 1],
      'colour': [0, 1, 1],
      'asked box Acc@0.5': [0, 2, 1],
    })
  })

  it('is graded answer by answer', () => {
    const said: Said = {
      caption: 'Two puppies and a clock.',
      phrases: [
        { text: 'a puppy', boxes: [[0, 0, 0.4, 0.4]] },
        { text: 'a dog', boxes: [[0, 0, 0.41, 0.4]] },
        { text: 'an apple', boxes: [[0.6, 0, 0.8, 0.19]] },
      ],
      answers: new Map([
        ['Is there a dog?', 'Yes.'],
        ['Is there a clock?', 'Yes.'],
        ['How many dogs are there?', 'There are two.'],
        ['What is at [[600,000,800,200]]?', 'A dog.'],
        ['What colour is the apple?', 'red'],
      ]),
      boxes: new Map([['Where is the dog? Give its box.', [[0.5, 0.5, 0.999, 0.999]]]]),
    }
    expect(figures(said)).toEqual({
      'caption recall': [1, 2, 0],
      'caption precision': [1, 2, 0],
      'caption counts': [1, 2, 0],
      'caption boxes Acc@0.5': [2, 3, 0],
      'caption boxes precision': [2, 3, 0],
      'yes/no': [1, 2, 0],
      'count exact': [1, 1, 0],
      'name at box': [0, 1, 0],
      'colour': [1, 1, 0],
      'asked box Acc@0.5': [1, 2, 0],
    })
  })

  it('is added to the column of its number of objects', () => {
    const grade = (right: number, total: number) => ({ metric: 'm', right, total, missing: 0 })
    const [row] = tally([
      { key: 'a', objects: 2, grades: [grade(1, 2)] },
      { key: 'b', objects: 1, grades: [grade(1, 1)] },
      { key: 'c', objects: 2, grades: [grade(2, 2), grade(0, 4)] },
    ])
    expect(row).toEqual({
      metric: 'm',
      all: { right: 4, total: 9, share: 4 / 9 },
      byObjects: { 1: { right: 1, total: 1, share: 1 }, 2: { right: 3, total: 8, share: 3 / 8 } },
      missing: 0,
    })
  })
})

describe('two runs', () => {
  const run = (rights: readonly number[]) =>
    rights.map((right, index) => ({
      key: String(index),
      objects: 1,
      grades: [{ metric: 'm', right, total: 1, missing: 0 }],
    }))

  it('that say the same differ by nothing, whatever is drawn', () => {
    const same = run([1, 0, 1, 1, 0])
    expect(compareRuns(same, same)).toEqual([
      { metric: 'm', share: 0.6, otherShare: 0.6, difference: 0, low: 0, high: 0 },
    ])
  })

  it('have an interval around their difference as wide as the binomial says', () => {
    // One image in ten is right in the first run only: 0.1 with a standard error of sqrt(0.1 * 0.9 / 400) = 0.015.
    const first = run(Array.from({ length: 400 }, () => 1))
    const second = run(Array.from({ length: 400 }, (_, index) => (index % 10 === 0 ? 0 : 1)))
    const [row] = compareRuns(first, second)
    expect(row?.difference).toBeCloseTo(0.1, 12)
    expect(row?.low).toBeGreaterThan(0.1 - 2.4 * 0.015)
    expect(row?.low).toBeLessThan(0.1 - 1.6 * 0.015)
    expect(row?.high).toBeGreaterThan(0.1 + 1.6 * 0.015)
    expect(row?.high).toBeLessThan(0.1 + 2.4 * 0.015)
    expect(compareRuns(first, second)).toEqual([row])
  })

  it('are not compared where one has nothing to get right', () => {
    expect(compareRuns(run([1]), [{ key: '0', objects: 1, grades: [] }])).toEqual([])
  })
})
