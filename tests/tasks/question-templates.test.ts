// Questions made up about a caption: their kinds, and that nothing is won without the image.
import { expect, test } from 'vitest'
import { chooseAbsent, commonThings } from '../../gpu-worker/tasks/absent-objects.ts'
import { entitiesIn, pluralOf, singular, withArticle } from '../../gpu-worker/tasks/entities.ts'
import { questionsAbout, questionStyles } from '../../gpu-worker/tasks/question-templates.ts'
import { cleanCaptions } from '../dataset/checks/clean-captions.ts'

test('each caption gets one question of each kind, of what is there only where the vocabulary has it', () => {
  for (const text of cleanCaptions) {
    const names = entitiesIn(text).map(({ name }) => name)
    const exists = names.some((name) => commonThings.includes(name)) ? ['exists'] : []
    const kinds = questionsAbout(text, ['conversation']).map(({ kind }) => kind)
    expect(kinds).toEqual([...exists, 'count', 'where', 'colour'])
    expect(
      questionsAbout(text, questionStyles)
        .map(({ kind }) => kind)
        .toSorted(),
    ).toEqual(['colour', 'count', 'detail', ...exists, 'reasoning', 'where'])
  }
})

test('about half of the things that are asked for are in the caption, all are of the vocabulary', () => {
  const pairs = commonThings.flatMap((one) => commonThings.map((other) => [one, other] as const))
  const captions = pairs
    .filter(([one, other]) => one !== other)
    .map(([one, other]) => `A ${one} near a gnu and a ${other}.`)
  const isThere = captions.map((text) => {
    const [exists] = questionsAbout(text, ['conversation'])
    expect(questionsAbout(text, ['conversation'])[0]).toEqual(exists)
    const asked = /^Is there an? (.*)\?$/.exec(exists!.question)![1]!
    expect(commonThings).toContain(asked)
    return entitiesIn(text).some(({ name }) => name === asked)
  })
  const share = isThere.filter(Boolean).length / isThere.length
  expect(share).toBeGreaterThan(0.46)
  expect(share).toBeLessThan(0.54)
})

const statistics = {
  objects: [
    { name: 'dog', count: 50 },
    { name: 'cat', count: 40 },
    { name: 'car', count: 30 },
    { name: 'leash', count: 2 },
    { name: 'hot dog', count: 99 },
  ],
  together: { dog: { leash: 30, car: 5 } },
}

test('absent things are drawn as POPE draws them, and none shares a word with what is there', () => {
  const draw = (sampling: 'random' | 'popular' | 'adversarial', seed = 's') =>
    chooseAbsent({ present: ['dog'], statistics, sampling, count: 2, seed })
  expect(draw('popular')).toEqual(['cat', 'car'])
  expect(draw('adversarial')).toEqual(['leash', 'car'])
  expect(draw('random')).toEqual(draw('random'))
  const drawn = new Set(Array.from({ length: 40 }, (_, seed) => draw('random', String(seed)).join()))
  expect(drawn.size).toBeGreaterThan(3)
  expect(new Set(commonThings).size).toBe(commonThings.length)
})

test.each([
  ['The background is blue and plain.', []],
  ['A dog that is brown, old and happy sits by a house.', ['dog', 'house']],
  ['There are cats and two dogs. It is a sunny day.', ['cat', 'dog', 'sunny day']],
  ['The sky is clear and a bird is flying over the boats.', ['sky', 'bird', 'boat']],
])('%j names %j, and not how they are', (text, names) => {
  expect(entitiesIn(text).map(({ name }) => name)).toEqual(names)
})

test.each([
  ['A dog and two small red apples.', ['dog', 'apple'], ['dogs', 'apples']],
  ['A group of men beside a hot air balloon.', ['man', 'hot air balloon'], ['men', 'hot air balloons']],
  ['Three children with a box of knives.', ['child', 'box'], ['children', 'boxes']],
  ['A bus, a bus and a cherry.', ['bus', 'cherry'], ['buses', 'cherries']],
])('%j names %j', (text, names, plurals) => {
  expect(entitiesIn(text).map(({ name }) => name)).toEqual(names)
  expect(entitiesIn(text).map(({ plural }) => plural)).toEqual(plurals)
})

test('singular and plural undo each other', () => {
  for (const word of ['dog', 'fox', 'cherry', 'man', 'sheep', 'tomato', 'dress', 'bench', 'leaf', 'toy'])
    expect(singular(pluralOf(word))).toBe(word)
  expect(['dog', 'apple', 'umbrella', 'unicorn'].map(withArticle)).toEqual([
    'a dog',
    'an apple',
    'an umbrella',
    'a unicorn',
  ])
})
