// The registry: every task file is in it, plans what it says, and parses its own example.
import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import {
  countItemRecords,
  findTask,
  leftOver,
  listItemTasks,
  planItemTasks,
  planTasks,
  tasks,
} from '../../gpu-worker/tasks/registry.ts'
import { UserError } from '../../schemas/errors.ts'
import { PromptTemplate } from '../../schemas/model-manifest.ts'
import { TaskSpec } from '../../schemas/task-spec.ts'

const all = tasks.map((task) => task.name)
const model = { name: 'm', template: 'chat' as const, capabilities: all }
const regions: [number, number, number, number][] = [[0.1, 0.2, 0.3, 0.4]]
const plan = (wanted: {
  names?: string[]
  questions?: string[]
  phrases?: string[]
  capabilities?: string[]
}) =>
  planTasks({
    names: wanted.names,
    questions: wanted.questions ?? [],
    phrases: wanted.phrases ?? [],
    objects: ['dog', 'red apple'],
    regions: wanted.names?.includes('describe-region') === true ? regions : [],
    model: { ...model, capabilities: wanted.capabilities ?? all },
  })

test('lists every task file', async () => {
  const shared = new Set([
    'absent-objects.ts',
    'boxes.ts',
    'custom-answer.ts',
    'custom.ts',
    'entities.ts',
    'existing-caption.ts',
    'noun-phrase.ts',
    'question-templates.ts',
    'registry.ts',
    'task.ts',
    'text-of.ts',
    'variables.ts',
  ])
  const files = (await readdir(new URL('../../gpu-worker/tasks/', import.meta.url))).filter(
    (file) => !shared.has(file),
  )
  expect(files.toSorted()).toEqual(all.map((name) => `${name}.ts`).toSorted())
})

test.each(PromptTemplate.options)('plans valid specs for the %s template', (template) => {
  const specs = planTasks({
    names: all,
    questions: [],
    phrases: ['the dog'],
    regions,
    model: { ...model, template },
  })
  expect(specs.map((spec) => spec.task)).toEqual(all)
  for (const spec of specs) expect(TaskSpec.parse(spec)).toEqual(spec)
})

test('asks the shipped model in the words it was trained on', () => {
  const specs = plan({
    names: ['caption', 'detailed-caption', 'grounded-caption', 'ground', 'qa'],
    phrases: ['the dog', 'a cat'],
  })
  // qa asks about what the caption names; these are its words where there is none.
  expect(plan({ names: ['qa'] })[0]?.prompts.map((prompt) => prompt.question)).toEqual([
    'What is in the image?',
    'How many objects are there?',
  ])
  expect(
    specs.map((spec) => [spec.task, spec.ordinal, ...spec.prompts.map((prompt) => prompt.question)]),
  ).toEqual([
    ['caption', 0, 'Describe the image.'],
    ['detailed-caption', 0, 'Describe the image in detail.'],
    ['grounded-caption', 0, 'Describe the image with boxes.'],
    ['ground', 0, 'Where is the dog? Give its box.'],
    ['ground', 1, 'Where is a cat? Give its box.'],
    ['qa', 0, 'What is in the image?'],
  ])
})

test('takes the default tasks as far as the model can do them', () => {
  expect(plan({}).map((spec) => spec.task)).toEqual(['caption', 'qa', 'grounded-caption'])
  expect(plan({ capabilities: ['caption'] }).map((spec) => spec.task)).toEqual(['caption'])
  expect(() => plan({ capabilities: [] })).toThrow(UserError)
})

test('switches a task on by its input', () => {
  expect(plan({ names: ['caption'], phrases: ['the dog'] }).map((spec) => spec.task)).toEqual([
    'caption',
    'ground',
  ])
  const [spec] = plan({ names: ['qa'], questions: ['Is it red?'] })
  expect(spec?.prompts).toEqual([{ question: 'Is it red?', kind: 'asked' }])
})

