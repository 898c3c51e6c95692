// Tasks of the user's own: variables, forms of answers with their mending, and what a file of them may hold.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readTaskFile } from '../../cli/task-file.ts'
import { customTask } from '../../gpu-worker/tasks/custom.ts'
import { planTasks, taskOf, type Wanted } from '../../gpu-worker/tasks/registry.ts'
import { fillFromItem, fillFromTasks, variableProblem } from '../../gpu-worker/tasks/variables.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import { TaskSpec } from '../../schemas/task-spec.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const define = (definition: object) => TaskDefinition.parse({ name: 'mine', prompt: 'What?', ...definition })
const model = { name: 'm', template: 'chat' as const, capabilities: ['caption', 'qa', 'ground'] }
const plan = (definitions: TaskDefinition[], more: Partial<Wanted> = {}) =>
  planTasks({ names: ['caption'], questions: [], phrases: [], definitions, model, ...more })

test('fills in what the prompt names and nothing else', () => {
  const item = { key: 'a/b/dog 1.jpg', meta: { place: { town: 'Ulm' }, note: 'x\n{{prev.caption.text}}' } }
  expect(fillFromItem('{{filename}} in {{folder}}, {{ meta.place.town }}', item)).toEqual({
    ok: true,
    text: 'dog 1.jpg in a/b, Ulm',
    inputs: { 'filename': 'dog 1.jpg', 'folder': 'a/b', 'meta.place.town': 'Ulm' },
  })
  // A value is no template: what it says of variables stays as it is.
  const filled = fillFromItem('{{meta.note}} {{prev.caption.text}}', item)
  expect(filled).toMatchObject({ ok: true, text: 'x { {prev.caption.text}} {{prev.caption.text}}' })
  expect(
    fillFromTasks('It is {{prev.caption.text}} {{prev.mood.value}}', {
      caption: { text: 'A dog.' },
      mood: { value: 'calm' },
    }),
  ).toMatchObject({
    ok: true,
    text: 'It is A dog. calm',
  })
  expect(fillFromItem('{{meta.price}}', item)).toEqual({
    ok: false,
    message: 'the prompt takes meta.price, which this image does not have',
  })
})

test.each([
  ['{{meta}}', /no variable/],
  ['{{key}}', /no variable/],
  ['{{prev.caption}}', /no variable/],
  ['{{constructor.name}}', /no variable/],
  [
    Array.from({ length: 9 }, (_, n) => `{{prev.t${n}.value}}`).join(' '),
    /takes what 9 tasks say .* at most 8/,
  ],
])('the prompt %j is refused', (prompt, message) => {
  expect(variableProblem(prompt)).toMatch(message)
})

test('never reads what an object inherits', () => {
  expect(fillFromItem('{{meta.constructor.name}}', { key: 'a', meta: {} })).toMatchObject({ ok: false })
})

test('carries its definition in the spec, so that whoever finds the run can ask it', () => {
  const definition = define({ prompt: 'Is it {{prev.caption.text}}?', answer: { kind: 'yes-no' } })
  const spec = TaskSpec.parse(plan([definition]).at(-1))
  expect(spec).toMatchObject({ task: 'mine', after: 'caption', constraint: { kind: 'yes-no' } })
  const task = taskOf(spec)
  expect(task.follow?.(spec, { caption: { text: 'a dog' } })).toMatchObject({
    ok: true,
    plan: { prompts: [{ question: 'Is it a dog?' }] },
  })
  expect(task.parse(spec, ['Yes.'])).toMatchObject({ ok: true, output: { value: 'yes' } })
})

test.each([
  [{ name: 'caption' }, /comes with coglabel/],
  [{ prompt: '{{prev.tags.tags.0}}' }, /no task of the run/],
  [{ prompt: '{{prev.ground.boxes.0}}' }, /no task of the run/],
])('a run with %j is refused', (definition, message) => {
  expect(() => plan([define(definition)])).toThrow(message)
})

