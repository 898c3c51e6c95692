// Checks inside the life of an image: what is drawn again, what is filtered, and several answers to one prompt.
import { expect, test } from 'vitest'
import { defaultChecks } from '../../dataset/checks/registry.ts'
import type { PromptRequest } from '../../gpu-worker/engine/contract.ts'
import { gateRecords, openRunTexts } from '../../gpu-worker/pipeline/gates.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import { labelOne } from '../helpers/label-one.ts'
import { someRecord } from '../helpers/records.ts'

const loop = 'A dog and a dog and a dog and a dog and a dog'

test('draws an answer that loops again, and says so', async () => {
  const { record, engine } = await labelOne({
    answer: ({ sampling }) => (sampling.temperature === 0 ? loop : 'A dog and a cat.'),
  })
  expect(record).toMatchObject({ status: 'ok', output: { text: 'A dog and a cat.' } })
  expect(record.repairs).toEqual(['asked again 1 time, since the answer repeated itself'])
  expect(record.sampling).toMatchObject({ topK: 10 })
  expect(record.sampling.temperature).toBeGreaterThan(0)
  expect(record.sampling.temperature).toBeLessThanOrEqual(0.7)
  expect(engine.counts.prompts).toBe(2)
})

test('gives up after five tries and filters, with the finding beside the label', async () => {
  const { record, engine } = await labelOne({ answer: () => loop })
  expect(engine.counts.prompts).toBe(6)
  expect(record).toMatchObject({ status: 'filtered', output: { text: loop }, error: null })
  expect(record.checks.find(({ name }) => name === 'repetition-loop')).toMatchObject({
    pass: false,
    evidence: expect.stringContaining('times in a row'),
  })
})

test('asks nothing again and finds nothing in a run without checks', async () => {
  const { record, engine } = await labelOne({ answer: () => loop, checks: 'none' })
  expect(engine.counts.prompts).toBe(1)
  expect(record).toMatchObject({ status: 'ok', checks: [] })
})

test('keeps what a noting check finds and the label too', async () => {
  const answer = () => 'The image shows a dog and a cat.'
  expect((await labelOne({ answer })).record.status).toBe('ok')
  const { record } = await labelOne({ answer, checks: 'stock-opening=filter' })
  expect(record.status).toBe('filtered')
})

test('compares boxes with those that are found again, and entities with yes and no', async () => {
  const answer = ({ question }: PromptRequest) => {
    if (question === 'Describe the image with boxes.')
      return 'A dog [[100,100,300,300]] and a cat [[500,500,900,900]].'
    if (question === 'Where is a cat? Give its box.') return '[[000,000,100,100]]'
    if (question.startsWith('Where')) return '[[110,100,310,300]]'
    if (question === 'Is there a cat?') return 'No.'
    return question.startsWith('Is there a dog')
      ? 'Yes.'
      : question.startsWith('Is')
        ? 'No.'
        : 'A dog and a cat.'
  }
  const { records } = await labelOne({
    names: ['caption', 'grounded-caption'],
    follows: [
      { task: 'ground', after: 'grounded-caption' },
      { task: 'yes-no', after: 'caption' },
    ],
    checks: 'region-cycle,entity-probes',
    answer,
  })
  const found = Object.fromEntries(records.map(({ task, status, checks }) => [task, { status, checks }]))
  expect(found).toMatchObject({
    'caption': {
      status: 'filtered',
      checks: [{ name: 'entity-probes', pass: false, score: 0.5, evidence: '"Is there a cat?" no' }],
    },
    'grounded-caption': {
      status: 'filtered',
      checks: [
        { name: 'region-cycle', pass: false, score: 0, evidence: '"a cat" not found again (IoU 0.00)' },
      ],
    },
    'ground': { status: 'ok', checks: [] },
    'yes-no': { status: 'ok', checks: [] },
  })
})

