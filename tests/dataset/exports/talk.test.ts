// What records of every shape become as questions and answers. Formats' own files are in formats.test.ts.
import { expect, test } from 'vitest'
import { askedOf, turnsOf } from '../../../dataset/exports/core/conversation.ts'
import { categoryName } from '../../../dataset/exports/core/category.ts'
import { contentOfRecord, questionsOf } from '../../../dataset/exports/core/content.ts'
import { fractionDialect, perMilleDialect } from '../../../dataset/exports/core/dialect.ts'
import { findFormat } from '../../../dataset/exports/registry.ts'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { listFiles } from '../../../dataset/exports/core/files.ts'
import type { LabelRecord } from '../../../schemas/label-record.ts'
import type { TaskOutput } from '../../../schemas/task-output.ts'
import { exportStore, recordsOf, type Said, sealedStore } from '../../helpers/export-run.ts'

const chat = (text: string) => ({ template: 'chat' as const, text })
const box = [0.25, 0.5, 0.75, 1] as [number, number, number, number]
const other = [0, 0, 0.125, 0.25] as [number, number, number, number]

type Case = { name: string; task: string; questions: string[]; output: TaskOutput; turns: [string, string][] }

const twoRegions: Pick<Case, 'output' | 'turns'> = {
  output: {
    regions: [
      { box, text: 'A dog.' },
      { box: other, text: 'A cat.' },
    ],
  },
  turns: [
    ['What is at [0.250, 0.500, 0.750, 1.000]?', 'A dog.'],
    ['What is at [0.000, 0.000, 0.125, 0.250]?', 'A cat.'],
  ],
}

const cases: readonly Case[] = [
  {
    name: 'regions are asked for one by one, each with its own answer, the box in the words of the format',
    task: 'describe-region',
    questions: ['What is at [[250,500,750,999]]?', 'What is at [[000,000,125,250]]?'],
    ...twoRegions,
  },
  {
    name: 'a region whose question a model was asked in its own way of boxes is asked for in ours',
    task: 'describe-region',
    questions: ['What is at <|box_start|>(250,500),(750,999)<|box_end|>?'],
    output: { regions: [{ box, text: 'A dog.' }] },
    turns: [['What is at [0.250, 0.500, 0.750, 1.000]?', 'A dog.']],
  },
  {
    name: 'a region that a person added has a question though nobody asked the model',
    task: 'describe-region',
    questions: ['What is at [[250,500,750,999]]?'],
    ...twoRegions,
  },
  {
    name: 'a caption whose phrases were found one by one is one question, not all of them in a row',
    task: 'ground',
    questions: ['Where is a dog? Give its box.', 'Where is a cat? Give its box.'],
    output: {
      text: 'A dog and a cat.',
      phrases: [
        { text: 'A dog', start: 0, end: 5, boxes: [box] },
        { text: 'a cat', start: 10, end: 15, boxes: [other] },
      ],
    },
    turns: [
      [
        'Describe the image with boxes.',
        'A dog [0.250, 0.500, 0.750, 1.000] and a cat [0.000, 0.000, 0.125, 0.250].',
      ],
    ],
  },
  {
    name: 'a text holds the line separators of Unicode, which end no line of JSON',
    task: 'caption',
    questions: ['Describe the image.'],
    output: { text: 'one\u2028two\u2029three' },
    turns: [['Describe the image.', 'one\u2028two\u2029three']],
  },
  {
    name: 'a text begins with a wide sign that some spreadsheets run',
    task: 'caption',
    questions: ['Describe the image.'],
    output: { text: '\uff1d1+1' },
    turns: [['Describe the image.', '\uff1d1+1']],
  },
  {
    name: 'tags are the answer to their question',
    task: 'tags',
    questions: ['What is in the image?'],
    output: { tags: ['dog', 'cat'] },
    turns: [['What is in the image?', 'dog, cat']],
  },
  {
    name: 'no tags are no answer',
    task: 'tags',
    questions: ['What is in the image?'],
    output: { tags: [] },
    turns: [],
  },
  {
    name: "the words of a user's task are the answer to its question",
    task: 'where',
    questions: ['Where is\nthe dog?'],
    output: { value: 'On the left' },
    turns: [['Where is\nthe dog?', 'On the left']],
  },
  {
    name: "a number of a user's task is an answer too",
    task: 'how-many',
    questions: ['How many are there?'],
    output: { value: 2 },
    turns: [['How many are there?', '2']],
  },
  {
    name: "JSON of a user's task stands as JSON",
    task: 'facts',
    questions: ['What is the dog like?'],
    output: { value: { colour: 'red', legs: 4 } },
    turns: [['What is the dog like?', '{"colour":"red","legs":4}']],
  },
  {
    name: "boxes of a user's task stand behind its words",
    task: 'locate',
    questions: ['Where is the dog?'],
    output: { value: 'On the left', boxes: [box] },
    turns: [['Where is the dog?', 'On the left [0.250, 0.500, 0.750, 1.000]']],
  },
  {
    name: "boxes of a user's task that says nothing else are the answer",
    task: 'locate',
    questions: ['Where is the dog?'],
    output: { value: '', boxes: [box] },
    turns: [['Where is the dog?', '[0.250, 0.500, 0.750, 1.000]']],
  },
  {
    name: 'a page of HTML is read out, tags and all',
    task: 'read-text',
    questions: ['Is there a <video> tag?'],
    output: { lines: ['<video> and <audio>', '</video>'] },
    turns: [['What text is in the image?', '<video> and <audio>\n</video>']],
  },
  {
    name: 'questions without answers teach nothing',
    task: 'ask-questions',
    questions: ['Ask something.'],
    output: { questions: ['What is it?'] },
    turns: [],
  },
]