test.each([
  [{ names: ['captoin'] }, /there is no task "captoin"; choose from caption/],
  [
    { names: ['ground'], phrases: ['the dog'], capabilities: ['caption', 'qa'] },
    /cannot do the task "ground"; it can do caption, qa/,
  ],
  [{ names: ['ground'] }, /add --ground/],
])('fails with a sentence on %j', (wanted, message) => {
  expect(() => plan(wanted)).toThrow(UserError)
  expect(() => plan(wanted)).toThrow(message)
})

const specOf = (name: string) => plan({ names: [name], phrases: ['the dog'] })[0] as TaskSpec
const box = { boxes: [[0.1, 0.2, 0.3, 0.4]] }

test.each([
  ['caption', ['A dog.'], { ok: true, output: { text: 'A dog.' }, repairs: [] }],
  [
    'caption',
    ['A dog [[1,2,3,4]].'],
    { ok: true, output: { text: 'A dog.' }, repairs: ['took boxes out of a plain caption'] },
  ],
  ['caption', [' '], { ok: false, code: 'answer-empty' }],
  ['detailed-caption', ['Two. Things.'], { ok: true, output: { text: 'Two. Things.' } }],
  ['ground', ['[[100,200,300,400]]'], { ok: true, output: { phrase: 'the dog', ...box } }],
  ['ground', ['It is here: [[100,200,300,400]].'], { ok: true, output: box }],
  ['ground', ['There is no dog.'], { ok: true, output: { phrase: 'the dog', boxes: [] } }],
  ['ground', ["I don't see one."], { ok: true, output: { boxes: [] } }],
  ['ground', ['On the left.'], { ok: false, code: 'answer-unparsable' }],
  ['ground', ['Notably: [[1,1,1,1]]'], { ok: false, code: 'answer-unparsable' }],
  ['ground', [''], { ok: false, code: 'answer-empty' }],
  [
    'qa',
    ['A dog.', ' Two. '],
    {
      ok: true,
      output: {
        turns: [
          { answer: 'A dog.', kind: 'content' },
          { answer: 'Two.', kind: 'count' },
        ],
      },
    },
  ],
  [
    'describe-region',
    ['A dog.'],
    { ok: true, output: { regions: [{ box: [0.1, 0.2, 0.3, 0.4], text: 'A dog.' }] } },
  ],
  ['describe-region', [' '], { ok: false, code: 'answer-empty' }],
  [
    'yes-no',
    ['Yes.', 'There is no apple.'],
    {
      ok: true,
      output: {
        probes: [
          { answer: 'yes', object: 'dog' },
          { answer: 'no', object: 'red apple' },
        ],
      },
    },
  ],
  ['yes-no', ['Maybe.', 'No'], { ok: false, code: 'answer-unparsable' }],
  [
    'count',
    ['There are two dogs.', '13'],
    {
      ok: true,
      output: {
        counts: [
          { object: 'dogs', count: 2 },
          { object: 'red apples', count: 13 },
        ],
      },
    },
  ],
  ['count', ['Many.', '1'], { ok: false, code: 'answer-unparsable' }],
  ['tags', ['Two small dogs, a red apple and a dog.'], { ok: true, output: { tags: ['dog', 'apple'] } }],
  [
    'tags',
    ['1. Street\n2. Traffic light\n3. cars'],
    { ok: true, output: { tags: ['street', 'traffic light', 'car'] } },
  ],
  ['tags', ['...'], { ok: false, code: 'answer-unparsable' }],
  ['read-text', ['The sign says "NO PARKING".'], { ok: true, output: { lines: ['NO PARKING'] } }],
  ['read-text', ['EXIT\n12 m'], { ok: true, output: { lines: ['EXIT', '12 m'] } }],
  ['read-text', ['There is no visible text.'], { ok: true, output: { lines: [] } }],
  ['read-text', ['No parking'], { ok: true, output: { lines: ['No parking'] } }],
  [
    'ask-questions',
    ['1. What colour is the dog?\n2) Is it big? Yes.\n'],
    { ok: true, output: { questions: ['What colour is the dog?', 'Is it big?'] } },
  ],
  ['ask-questions', ['A dog.'], { ok: false, code: 'answer-unparsable' }],
  ['qa', ['A dog.', ''], { ok: true, output: { turns: [{ answer: 'A dog.' }] } }],
  ['qa', ['', ''], { ok: false, code: 'answer-empty' }],
])('%s parses %j', (name, answers, expected) => {
  const task = findTask(name)
  const parsed = task.parse(specOf(name), answers)
  expect(parsed).toMatchObject(expected)
  if (parsed.ok) expect(task.outputSchema.parse(parsed.output)).toEqual(parsed.output)
})