test('asks what is at each box, and notes where that has another name', async () => {
  const answer = ({ question }: PromptRequest) => {
    if (question.startsWith('Describe'))
      return 'A small dog [[100,100,300,300]] and two cats [[500,500,700,700;710,510,900,690]].'
    return question.includes('710') ? 'A fox.' : question.includes('500') ? 'The cat.' : 'A dog.'
  }
  const { records } = await labelOne({
    names: ['grounded-caption', 'describe-region'],
    follows: [{ task: 'describe-region', after: 'grounded-caption' }],
    checks: 'region-name',
    answer,
  })
  const [caption, regions] = records
  expect(caption).toMatchObject({
    status: 'ok',
    checks: [{ name: 'region-name', pass: false, score: 0.667, evidence: '"two cats" is called "A fox."' }],
  })
  expect(regions).toMatchObject({ status: 'ok', checks: [] })
})

test('draws several answers, lets one stand and keeps the others', async () => {
  const texts = ['A bird.', 'A dog.', 'A dog!', 'A cow.']
  let next = 0
  const answer = () => texts[next++]!
  const { record } = await labelOne({ answer, samples: { count: 4, choice: 'majority' } })
  expect(record.output).toEqual({ text: 'A dog.' })
  expect(record.samples).toEqual(['A bird.', 'A dog!', 'A cow.'])
  next = 0
  const medoid = await labelOne({
    answer,
    samples: { count: 4, choice: 'medoid' },
    checks: 'self-consistency',
  })
  expect(medoid.record.output).toEqual({ text: 'A dog.' })
  expect(medoid.record.checks).toMatchObject([{ name: 'self-consistency', score: 0.667, pass: true }])
})

test('leaves failed records as they are', () => {
  const failed = someRecord({ key: 'a', status: 'failed' })
  const run = { checks: [...defaultChecks] } as unknown as RunConfig
  expect(gateRecords([failed], run, { texts: openRunTexts() })).toEqual([failed])
})

test('asks again without the image what it was told to, and says what needs no image', async () => {
  const seen = new Map<string, number>()
  const answer = ({ question }: PromptRequest) => {
    const times = (seen.get(question) ?? 0) + 1
    seen.set(question, times)
    if (question.startsWith('Describe')) return 'A dog and a cat.'
    if (question.startsWith('Is there')) return 'Yes.'
    if (question.startsWith('How many')) return 'Two.'
    return times === 1 ? 'At the top.' : 'On the left.'
  }
  const names = ['caption', 'qa']
  const { records, engine } = await labelOne({ answer, names, checks: 'blind-answer' })
  const [caption, qa] = records
  expect(caption?.checks).toEqual([])
  // Of "How many", "Where" and "What colour" one is the same; "Is there" is left out.
  expect(qa?.checks).toMatchObject([
    {
      name: 'blind-answer',
      pass: true,
      score: 0.667,
      evidence: expect.stringMatching(
        /^the same without the image: "How many \w+ are there\?" "Two."$/,
      ) as string,
    },
  ])
  expect(engine.counts).toMatchObject({ images: 2, prompts: 9, open: 0, maxOpen: 1 })
  const quiet = await labelOne({ answer, names: ['caption'], checks: 'blind-answer' })
  expect(quiet.engine.counts).toMatchObject({ images: 1, prompts: 1 })
})

test('asks a share of the images alone, and says where that makes a difference', async () => {
  let batches = 0
  // An engine that hears what else is in the batch.
  const answer = ({ question }: PromptRequest) =>
    question.startsWith('Describe') && (batches += 1) > 1 ? 'A cat.' : 'A dog.'
  const all = await labelOne({ answer, checks: 'batch-invariance' })
  expect(all.record).toMatchObject({
    status: 'ok',
    output: { text: 'A dog.' },
    checks: [
      { name: 'batch-invariance', pass: false, score: 0, evidence: 'among others "A dog.", alone "A cat."' },
    ],
  })
  expect(all.engine.counts).toMatchObject({ images: 2, prompts: 2, open: 0 })
  const same = await labelOne({
    answer: () => 'A dog.',
    checks: 'batch-invariance',
    names: ['caption', 'grounded-caption'],
  })
  expect(same.record.checks).toMatchObject([{ name: 'batch-invariance', pass: true, score: 1 }])
  // Of a share so small this image is none.
  const none = await labelOne({ answer: () => 'A dog.', checks: 'batch-invariance=0.000001' })
  expect(none.record.checks).toEqual([])
  expect(none.engine.counts).toMatchObject({ images: 1, prompts: 1 })
})
