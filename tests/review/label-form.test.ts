// What a record's label may be: every task's failed record has a draft of its own shape, and edits are held to the task.
import { expect, it, test } from 'vitest'
import { customTask } from '../../gpu-worker/tasks/custom.ts'
import { planTasks, tasks } from '../../gpu-worker/tasks/registry.ts'
import { renderPrompt } from '../../gpu-worker/tokenizer/template.ts'
import { checkEdit } from '../../review/judge.ts'
import { draftOf, labelForm } from '../../review/label-form.ts'
import { linesOf } from '../../review/page/text.js'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { PromptTemplate } from '../../schemas/model-manifest.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import { TaskOutput } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { testConfig } from '../helpers/export-run.ts'
import { someRecord } from '../helpers/records.ts'

const names = tasks.map(({ name }) => name)
const specsOf = (template: PromptTemplate) =>
  names.flatMap((name) =>
    planTasks({
      names: [name],
      questions: name === 'qa' ? ['How many boats?', 'Is it dark?\nAnd why?'] : [],
      phrases: name === 'ground' ? ['the red dog'] : [],
      objects: ['dog', 'red apple'],
      regions: name === 'describe-region' ? [[0.1, 0.2, 0.3, 0.4]] : [],
      model: { name: 'm', template, capabilities: names },
    }),
  )

function failedRecord({ task, ordinal, template, prompts }: TaskSpec, wasAsked = true): LabelRecord {
  const asked = prompts.map(({ question }) =>
    wasAsked ? renderPrompt({ template, history: [], question }) : question,
  )
  return {
    ...someRecord({ key: 'a.png', task, ordinal, status: 'failed' }),
    prompt: { template, text: asked.join('\n') },
  }
}

const drafts: Record<string, unknown> = {
  'caption': { text: '' },
  'detailed-caption': { text: '' },
  'grounded-caption': { text: '', phrases: [] },
  'ground': { phrase: 'the red dog', boxes: [] },
  'qa': {
    turns: [
      { question: 'How many boats?', answer: '', kind: 'asked' },
      { question: 'Is it dark?\nAnd why?', answer: '', kind: 'asked' },
    ],
  },
  'yes-no': {
    probes: [
      { question: 'Is there a dog?', answer: null, object: 'dog' },
      { question: 'Is there a red apple?', answer: null, object: 'red apple' },
    ],
  },
  'count': {
    counts: [
      { object: 'dogs', count: null },
      { object: 'red apples', count: null },
    ],
  },
  'tags': { tags: [] },
  'read-text': { lines: [] },
  'describe-region': { regions: [{ box: [0.1, 0.2, 0.3, 0.4], text: '' }] },
  'ask-questions': { questions: [] },
}

test('there is a draft to expect of every task', () => {
  expect(Object.keys(drafts).toSorted()).toEqual(names.toSorted())
})

it.each(PromptTemplate.options.flatMap((template) => specsOf(template).map((spec) => ({ template, spec }))))(
  'a failed record of $spec.task asked in the $template template is written from what was asked',
  ({ spec, template }) => {
    const record = failedRecord(spec)
    const form = labelForm(record, { ...testConfig, tasks: [spec] })
    const isSplit = spec.task === 'qa' && template === 'base'
    if (!isSplit) expect(draftOf(record, form)).toEqual(drafts[spec.task])
    // A run whose settings do not name the task, as with images' own questions.
    const bare = failedRecord(spec)
    if (!isSplit) expect(draftOf(bare, labelForm(bare, testConfig))).toEqual(drafts[spec.task])
  },
)

it('knows what was to be asked of a record that nobody asked', () => {
  const [spec] = specsOf('chat').filter(({ task }) => task === 'count')
  const record = failedRecord(spec!, false)
  expect(draftOf(record, labelForm(record, testConfig))).toEqual(drafts['count'])
})

it('takes no placeholder for a question where what was to be asked about is missing', () => {
  const specs = planTasks({
    names: ['caption', 'yes-no', 'count', 'describe-region', 'grounded-caption'],
    questions: [],
    phrases: [],
    model: { name: 'm', template: 'chat', capabilities: names },
  }).filter(({ after }) => after !== undefined)
  const written = specs.map((spec) => {
    const record = {
      ...failedRecord(spec, false),
      error: { code: 'task-upstream-failed' as const, message: 'the caption failed' },
    }
    return draftOf(record, labelForm(record, { ...testConfig, tasks: specs }))
  })
  expect(written).toEqual(expect.arrayContaining([{ probes: [] }, { counts: [] }, { regions: [] }]))
})