test('a question about a place keeps its words where the format writes boxes as the model was asked', () => {
  const exchange = { question: 'What is inside [[250,500,750,999]]?', at: box, answer: 'A dog.', regions: [] }
  expect(askedOf(exchange, (at) => perMilleDialect.write([at]))).toBe(exchange.question)
})

const beside: [string, Partial<LabelRecord> & Pick<LabelRecord, 'output' | 'prompt' | 'inputs'>, string[]][] =
  [
    [
      'told to the model is not told to the one that learns',
      {
        prompt: chat(
          'Question: Describe the image. It has been described as "Two $& \\"dogs\\"\\n.". Answer:',
        ),
        inputs: { existing: 'Two $& "dogs"\n.' },
        output: { text: 'A dog.' },
      },
      ['Describe the image.', 'A dog.'],
    ],
    [
      'that was kept is asked for, as the others are',
      { prompt: chat(''), inputs: { existing: 'A dog.' }, output: { text: 'A dog.' } },
      ['Describe the image.', 'A dog.'],
    ],
    [
      'that was kept for a base model is asked for in no words, as the others are',
      { prompt: { template: 'base', text: '' }, inputs: { existing: 'A dog.' }, output: { text: 'A dog.' } },
      ['', 'A dog.'],
    ],
    [
      'that names one thing is no answer to where that is, when it was found',
      {
        prompt: chat('Question: Where is a dog? Give its box. Answer:'),
        inputs: { caption: { text: 'A dog.' } },
        output: { text: 'A dog.', phrases: [{ text: 'A dog', start: 0, end: 5, boxes: [box] }] },
      },
      ['Describe the image with boxes.', 'A dog [0.250, 0.500, 0.750, 1.000].'],
    ],
    [
      'that names one thing is no answer to where that is, when it was not found',
      {
        prompt: chat('Question: Where is a dog? Give its box. Answer:'),
        inputs: { caption: { text: 'A dog.' } },
        output: { text: 'A dog.', phrases: [] },
      },
      ['Describe the image with boxes.', 'A dog.'],
    ],
  ]

