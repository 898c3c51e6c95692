// Editing every shape of label with the keyboard alone, writing failed records by hand, and what exports make of both.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { customTask } from '../../gpu-worker/tasks/custom.ts'
import { exportRun } from '../../dataset/exports/core/run-export.ts'
import { findFormat } from '../../dataset/exports/registry.ts'
import { readRun } from '../../dataset/run-folder.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { readVerdicts } from '../../dataset/verdicts.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { browserPath, openBrowser } from '../helpers/browser.ts'
import { openReviewPage, type PageOptions, progress, violations } from './opened-page.ts'
import { type ReviewImage, reviewRecordId } from '../helpers/review-run.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const schema = {
  type: 'object',
  properties: { mood: { type: 'string' }, people: { type: 'integer' } },
  required: ['mood', 'people'],
  additionalProperties: false,
}
const definitions = [
  { name: 'mood', prompt: 'p', answer: { kind: 'choice', choices: ['calm', 'tense'] } },
  { name: 'scene', prompt: 'p', answer: { kind: 'json', schema } },
  { name: 'place', prompt: 'p', answer: { kind: 'text' }, boxes: 'always' },
  { name: 'safe', prompt: 'p', answer: { kind: 'yes-no' } },
  { name: 'how-old', prompt: 'p', answer: { kind: 'number' } },
].map((one) => TaskDefinition.parse(one))

const request = { template: 'chat' as const, questions: [], phrases: [], from: [], objects: [], regions: [] }
const tasks: RunConfig['tasks'] = definitions.flatMap((definition) =>
  customTask(definition)
    .plan(request)
    .map((plan): TaskSpec => ({
      task: definition.name,
      taskVersion: 1,
      ordinal: 0,
      template: 'chat',
      maxNewTokens: 8,
      ...plan,
    })),
)

const key = 'owl.png'
const box: [number, number, number, number] = [0.1, 0.1, 0.4, 0.5]

type Case = {
  task: string
  before: TaskOutput | null
  question?: string
  /** Keys that change the label; the editor is open, its first field has the focus. */
  edit: (page: Page) => Promise<void>
  after: TaskOutput
}

const all = async (page: Page, text: string) => {
  await page.keyboard.press('Control+A')
  await page.keyboard.type(text)
}
const tab = async (page: Page, times = 1) => {
  for (let pressed = 0; pressed < times; pressed += 1) await page.keyboard.press('Tab')
}
/** Goes on by Tab until a thing of this name has the focus: what it takes whom has no mouse. */
const tabTo = async (page: Page, name: RegExp) => {
  for (let pressed = 0; pressed < 40; pressed += 1) {
    const found = await page.evaluate(() => {
      const { activeElement: here } = document
      return `${here?.getAttribute('aria-label') ?? ''} ${here?.textContent ?? ''}`
    })
    if (name.test(found)) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`nothing called ${name.source} was reached by Tab`)
}
const addBox = async (page: Page) => {
  await tabTo(page, /Add a box/)
  await page.keyboard.press('Enter')
}

