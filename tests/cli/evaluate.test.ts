// `coglabel evaluate` and `coglabel draw` on a run whose answers are known, worked by hand.
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runEvaluate } from '../../cli/evaluate.ts'
import { runLabel } from '../../cli/label.ts'
import type { Evaluation } from '../../cli/evaluation-table.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { solidPng } from '../helpers/images.ts'
import { openLabelRoot } from '../helpers/label-root.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

async function coglabel(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : (child.exitCode ?? -1), stdout, stderr }),
    )
  })
}

const dog = { name: 'dog', box: [0.1, 0.1, 0.5, 0.5] }
const apple = { name: 'apple', box: [0.6, 0.6, 0.9, 0.9] }
const asked = [
  { question: 'Is there a dog?', answer: 'Yes.', kind: 'exists' },
  { question: 'How many objects do you see?', answer: 'Two.', kind: 'count' },
  { question: 'Where is the dog? Give its box.', answer: '[[100,100,500,500]]', kind: 'ground' },
]
const gold = [
  { key: 'images/one.png', width: 8, height: 8, objects: [dog, apple], questions: asked },
  {
    key: 'images/two.png',
    width: 8,
    height: 8,
    objects: [apple],
    questions: asked.slice(0, 1).map((one) => ({ ...one, answer: 'No.' })),
  },
  { key: 'images/gone.png', width: 8, height: 8, objects: [dog], questions: [] },
]

const answers: Record<string, string> = {
  'Describe the image.': 'A puppy and an apple.',
  'Describe the image with boxes.': 'A puppy [[100,100,500,500]] and an apple [[000,000,100,100]].',
  'Is there a dog?': 'Yes.',
  'How many objects do you see?': 'Three.',
  'Where is the dog? Give its box.': '[[100,100,500,480]]',
}

/** A folder with two images, their gold and a run over them by an engine that always answers the same. */
async function makeRun(): Promise<{ folder: string; run: string; goldPath: string }> {
  const folder = await tempFolder()
  await mkdir(join(folder, 'images'))
  await writeFile(join(folder, 'images/one.png'), solidPng([200, 30, 30]))
  await writeFile(join(folder, 'images/two.png'), solidPng([30, 200, 30]))
  const goldPath = join(folder, 'gold.jsonl')
  await writeFile(goldPath, gold.map((line) => JSON.stringify(line)).join('\n'))
  const manifest = join(folder, 'manifest.jsonl')
  const lines = ['one', 'two'].map((name) => ({
    image: `images/${name}.png`,
    questions: asked.slice(0, 2).map(({ question }) => question),
    phrases: ['the dog'],
  }))
  await writeFile(manifest, lines.map((line) => JSON.stringify(line)).join('\n'))
  const { root } = openLabelRoot(openCountingEngine({ answer: ({ question }) => answers[question] }), {
    clock: () => new Date('2026-01-01T00:00:00Z'),
  })
  const run = join(folder, 'run')
  const code = await runLabel([manifest, '--out', run, '--tasks', 'caption,qa,grounded-caption,ground'], root)
  expect(code).toBe(0)
  return { folder, run, goldPath }
}

describe('coglabel evaluate', () => {
  test('counts what is right by hand, missing images as wrong', async () => {
    const { run, goldPath } = await makeRun()
    const ended = await coglabel('evaluate', run, '--gold', goldPath)
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    // Our own file, as its type says.
    const evaluation = JSON.parse(await readFile(join(run, 'evaluation.json'), 'utf8')) as Evaluation
    const figures = Object.fromEntries(
      evaluation.metrics.map(({ metric, all, missing }) => [metric, [all.right, all.total, missing]]),
    )
    expect(figures).toEqual({
      // Kinds: dog and apple, apple, and a dog in the image that is gone.
      'caption recall': [3, 4, 1],
      'caption precision': [3, 4, 1],
      'caption counts': [3, 4, 1],
      'caption boxes Acc@0.5': [1, 4, 1],
      'caption boxes precision': [1, 4, 1],
      'yes/no': [1, 2, 0],
      'count exact': [0, 1, 0],
      'asked box Acc@0.5': [1, 1, 0],
    })
    const recall = evaluation.metrics.find(({ metric }) => metric === 'caption recall')
    expect(recall?.byObjects).toEqual({
      1: { right: 1, total: 2, share: 0.5 },
      2: { right: 2, total: 2, share: 1 },
    })
    expect(ended.stdout).toMatch(/caption recall +75\.0 +50\.0 +100\.0 +4 +1\n/)
    expect(ended.stdout).toContain('1 images of the gold are not in the run')
    expect((await readFile(join(run, 'evaluation-worst.png'))).subarray(1, 4).toString()).toBe('PNG')
  })

  test('finds images whose keys begin at another folder', async () => {
    const { folder, run } = await makeRun()
    const path = join(folder, 'other.jsonl')
    await writeFile(path, JSON.stringify({ ...gold[0], key: 'one.png' }))
    await coglabel('evaluate', run, '--gold', path)
    const evaluation = JSON.parse(await readFile(join(run, 'evaluation.json'), 'utf8')) as Evaluation
    expect(evaluation.imagesMissing).toBe(0)
  })

  test.each([
    ['is not JSON', 'not json', /line 1 of .* is not JSON/],
    ['lacks fields', '{"key": "a"}', /line 1 of .* is not as expected/],
    [
      'has a corner with a width and a height for a box',
      JSON.stringify({ ...gold[0], objects: [{ name: 'bear', box: [0.5, 0.5, 0.2, 0.2] }] }),
      /two corners, not a corner with a width and a height/,
    ],
    ['is empty', '', /is empty/],
    [
      'is of other images',
      JSON.stringify({ ...gold[0], key: 'elsewhere.png' }),
      /no image of .* is in the run/,
    ],
    [
      'repeats an image',
      `${JSON.stringify(gold[0])}\n${JSON.stringify(gold[0])}`,
      /two lines for "images\/one.png"/,
    ],
  ])('says so when the gold %s', async (_, text, message) => {
    const { folder, run } = await makeRun()
    const path = join(folder, 'bad.jsonl')
    await writeFile(path, text)
    const ended = await coglabel('evaluate', run, '--gold', path)
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(message)
  })
})