test.each(beside)('a caption %s', (_name, fields, turn) => {
  const [record] = recordsOf([{ key: 'a.jpg', said: [said(cases[0]!)] }])
  const turns = turnsOf({ ...record!, ...fields }, fractionDialect)
  expect(turns.map(({ question, answer }) => [question, answer])).toEqual([turn])
})

test.each(['openai-chat', 'openai-batch', 'bedrock-batch'])(
  '%s has no empty text beside an image',
  async (name) => {
    const [record] = recordsOf([
      { key: 'a.jpg', said: [{ task: 'caption', question: 'q', output: { text: 'A dog.' } }] },
    ])
    const store = await sealedStore([{ ...record!, prompt: { template: 'base', text: '' } }])
    const { folder, report } = await exportStore(store, findFormat(name), { imageMode: 'embed' })
    expect(report.broken).toEqual([])
    const data = report.files.filter((file) => file.endsWith('.jsonl'))
    const texts = await Promise.all(data.map(async (file) => await readFile(join(folder, file), 'utf8')))
    expect(texts.join('')).toContain('A dog.')
    expect(texts.join('')).not.toContain('"text":""')
  },
)

test('questions that nobody could be asked are told apart by their lines', () => {
  const [record] = recordsOf([{ key: 'a.jpg', said: [said(cases[0]!)] }])
  const prompt = { template: 'chat' as const, text: 'Is there a dog?\nHow many?' }
  expect(questionsOf({ ...record!, prompt })).toEqual(['Is there a dog?', 'How many?'])
})

function said({ task, questions, output }: Case): Said {
  return { task, question: questions.join(' Answer:\nQuestion: '), output }
}

test.each(cases)('$name', (one) => {
  const [record] = recordsOf([{ key: 'a.jpg', said: [said(one)] }])
  expect(turnsOf(record!, fractionDialect).map(({ question, answer }) => [question, answer])).toEqual(
    one.turns,
  )
})

test('a thing is one category whether it is named in a phrase, in a sentence or in a list', () => {
  const named = ['a dog', 'A dog.', 'The  Dog', ' dog,', 'a dog!']
  expect(new Set(named.map((words) => categoryName(words)))).toEqual(new Set(['dog']))
  expect(['a', '...', 'No. 5', 'a 。'].map((words) => categoryName(words))).toEqual([
    'a',
    '...',
    'no. 5',
    '。',
  ])
})

test('boxes of a task of the user are of the kind that its words, or else its name, say', () => {
  const named = cases.filter(({ task }) => task === 'locate').map(said)
  const regions = recordsOf([{ key: 'a.jpg', said: named }]).flatMap(
    (record) => contentOfRecord(record).regions,
  )
  expect(regions.map(({ text }) => text)).toEqual(['On the left', 'locate'])
})

const formats = [
  'llava',
  'llama-factory',
  'ms-swift',
  'openai-chat',
  'openai-batch',
  'jsonl',
  'csv',
  'coco',
  'parquet',
  'label-studio',
]

test.each(formats)('%s holds every shape, loads, and comes back', async (name) => {
  const images = cases.map((one, index) => ({ key: `${index}.jpg`, said: [said(one)] }))
  const { folder, report } = await exportStore(await sealedStore(recordsOf(images)), findFormat(name))
  expect(report.broken).toEqual([])
  const back = []
  for await (const image of findFormat(name).read({ folder, names: await listFiles(folder) }))
    back.push(image)
  expect(back.length).toBeGreaterThan(0)
})

test('ms-swift has the box of a question as a placeholder, in the order of the text', async () => {
  const store = await sealedStore(recordsOf([{ key: 'a.jpg', said: [said(cases[0]!)] }]))
  const { folder } = await exportStore(store, findFormat('ms-swift'))
  const row: unknown = JSON.parse(await readFile(join(folder, 'ms-swift.jsonl'), 'utf8'))
  expect(row).toMatchObject({
    messages: [
      { content: '<image>What is at <bbox>?' },
      { content: 'A dog.' },
      { content: 'What is at <bbox>?' },
      { content: 'A cat.' },
    ],
    objects: { ref: [], bbox: [box, other] },
  })
})
