// ground in what an earlier task said: the things that a text names, the questions about them, and one record of all.
import { expect, test } from 'vitest'
import { groundTask } from '../../gpu-worker/tasks/ground.ts'
import { nounPhrases } from '../../gpu-worker/tasks/noun-phrase.ts'
import { planTasks, tasks } from '../../gpu-worker/tasks/registry.ts'
import { UserError } from '../../schemas/errors.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'

test.each([
  ['A turtle and a rabbit.', ['A turtle', 'a rabbit']],
  ['A dog sits beside two red apples on a blue background.', ['A dog', 'two red apples']],
  ['There is a cat on the left of the image.', ['a cat']],
  ['one of the dogs and both of its puppies', ['one of the dogs', 'both of its puppies']],
  ['a cup of coffee, the old table', ['a cup of coffee', 'the old table']],
  ['red apples in baskets', ['red apples', 'baskets']],
  ['The man gives the dog a bone.', ['The man gives', 'the dog', 'a bone']],
  ['A dog. A dog! A DOG', ['A dog']],
  ['The café’s owner and 1,000 é-books', ['The café’s owner', '1,000 é-books']],
  ['a', []],
  ['the and of the', []],
  ['', []],
  ['…!?', []],
])('finds in %j the things %j', (text, phrases) => {
  expect(nounPhrases(text).map(({ start, end }) => text.slice(start, end))).toEqual(phrases)
})

test.each(['the ', 'of ', 'x', "a'", 'a, '])('stays linear on ever more of %j', (piece) => {
  const text = piece.repeat(64_000)
  // The processor's time, not the clock's: a busy machine is no fault. It takes 30 ms; a step for each pair of words
  // would take seconds.
  const before = process.cpuUsage()
  nounPhrases(text)
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(1000)
})

const capabilities = tasks.map(({ name }) => name)
const model = { name: 'm', template: 'chat' as const, capabilities }
const plan = (others: object = {}) =>
  planTasks({
    names: ['caption'],
    questions: [],
    phrases: [],
    follows: [{ task: 'ground', after: 'caption' }],
    model,
    ...others,
  })
const follow = (text: string) => {
  const spec = plan().at(-1) as TaskSpec
  const followed = groundTask.follow!(spec, { caption: { text } })
  if (!followed.ok) throw new Error(followed.message)
  return { ...spec, ...followed.plan }
}

test('is switched on by the task it comes after, beside phrases that are given', () => {
  const specs = plan({ phrases: ['the dog'] })
  expect(specs.map(({ task, ordinal, after, options }) => [task, ordinal, after, options])).toEqual([
    ['caption', 0, undefined, undefined],
    ['ground', 0, undefined, { phrase: 'the dog' }],
    ['ground', 1, 'caption', { from: 'caption' }],
  ])
  expect(specs.every((spec) => !('role' in spec))).toBe(true)
})

test('names the role of its model where the run has two, in the words of that model', () => {
  const grounding = { name: 'g', template: 'base' as const, capabilities: ['ground'] }
  const specs = plan({ grounding, model: { ...model, capabilities: ['caption'] } })
  expect(specs.map(({ task, role, template }) => [task, role, template])).toEqual([
    ['caption', undefined, 'chat'],
    ['ground', 'grounding', 'base'],
  ])
  expect(specs[1]?.prompts[0]?.question).toBe(
    'Locate {phrase} and reply with its coordinates [[x0,y0,x1,y1]].',
  )
})

test.each([
  ['qa', /"qa" gives no text to find things in; choose from caption/],
  ['detailed-caption', /is no task of the run; add it/],
  ['nothing', /there is no task "nothing"/],
])('fails with a sentence on %s', (after, sentence) => {
  const others = { follows: [{ task: 'ground', after }] }
  expect(() => plan(others)).toThrow(UserError)
  expect(() => plan(others)).toThrow(sentence)
})

test('asks for each thing on its own and makes one record of the answers', () => {
  const spec = follow('A dog and a red cat.')
  expect(spec.prompts).toEqual([
    { question: 'Where is a dog? Give its box.' },
    { question: 'Where is a red cat? Give its box.' },
  ])
  expect(groundTask.parse(spec, ['[[100,200,300,400]]', 'There is no cat.'])).toEqual({
    ok: true,
    output: {
      text: 'A dog and a red cat.',
      phrases: [{ text: 'A dog', start: 0, end: 5, boxes: [[0.1, 0.2, 0.3, 0.4]] }],
    },
    repairs: [],
  })
  expect(groundTask.parse(spec, ['[[100,200,300,400]]', 'on the left'])).toMatchObject({
    ok: false,
    code: 'answer-unparsable',
    message: expect.stringMatching(/^of "a red cat": .*holds no box/) as string,
  })
})

test('asks nothing where nothing is named, and no more than its limits', () => {
  expect(follow('…').prompts).toEqual([])
  expect(groundTask.parse(follow('…'), [])).toEqual({
    ok: true,
    output: { text: '…', phrases: [] },
    repairs: [],
  })
  expect(follow(Array.from({ length: 40 }, (_, n) => `a thing${n}`).join(', ')).prompts).toHaveLength(16)
  expect(follow(`a ${'very '.repeat(50)}long dog, a cat`).prompts).toHaveLength(1)
  // What a phrase holds is no pattern and no second blank.
  expect(follow('a $& {phrase}').prompts[0]?.question).toBe(
    'Where is a? Give its box.'.replace('a?', 'phrase?'),
  )
  expect(
    groundTask.follow!(plan().at(-1) as TaskSpec, { caption: { phrase: 'x', boxes: [] } }),
  ).toMatchObject({
    ok: false,
  })
})