const cases: Case[] = [
  {
    task: 'caption',
    before: { text: 'a dog' },
    edit: async (page) => await all(page, 'an owl'),
    after: { text: 'an owl' },
  },
  {
    task: 'qa',
    before: {
      turns: [
        { question: 'How many?', answer: 'Two.', kind: 'asked' },
        { question: 'Why?', answer: 'So.', kind: 'model' },
      ],
    },
    edit: async (page) => {
      await all(page, 'One.')
      await tab(page)
      await page.keyboard.press('Control+A')
      await page.keyboard.press('Delete')
    },
    after: { turns: [{ question: 'How many?', answer: 'One.', kind: 'asked' }] },
  },
  {
    task: 'yes-no',
    before: {
      probes: [{ question: 'Is there a dog?', answer: 'yes', object: 'dog', expected: 'yes' }],
    },
    edit: async (page) => await page.keyboard.type('no'),
    after: { probes: [{ question: 'Is there a dog?', answer: 'no', object: 'dog', expected: 'yes' }] },
  },
  {
    task: 'count',
    before: { counts: [{ object: 'dogs', count: 2 }] },
    edit: async (page) => {
      await tab(page)
      await all(page, '3')
      await tabTo(page, /Count another/)
      await page.keyboard.press('Enter')
      await page.keyboard.type('owls')
      await tab(page)
      await page.keyboard.type('1')
    },
    after: {
      counts: [
        { object: 'dogs', count: 3 },
        { object: 'owls', count: 1 },
      ],
    },
  },
  {
    task: 'tags',
    before: { tags: ['dog'] },
    edit: async (page) => await all(page, 'Owl, tree,, owl ,green grass'),
    after: { tags: ['owl', 'tree', 'green grass'] },
  },
  {
    task: 'read-text',
    before: { lines: ['STOP'] },
    edit: async (page) => {
      await page.keyboard.press('End')
      await page.keyboard.press('Enter')
      await page.keyboard.type('HERE')
    },
    after: { lines: ['STOP', 'HERE'] },
  },
  {
    task: 'ask-questions',
    before: { questions: ['Why?'] },
    edit: async (page) => await all(page, 'What is it?'),
    after: { questions: ['What is it?'] },
  },
  {
    task: 'describe-region',
    before: { regions: [{ box, text: 'a dog' }] },
    edit: async (page) => {
      await all(page, 'an owl')
      await addBox(page)
      await page.keyboard.press('Shift+ArrowRight')
      await page.keyboard.press('ArrowUp')
      await page.keyboard.press('Escape')
      await tab(page, 2)
      await page.keyboard.type('grass')
    },
    after: {
      regions: [
        { box, text: 'an owl' },
        { box: [0.35, 0.345, 0.655, 0.645], text: 'grass' },
      ],
    },
  },
  {
    task: 'ground',
    before: { phrase: 'the owl', boxes: [box] },
    edit: async (page) => {
      await addBox(page)
      await page.keyboard.press('ArrowRight')
    },
    after: { phrase: 'the owl', boxes: [box, [0.355, 0.35, 0.655, 0.65]] },
  },
  {
    task: 'grounded-caption',
    before: { text: 'An owl on grass.', phrases: [] },
    edit: async (page) => {
      await page.keyboard.press('Control+Home')
      for (let pressed = 0; pressed < 6; pressed += 1) await page.keyboard.press('Shift+ArrowRight')
      await addBox(page)
    },
    after: {
      text: 'An owl on grass.',
      phrases: [{ text: 'An owl', start: 0, end: 6, boxes: [[0.35, 0.35, 0.65, 0.65]] }],
    },
  },
  {
    task: 'mood',
    before: { value: 'calm' },
    edit: async (page) => await page.keyboard.type('tense'),
    after: { value: 'tense' },
  },
  {
    task: 'safe',
    before: { value: 'yes' },
    edit: async (page) => await page.keyboard.type('no'),
    after: { value: 'no' },
  },
  {
    task: 'how-old',
    before: { value: 7 },
    edit: async (page) => await all(page, '12'),
    after: { value: 12 },
  },
  {
    task: 'scene',
    before: { value: { mood: 'calm', people: 0 } },
    edit: async (page) => await all(page, '{"mood": "tense", "people": 2}'),
    after: { value: { mood: 'tense', people: 2 } },
  },
  {
    task: 'place',
    before: { value: 'a tree', boxes: [box] },
    edit: async (page) => {
      await all(page, 'a wall')
      await addBox(page)
    },
    after: { value: 'a wall', boxes: [box, [0.35, 0.35, 0.65, 0.65]] },
  },
  // Records that failed: nothing was said, everything is written by hand.
  {
    task: 'detailed-caption',
    before: null,
    edit: async (page) => await page.keyboard.type('An owl, in full.'),
    after: { text: 'An owl, in full.' },
  },
  {
    task: 'qa',
    before: null,
    question: 'Question: How many owls? Answer:',
    edit: async (page) => {
      await page.keyboard.type('One.')
      await tabTo(page, /Ask another/)
      await page.keyboard.press('Enter')
      await page.keyboard.type('Is it dark?')
      await tab(page)
      await page.keyboard.type('No.')
    },
    after: {
      turns: [
        { question: 'How many owls?', answer: 'One.', kind: 'asked' },
        { question: 'Is it dark?', answer: 'No.', kind: 'asked' },
      ],
    },
  },
  {
    task: 'ground',
    before: null,
    question: 'Question: Where is the owl? Give its box. Answer:',
    edit: addBox,
    after: { phrase: 'the owl', boxes: [[0.35, 0.35, 0.65, 0.65]] },
  },
  {
    task: 'count',
    before: null,
    question: 'Question: How many owls are there? Answer:',
    edit: async (page) => {
      await tab(page)
      await page.keyboard.type('1')
    },
    after: { counts: [{ object: 'owls', count: 1 }] },
  },
  {
    task: 'yes-no',
    before: null,
    question: 'Question: Is there an owl? Answer:',
    edit: async (page) => await page.keyboard.type('yes'),
    after: { probes: [{ question: 'Is there an owl?', answer: 'yes', object: 'owl' }] },
  },
  {
    task: 'tags',
    before: null,
    edit: async (page) => await page.keyboard.type('owl'),
    after: { tags: ['owl'] },
  },
  {
    task: 'scene',
    before: null,
    edit: async (page) => await page.keyboard.type('{"mood": "calm", "people": 0}'),
    after: { value: { mood: 'calm', people: 0 } },
  },
  {
    task: 'place',
    before: null,
    edit: async (page) => {
      await page.keyboard.type('a wall')
      await addBox(page)
    },
    after: { value: 'a wall', boxes: [[0.35, 0.35, 0.65, 0.65]] },
  },
]