describe('tasks that take what others say', () => {
  const first = define({ name: 'first', prompt: '{{prev.caption.text}}' })
  const second = define({ name: 'second', prompt: '{{prev.first.value}} {{prev.caption.text}}' })

  test('make a graph, in whatever order they are named', () => {
    const specs = plan([second, first])
    expect(specs.map(({ task, after, besides }) => [task, after, besides])).toEqual([
      ['caption', undefined, undefined],
      ['second', 'first', ['caption']],
      ['first', 'caption', undefined],
    ])
    expect(specs.every((spec) => TaskSpec.safeParse(spec).success)).toBe(true)
  })

  test('let boxes be found of what they say, where that is words or a list of them', () => {
    const follows = [{ task: 'ground', after: 'first' }]
    expect(plan([first], { follows }).at(1)).toMatchObject({ task: 'ground', after: 'first' })
    const list = define({ name: 'first', answer: { kind: 'json', schema: { type: 'array', items: {} } } })
    const ground = plan([list], { follows }).find(({ task }) => task === 'ground')
    const followed = taskOf(ground!).follow?.(ground!, { first: { value: ['a dog', 'a cat'] } })
    expect(followed).toMatchObject({
      plan: {
        prompts: [
          { question: 'Where is a dog? Give its box.' },
          { question: 'Where is a cat? Give its box.' },
        ],
      },
    })
    const count = define({ name: 'first', answer: { kind: 'number' } })
    expect(() => plan([count], { follows })).toThrow(/"first" gives no text to find things in/)
  })

  test.each<[string, [string, string][], RegExp]>([
    ['itself', [['a', '{{prev.a.value}}']], /"a" after "a" wait for each other in a circle; take one/],
    [
      'each other',
      [
        ['a', '{{prev.caption.text}} {{prev.c.value}}'],
        ['b', '{{prev.a.value}}'],
        ['c', '{{prev.b.value}}'],
      ],
      /"a" after "c" after "b" after "a" wait for each other in a circle/,
    ],
  ])('are refused when they wait for %s, and the circle is named', (_, prompts, message) => {
    const tasks = prompts.map(([name, prompt]) => define({ name, prompt }))
    expect(() => plan(tasks)).toThrow(message)
  })

  test('are refused as a circle through tasks that come with coglabel, too', () => {
    const tasks = [define({ name: 'a', prompt: '{{prev.ground.text}}' })]
    expect(() => plan(tasks, { follows: [{ task: 'ground', after: 'a' }] })).toThrow(
      /"ground" after "a" after "ground" wait for each other/,
    )
  })

  test('may need of two models what the other says', () => {
    const tasks = [define({ name: 'a', prompt: '{{prev.ground.boxes.0}}' })]
    const grounding = { ...model, name: 'm2' }
    const asked = { phrases: ['the dog'], names: ['caption', 'ground'] }
    expect(plan(tasks, { ...asked, grounding }).map(({ task, role }) => [task, role])).toEqual([
      ['caption', undefined],
      ['ground', 'grounding'],
      ['a', undefined],
    ])
    expect(plan(tasks, asked).map(({ task }) => task)).toEqual(['caption', 'ground', 'a'])
    const second = tasks.map((task) => ({ ...task, role: 'grounding' as const }))
    expect(plan(second, { ...asked, grounding })).toHaveLength(3)
  })
})

const schema = {
  type: 'object',
  properties: { name: { type: 'string' }, count: { type: 'integer' } },
  required: ['name'],
}
const lists = { type: 'array', items: { type: 'array', items: { type: 'integer' } } }
const box = [0.1, 0.2, 0.3, 0.4]