const custom = (answer: unknown, boxes = 'never') =>
  TaskDefinition.parse({ name: 'mine', prompt: 'p', answer, boxes })
const schema = {
  type: 'object',
  properties: { mood: { type: 'string' }, people: { type: 'integer', minimum: 0 } },
  required: ['mood', 'people'],
  additionalProperties: false,
}

it.each([
  ['a text', custom({ kind: 'text' }), { value: 'calm' }, null],
  ['a number for a text', custom({ kind: 'text' }), { value: 3 }, /value: .*string/],
  ['a choice', custom({ kind: 'choice', choices: ['calm', 'tense'] }), { value: 'tense' }, null],
  [
    'no choice',
    custom({ kind: 'choice', choices: ['calm', 'tense'] }),
    { value: 'Tense' },
    /"calm"\|"tense"/,
  ],
  ['yes', custom({ kind: 'yes-no' }), { value: 'yes' }, null],
  ['maybe', custom({ kind: 'yes-no' }), { value: 'maybe' }, /"yes"\|"no"/],
  ['a count', custom({ kind: 'number' }), { value: 12 }, null],
  ['half a thing', custom({ kind: 'number' }), { value: 1.5 }, /int/],
  ['JSON of the schema', custom({ kind: 'json', schema }), { value: { mood: 'calm', people: 2 } }, null],
  [
    'JSON that lacks a field',
    custom({ kind: 'json', schema }),
    { value: { mood: 'calm' } },
    /value\.people: .*expected number/,
  ],
  [
    'a box where there shall be none',
    custom({ kind: 'text' }),
    { value: 'a', boxes: [[0, 0, 1, 1]] },
    /"boxes"/,
  ],
  [
    'no box where there must be one',
    custom({ kind: 'text' }, 'always'),
    { value: 'a', boxes: [] },
    /boxes: /,
  ],
  ['a box', custom({ kind: 'text' }, 'always'), { value: 'a', boxes: [[0, 0, 1, 1]] }, null],
  ['a flat box', custom({ kind: 'text' }, 'always'), { value: 'a', boxes: [[0, 0, 0, 1]] }, /draw it again/],
])('holds the answer to a task of the user to its form: %s', (...[, definition, output, says]) => {
  const [plan] = customTask(definition).plan({
    template: 'chat',
    questions: [],
    phrases: [],
    from: [],
    objects: [],
    regions: [],
  })
  const [spec] = specsOf('chat')
  const own: TaskSpec = { ...spec!, ...plan!, task: 'mine', ordinal: 0 }
  const record = failedRecord(own)
  const form = labelForm(record, { ...testConfig, tasks: [own] })
  expect(draftOf(record, form)).toEqual(
    definition.boxes === 'never' ? { value: '' } : { value: '', boxes: [] },
  )
  const judged = () => checkEdit(record, TaskOutput.parse(output), form)
  if (says === null) judged()
  else expect(judged).toThrow(says)
})

it.each<[TaskOutput, string[]]>([
  [{ text: 'a' }, ['a']],
  [{ text: 'a dog', phrases: [] }, ['a dog']],
  [{ phrase: 'p', boxes: [] }, ['p: not there']],
  [{ phrase: 'p', boxes: [[0, 0, 1, 1]] }, ['p: 1 box']],
  [{ turns: [{ question: 'q', answer: 'a', kind: 'asked' }] }, ['q a']],
  [{ probes: [{ question: 'q', answer: 'no' }] }, ['q no']],
  [{ counts: [{ object: 'dogs', count: 2 }] }, ['dogs: 2']],
  [{ regions: [{ box: [0, 0, 1, 1], text: 'r' }] }, ['r']],
  [{ tags: ['t', 'u'] }, ['t', 'u']],
  [{ lines: ['l'] }, ['l']],
  [{ questions: ['q'] }, ['q']],
  [{ value: { a: [1] } }, ['{"a":[1]}']],
  [{ value: 'v' }, ['v']],
])('says what is in %j', (output, lines) => {
  expect(linesOf(output)).toEqual(lines)
})