describe.skipIf(browserPath === null)('editing', () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(async () => await browser?.close())

  type Opening = Pick<Case, 'task' | 'before' | 'question'> & Pick<PageOptions, 'scheme' | 'width'>
  const open = async ({ task, before, question, ...options }: Opening) => {
    const images: ReviewImage[] = [
      {
        key,
        sample: 'owl.png',
        said: [{ task, output: before, ...(question === undefined ? {} : { question }) }],
      },
    ]
    const opened = await openReviewPage(browser, { images, tasks, ...options })
    await opened.page.keyboard.press('e')
    await opened.page.waitForSelector('.editor')
    return opened
  }

  it.each(cases)(
    '$task, before $before, is edited with keys, and an export has what was written',
    async (one) => {
      const { page, store, heard } = await open(one)
      await one.edit(page)
      await page.keyboard.press('Control+Enter')
      await progress(page, /1 edited/)
      const verdict = (await readVerdicts(store)).get(reviewRecordId(key, one.task))
      expect(verdict?.output).toEqual(one.after)
      expect(await exportedOutputs(store)).toEqual([{ task: one.task, status: 'ok', output: one.after }])
      expect(heard).toEqual([])
    },
  )

  it.each(
    cases.flatMap(({ task, before, question = 'q' }) =>
      before === null || ['qa', 'count', 'yes-no', 'describe-region', 'scene', 'place'].includes(task)
        ? [
            { task, before, question, scheme: 'light' as const, width: 390 },
            { task, before, question, scheme: 'dark' as const, width: 1280 },
          ]
        : [],
    ),
  )('the form of $task, before $before, in $scheme at $width pixels shuts nobody out', async (one) => {
    const { page } = await open(one)
    expect(await violations(page)).toEqual([])
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
  })

  it('shows what is wrong with JSON while it is written and what its schema wants, and keeps the form open', async () => {
    const { page, store } = await open({ task: 'scene', before: { value: { mood: 'calm', people: 0 } } })
    await all(page, '{"mood": ')
    expect(await page.textContent('.editor .edit-problem >> nth=0')).toContain('this is no JSON yet')
    await page.keyboard.press('Control+Enter')
    await all(page, '{"mood": "calm", "people": "two"}')
    await page.keyboard.press('Control+Enter')
    await page.locator('.editor [role=alert]', { hasText: 'value.people' }).waitFor()
    expect((await readVerdicts(store)).size).toBe(0)
    await all(page, '{"mood": "calm", "people": 2}')
    await page.keyboard.press('Control+Enter')
    await progress(page, /1 edited/)
  })

  it('asks for a number before it saves, and says what a label lacks', async () => {
    const { page, store } = await open({ task: 'place', before: { value: 'a tree', boxes: [box] } })
    await page.locator('.box.current').focus()
    await page.keyboard.press('Delete')
    await page.keyboard.press('Control+Enter')
    await page.locator('.editor [role=alert]', { hasText: 'boxes' }).waitFor()
    expect((await readVerdicts(store)).size).toBe(0)
  })
})

/** What the records format writes of a run, verdicts merged. */
async function exportedOutputs(store: ObjectStore) {
  const config = await readRun(store)
  const folder = await tempFolder()
  await exportRun({
    store,
    config: config!,
    format: findFormat('jsonl'),
    folder,
    ports: { readImage: async () => null },
    imageMode: 'reference',
    stripsMetadata: false,
    where: null,
    split: null,
    checks: true,
    command: '',
    version: '0',
    clock: () => new Date(),
    onProgress: () => {},
  })
  const text = await readFile(join(folder, 'jsonl-00000.jsonl'), 'utf8')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const { task, status, output } = JSON.parse(line)
      return { task, status, output }
    })
}