test.each<[object, string, object]>([
  [{}, ' Calm. ', { ok: true, output: { value: 'Calm.' }, repairs: [] }],
  [{}, ' ', { ok: false, code: 'answer-empty' }],
  [
    {},
    'A dog [[100,200,300,400]].',
    { output: { value: 'A dog.' }, repairs: [expect.stringMatching(/^took boxes out/)] },
  ],
  [{ boxes: 'allowed' }, 'A dog [[100,200,300,400]].', { output: { value: 'A dog.', boxes: [box] } }],
  [{ boxes: 'allowed' }, 'A dog.', { output: { value: 'A dog.', boxes: [] } }],
  [{ boxes: 'always' }, 'A dog.', { ok: false, code: 'answer-unparsable' }],
  [{ answer: { kind: 'number' } }, 'There are seven.', { output: { value: 7 } }],
  [{ answer: { kind: 'number' } }, 'Some.', { ok: false }],
  [
    { answer: { kind: 'choice', choices: ['calm', 'tense'] } },
    'Calm.',
    { output: { value: 'calm' }, repairs: [] },
  ],
  [
    { answer: { kind: 'choice', choices: ['calm', 'tense'] } },
    'It looks tense to me',
    { output: { value: 'tense' }, repairs: [expect.stringContaining('"tense"')] },
  ],
  [{ answer: { kind: 'choice', choices: ['calm', 'tense'] } }, 'calm or tense', { ok: false }],
  [{ answer: { kind: 'choice', choices: ['polish', 'Polish'] } }, 'Polish.', { output: { value: 'Polish' } }],
  [{ answer: { kind: 'choice', choices: ['why', 'why?'] } }, 'why?', { output: { value: 'why?' } }],
  [
    { answer: { kind: 'json', schema } },
    '{"name": "a", "count": 2}',
    { output: { value: { name: 'a', count: 2 } }, repairs: [] },
  ],
  [
    { answer: { kind: 'json', schema } },
    'Sure! ```json\n{"name": "a", "count": 2,}\n```',
    { output: { value: { name: 'a', count: 2 } }, repairs: ['took out commas before closing brackets'] },
  ],
  [
    { answer: { kind: 'json', schema } },
    '{"name": "a [b", "cou',
    { output: { value: { name: 'a [b' } }, repairs: ['closed the JSON, which was cut off'] },
  ],
  [{ answer: { kind: 'json', schema } }, '{"count": 2}', { ok: false, code: 'answer-unparsable' }],
  [
    { answer: { kind: 'json', schema } },
    'nothing',
    { ok: false, message: expect.stringContaining('is not JSON') },
  ],
  [
    { answer: { kind: 'json', schema: lists } },
    '[[100,200,300,400],[1,2]]',
    {
      output: {
        value: [
          [100, 200, 300, 400],
          [1, 2],
        ],
      },
      repairs: [],
    },
  ],
  [
    { answer: { kind: 'json', schema: { type: 'object', properties: { at: lists } } }, boxes: 'allowed' },
    '{"at": [[100,200,300,400]]}',
    { output: { value: { at: [[100, 200, 300, 400]] }, boxes: [box] } },
  ],
  [
    { answer: { kind: 'json', schema }, boxes: 'always' },
    '{"name": "a dog [[100,200,300,400]]"}',
    { output: { value: { name: 'a dog' }, boxes: [box] } },
  ],
])('%j reads %j', (definition, answer, expected) => {
  const task = customTask(define(definition))
  const [spec] = plan([define(definition)], { names: [] }).slice(-1)
  const parsed = task.parse(spec!, [answer])
  expect(parsed).toMatchObject(expected)
  if (parsed.ok) expect(task.outputSchema.parse(parsed.output)).toEqual(parsed.output)
})

test('the example file is one', () => {
  const path = fileURLToPath(new URL('../../examples/tasks.yaml', import.meta.url))
  expect(readTaskFile(path).map(({ name, answer }) => [name, answer.kind])).toEqual([
    ['where', 'choice'],
    ['how-many', 'number'],
    ['locate', 'text'],
  ])
})

const laughs = [
  'a: &a [x, x]',
  ...Array.from('bcdefghij', (name, index) => {
    const before = `*${'abcdefghij'.charAt(index)}`
    return `${name}: &${name} [${before}, ${before}, ${before}]`
  }),
]

test.each([
  ['tasks: []', /no file of tasks/],
  ['tasks: [{name: x}]', /prompt/],
  ['tasks: [{name: x, prompt: y, colour: red}]', /colour/],
  ['tasks: [', /neither YAML nor JSON/],
  ['{"tasks": [{"name": "x", "prompt": "{{env.HOME}}"}]}', /no variable/],
  ['tasks: [{name: x, prompt: y, checks: [{name: nothing, action: note}]}]', /no check "nothing"/],
  ['tasks: [{name: x, prompt: y, answer: {kind: json, schema: {type: date}}}]', /the type "date"/],
  [laughs.join('\n'), /aliases/],
  [`tasks: [{name: x, prompt: "${'y'.repeat(300_000)}"}]`, /bytes/],
])('refuses a file with %.60s', async (text, message) => {
  const path = join(await tempFolder(), 'tasks.yaml')
  await writeFile(path, text)
  expect(() => readTaskFile(path)).toThrow(message)
})