test('takes what images bring themselves for questions and phrases that were given', () => {
  const wanted = { names: ['caption', 'ground'], questions: [], phrases: [], model }
  expect(() => planTasks(wanted)).toThrow(/"ground" needs something to find; add --ground/)
  const brings = { questions: true, phrases: true }
  // ground is named and has nothing to ask all images; qa is switched on and asks what it always asks.
  expect(planTasks({ ...wanted, brings }).map((spec) => spec.task)).toEqual(['caption', 'qa'])
  expect(listItemTasks({ ...wanted, brings })).toEqual(['ground', 'qa'])
  expect(listItemTasks(wanted)).toEqual([])
})

test("plans an image's own questions and phrases, and nothing for what it does not bring", () => {
  const run = { tasks: [], itemTasks: ['qa', 'ground'], template: 'chat' as const }
  const brought = { phrases: ['the cow', 'a key'] }
  const own = planItemTasks(run, brought)
  expect(own.map((spec) => [spec.task, spec.ordinal, spec.role, spec.prompts[0]?.question])).toEqual([
    ['ground', 0, undefined, 'Where is the cow? Give its box.'],
    ['ground', 1, undefined, 'Where is a key? Give its box.'],
  ])
  expect(planItemTasks(run, {})).toEqual([])
  expect(planItemTasks({ ...run, itemTasks: [] }, brought)).toEqual([])
  expect(leftOver(run, { ...brought, questions: ['why?'] })).toBeNull()
  expect(leftOver({ itemTasks: ['qa'] }, brought)).toBe('phrases')
  expect(leftOver({}, { questions: ['why?'] })).toBe('questions')
})

test("plans an image's own phrases for the model that answers them, as the run plans its own", () => {
  const wanted = { names: ['caption'], questions: [], phrases: ['the cow'], model }
  const second = { name: 'm2', template: 'base' as const, capabilities: all }
  const shared = planTasks({ ...wanted, grounding: second })
  const run = {
    tasks: shared,
    itemTasks: ['ground'],
    template: 'chat' as const,
    groundingTemplate: 'base' as const,
    grounding: { name: 'm2', digest: 'd', weights: 'fp32', licence: '' },
  }
  expect(planItemTasks(run, { phrases: ['the cow'] })).toEqual(shared.filter(({ task }) => task === 'ground'))
  expect(countItemRecords(run, {})).toBe(2)
  expect(countItemRecords(run, { phrases: ['a', 'b', 'c'] })).toBe(4)
})

test('lets qa answer what the model asks, before it asks about a caption', () => {
  const specs = plan({ names: ['caption', 'ask-questions', 'qa'] })
  expect(specs.at(-1)).toMatchObject({ task: 'qa', after: 'ask-questions' })
  const followed = findTask('qa').follow!(specs.at(-1)!, {
    'ask-questions': { questions: ['Why is it red?'] },
  })
  expect(followed).toMatchObject({
    ok: true,
    plan: { prompts: [{ question: 'Why is it red?', kind: 'model' }] },
  })
})

test('puts short answers in the template for them, and nothing else', () => {
  const specs = planTasks({
    names: ['caption', 'qa', 'yes-no'],
    questions: ['Is it day?'],
    phrases: [],
    objects: ['dog'],
    shortAnswers: true,
    model,
  })
  expect(specs.map(({ task, template }) => [task, template])).toEqual([
    ['caption', 'chat'],
    ['qa', 'vqa'],
    ['yes-no', 'vqa'],
  ])
})