describe('coglabel draw', () => {
  test('draws every image and task with boxes, and a sheet', async () => {
    const { folder, run } = await makeRun()
    const out = join(folder, 'pictures')
    expect(await coglabel('draw', run, '--out', out)).toMatchObject({ code: 0, stderr: '' })
    expect((await readdir(out, { recursive: true })).toSorted()).toEqual([
      'contact-sheet.png',
      'images',
      'images/one.png.ground.png',
      'images/one.png.grounded-caption.png',
      'images/two.png.ground.png',
      'images/two.png.grounded-caption.png',
    ])
    const limited = await coglabel('draw', run, '--out', join(folder, 'few'), '--limit', '1')
    expect(limited.stdout).toContain('drew 2 pictures')
  })

  test('cuts the names of pictures that no disk would take, and keeps them apart', async () => {
    const { folder } = await makeRun()
    const [source, run, out] = [join(folder, 'long'), join(folder, 'long-run'), join(folder, 'pictures')]
    await mkdir(source)
    for (const end of ['a', 'b'])
      await writeFile(join(source, `${'é'.repeat(120)}${end}.png`), solidPng([200, 30, 30]))
    const root = openLabelRoot(openCountingEngine()).root
    expect(await runLabel([source, '--out', run, '--tasks', 'caption'], root)).toBe(0)
    expect(await coglabel('draw', run, '--out', out)).toMatchObject({ code: 0, stderr: '' })
    const names = (await readdir(out)).filter((name) => name.endsWith('.caption.png'))
    expect(names).toHaveLength(2)
    for (const name of names) {
      expect(name).toMatch(/^é+-[0-9a-f]{8}\.caption\.png$/)
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(230)
    }
  })

  test('says which images it could not draw', async () => {
    const { folder, run } = await makeRun()
    await writeFile(join(folder, 'images/one.png'), 'no longer an image')
    const ended = await coglabel('draw', run, '--out', join(folder, 'pictures'))
    expect(ended.code).toBe(3)
    expect(ended.stderr).toMatch(/^images\/one\.png: the bytes look like/)
  })

  test.each([
    [['draw', 'nowhere', '--out', 'x'], /is no run folder/],
    [['draw'], /takes one run folder/],
    [['draw', 'a'], /needs a place for the pictures/],
    [['draw', 'a', '--out', 'a'], /is the run folder itself/],
    [['evaluate', 'nowhere', '--gold', 'x'], /is no run folder/],
    [['evaluate', 'a'], /given with --out/],
  ])('refuses %j', async (args, message) => {
    const ended = await coglabel(...args)
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(message)
  })
})

test('refuses to label a run folder as if it were a benchmark', async () => {
  const { folder, run, goldPath } = await makeRun()
  const ended = await coglabel('evaluate', run, '--gold', goldPath, '--out', join(folder, 'elsewhere'))
  expect(ended.code).toBe(2)
  expect(ended.stderr).toMatch(/is a run folder, and its scores go into it; leave out --out/)
})

test('labels and scores a benchmark as it comes, with a report that needs no other file', async () => {
  const folder = await tempFolder()
  await mkdir(join(folder, 'pope/images'), { recursive: true })
  await writeFile(join(folder, 'pope/images/one.png'), solidPng([200, 30, 30]))
  const asks = (text: string, label: string) =>
    JSON.stringify({ question_id: 1, image: 'one.png', text, label })
  await writeFile(
    join(folder, 'pope/coco_pope_random.json'),
    [asks('Is there a dog?', 'yes'), asks('Is there a <cat>?', 'no')].join('\n'),
  )
  const { root, printed } = openLabelRoot(openCountingEngine({ answer: () => 'Yes.' }), {
    clock: () => new Date(0),
  })
  const out = join(folder, 'out')
  expect(await runEvaluate([join(folder, 'pope'), '--out', out], root)).toBe(0)
  expect(printed.join('\n')).toMatch(/accuracy +50\.00 +2/)
  expect(JSON.parse(await readFile(join(out, 'evaluation.json'), 'utf8'))).toMatchObject({
    benchmark: 'pope',
    images: 1,
    rows: expect.arrayContaining([{ name: 'yesRatio', value: 100, of: 2 }]),
  })
  const page = await readFile(join(out, 'evaluation.html'), 'utf8')
  expect(page).toContain('<dd>Is there a &lt;cat&gt;?</dd>')
  expect(page).toContain('data:image/jpeg;base64,')
  // Nothing is fetched and nothing runs.
  expect(page).not.toMatch(/<script|src="(?!data:)|href=/)
  // Again: everything is there already, and scored the same.
  expect(await runEvaluate([join(folder, 'pope'), '--out', out], root)).toBe(0)
})
