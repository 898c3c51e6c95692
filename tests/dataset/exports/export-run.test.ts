// An export as a whole: which records it takes, verdicts, images that are gone, splits, and the card.
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { expect, test } from 'vitest'
import { escapeMarkdown } from '../../../dataset/exports/core/card.ts'
import { contentOfRecord } from '../../../dataset/exports/core/content.ts'
import { readJsonElements } from '../../../dataset/exports/core/json-elements.ts'
import { parseShares } from '../../../dataset/exports/core/split.ts'
import { parseWhere } from '../../../dataset/exports/core/where.ts'
import { readReviews } from '../../../dataset/exports/ground-truth.ts'
import { findFormat } from '../../../dataset/exports/registry.ts'
import { readVerdicts, writeVerdict } from '../../../dataset/verdicts.ts'
import type { Box } from '../../../schemas/task-output.ts'
import type { Verdict } from '../../../schemas/verdict.ts'
import { everyShape, exportStore, type Labelled, recordsOf, sealedStore } from '../../helpers/export-run.ts'
import { tempFolder } from '../../helpers/temp-folder.ts'

const llava = findFormat('llava')
const caption = (text: string) => ({ task: 'caption', question: 'Describe the image.', output: { text } })
const one = (key: string, change: Partial<Labelled> = {}): Labelled => ({
  key,
  said: [caption(`of ${key}`)],
  ...change,
})

async function answersIn(folder: string, file = 'llava.json'): Promise<string[]> {
  const rows = JSON.parse(await readFile(join(folder, file), 'utf8')) as {
    conversations: { value: string }[]
  }[]
  return rows.map(({ conversations }) => conversations[1]!.value)
}

function verdictOf(recordId: string, change: Partial<Verdict>): Verdict {
  return { v: 1, recordId, verdict: 'accept', who: 'ada', at: '2026-01-01T00:00:00.000Z', ...change }
}

test('merges verdicts: the newest counts, rejected records go, edits stand, a yes outranks a check', async () => {
  const images = [
    one('edited.jpg'),
    one('failed.jpg', { status: 'failed' }),
    one('filtered.jpg', { status: 'filtered' }),
    one('kept.jpg', { status: 'filtered' }),
    one('rejected.jpg'),
    one('undone.jpg'),
  ]
  const records = recordsOf(images)
  const store = await sealedStore(records)
  const idOf = (key: string) => records.find(({ source }) => source.key === key)!.recordId
  const verdicts = [
    verdictOf(idOf('rejected.jpg'), { verdict: 'accept' }),
    verdictOf(idOf('rejected.jpg'), { verdict: 'reject', at: '2026-01-02T00:00:00.000Z' }),
    verdictOf(idOf('edited.jpg'), { verdict: 'edit', output: { text: 'by hand' } }),
    verdictOf(idOf('undone.jpg'), { verdict: 'reject' }),
    verdictOf(idOf('undone.jpg'), { verdict: 'withdraw', at: '2026-01-02T00:00:00.000Z' }),
    verdictOf(idOf('kept.jpg'), { verdict: 'accept' }),
  ]
  for (const verdict of verdicts) await writeVerdict(store, verdict)
  await writeVerdict(store, verdicts[0]!)
  expect((await readVerdicts(store)).size).toBe(3)
  const { folder, report } = await exportStore(store, llava)
  expect(await answersIn(folder)).toEqual(['by hand', 'of kept.jpg', 'of undone.jpg'])
  expect(report.statistics.leftOut).toEqual({
    'failed': 1,
    'turned down by a check': 1,
    'rejected by a person': 1,
  })
  expect(report.statistics.verdicts).toEqual({ accept: 1, edit: 1, reject: 1 })
})

test('takes what --where asks for, after edits', async () => {
  const { folder, report } = await exportStore(await sealedStore(recordsOf(everyShape)), llava, {
    where: parseWhere('task=qa or boxes>3'),
  })
  expect(report.records).toBe(2)
  expect(await answersIn(folder)).toHaveLength(2)
})

test('says of how many images the format can hold nothing', async () => {
  const { report } = await exportStore(await sealedStore(recordsOf(everyShape)), findFormat('sharegpt4v'))
  expect(report.statistics).toMatchObject({ images: 2, records: 5, entries: 2 })
  expect(report.statistics.leftOut).toEqual({ 'images of which the format can hold nothing': 1 })
})

test('of an image that was replaced only the newest content is exported', async () => {
  const old = one('a.jpg', { bytes: 'old', createdAt: '2026-01-01T00:00:00.000Z', said: [caption('old')] })
  const now = one('a.jpg', { createdAt: '2026-01-02T00:00:00.000Z', said: [caption('now')] })
  const { folder } = await exportStore(await sealedStore(recordsOf([old, now])), llava)
  expect(await answersIn(folder)).toEqual(['now'])
})

test('a later question about an image that is gone by then takes no label away', async () => {
  const [label] = recordsOf([one('a.jpg', { createdAt: '2026-01-01T00:00:00.000Z' })])
  const [asked] = recordsOf([
    one('a.jpg', {
      status: 'failed',
      createdAt: '2026-01-02T00:00:00.000Z',
      said: [{ ...caption('x'), task: 'qa' }],
    }),
  ])
  const source = { ...asked!.source, sha256: null, bytes: null, mime: null, unread: true as const }
  const store = await sealedStore([label!, { ...asked!, image: null, source }])
  const { folder } = await exportStore(store, llava)
  expect(await answersIn(folder)).toEqual(['of a.jpg'])
})

test('a box at the very edge of an image stays inside in whole pixels', async () => {
  const edge: Box = [0.999, 0.999, 1, 1]
  const said = [{ task: 'ground', question: 'Where?', output: { phrase: 'a dot', boxes: [edge] } }]
  const store = await sealedStore(recordsOf([one('a.jpg', { said })]))
  const { folder } = await exportStore(store, findFormat('ground-truth'), { imageMode: 'reference' })
  const line = JSON.parse(await readFile(join(folder, 'ground-truth.jsonl'), 'utf8')) as {
    coglabel: { annotations: unknown[] }
  }
  // Of 200 by 100 pixels.
  expect(line.coglabel.annotations).toEqual([{ class_id: 0, left: 199, top: 99, width: 1, height: 1 }])
})

test('leaves out images that are gone or changed, and lists them', async () => {
  const images = [one('changed.jpg', { bytes: 'other' }), one('gone.jpg'), one('here.jpg')]
  const { folder, report } = await exportStore(await sealedStore(recordsOf(images)), llava, {
    gone: ['gone.jpg'],
  })
  expect(await answersIn(folder)).toEqual(['of here.jpg'])
  const lines = (await readFile(join(folder, 'left-out.jsonl'), 'utf8')).trim().split('\n')
  expect(lines.map((line) => (JSON.parse(line) as { reason: string }).reason)).toEqual([
    'changed since it was labelled',
    'missing',
  ])
  expect(report.statistics.leftOut).toEqual({ 'image changed since it was labelled': 1, 'image missing': 1 })
})

test('turns images upright, and says how many it could not', async () => {
  const images = [one('side.jpg', { orientation: 6 }), one('side.png', { orientation: 8, mime: 'image/png' })]
  const store = await sealedStore(recordsOf(images))
  const turned = await exportStore(store, llava)
  expect(await readFile(join(turned.folder, 'images/side.jpg'), 'utf8')).toBe('jpeg of bytes of side.jpg')
  expect(await readdir(join(turned.folder, 'images'))).toEqual(['side.jpg', 'side.png.jpg'])
  const referred = await exportStore(store, llava, { imageMode: 'reference' })
  expect(referred.report.statistics.rotated).toBe(2)
  expect(await readFile(join(referred.folder, 'README.md'), 'utf8')).toContain('2 images lie on the side')
})

test('splits into files, names the part of each image, and lists who moved', async () => {
  const images = Array.from({ length: 40 }, (_, n) => one(`${n}.jpg`))
  const store = await sealedStore(recordsOf(images))
  const split = { shares: parseShares('train=0.5,val=0.5'), seed: 3, groupDepth: Infinity }
  const first = await exportStore(store, llava, { split: { ...split, previous: null } })
  const answers = [
    ...(await answersIn(first.folder, 'train.json')),
    ...(await answersIn(first.folder, 'val.json')),
  ]
  expect(answers.toSorted()).toEqual(images.map(({ key }) => `of ${key}`).toSorted())
  const previous = new Map([['0.jpg', 'elsewhere']])
  const second = await exportStore(store, llava, { split: { ...split, previous } })
  expect(second.report.moved).toMatchObject([{ key: '0.jpg', from: 'elsewhere' }])
  expect(await readdir(second.folder)).toContain('moved.jsonl')
})

test('groups an image that was replaced by the content that is exported, in whatever order its records were made', async () => {
  const at = (second: number) => `2026-01-01T00:00:0${second}.000Z`
  const made = (task: string, bytes: string, second: number) =>
    one('a.jpg', { bytes, createdAt: at(second), said: [{ ...caption(bytes), task }] })
  const images = [
    made('task-a', 'now', 8),
    made('task-b', 'now', 5),
    made('task-c', 'before', 7),
    one('copy.jpg', { bytes: 'now', createdAt: at(9) }),
  ]
  const split = { shares: parseShares('train=0.5,val=0.5'), seed: 3, groupDepth: 0, previous: null }
  const { folder } = await exportStore(await sealedStore(recordsOf(images)), findFormat('jsonl'), {
    split,
    imageMode: 'reference',
  })
  const lines = (await readFile(join(folder, 'splits.jsonl'), 'utf8')).trim().split('\n')
  expect(lines.map((line) => (JSON.parse(line) as { group: string }).group)).toEqual(['a.jpg', 'a.jpg'])
})

test('warns when groups make a share impossible', async () => {
  const images = Array.from({ length: 100 }, (_, n) => one(`all/${n}.jpg`))
  const split = { shares: parseShares('train=0.5,val=0.5'), seed: 3, groupDepth: Infinity, previous: null }
  const { report } = await exportStore(await sealedStore(recordsOf(images)), llava, { split })
  expect(report.warnings.join('\n')).toMatch(/has 0 of 100 images where 0.5 .*--group-depth 0 lifts that/)
})

test('the card is loud about weights that are not free, and no text of a model becomes markup', async () => {
  const images = [
    one('a.jpg', { said: [{ ...caption('x'), question: '<script>alert(1)</script> | ![a](b)' }] }),
  ]
  const { folder } = await exportStore(await sealedStore(recordsOf(images)), llava)
  const card = await readFile(join(folder, 'README.md'), 'utf8')
  expect(card).toContain('NOT FREE TO USE AS YOU LIKE')
  expect(card).toContain('commercial use needs registration')
  expect(card).toContain('Vicuna-7B-v1.5')
  expect(card).not.toContain('<script>')
  expect(escapeMarkdown('a|b\n# c')).toBe('a\\|b \\# c')
  expect(await readFile(join(folder, 'card/words-caption.svg'), 'utf8')).toContain('<svg')
})

test('an image whose name another one took when it was turned upright is left out and told', async () => {
  const images = [one('a.png', { mime: 'image/png', orientation: 6 }), one('a.png.jpg')]
  const { folder, report } = await exportStore(await sealedStore(recordsOf(images)), llava)
  expect(await answersIn(folder)).toEqual(['of a.png'])
  expect(report.statistics.leftOut).toEqual({ 'image whose name in the export another image has': 1 })
})

test.each([
  [
    '[1, [2, 3], {"a": "],["}]',
    [
      ['', 1],
      ['', [2, 3]],
      ['', { a: '],[' }],
    ],
  ],
  [
    '{"a": [{"b": [1]}, "x\\""], "c": {"d": [2]}, "e": []}',
    [
      ['a', { b: [1] }],
      ['a', 'x"'],
      ['c', { d: [2] }],
    ],
  ],
  ['[]', []],
])('reads %s element by element', async (text, expected) => {
  const path = join(await tempFolder(), 'x.json')
  await writeFile(path, text)
  const found: unknown[] = []
  for await (const { section, value } of readJsonElements(path)) found.push([section, value])
  expect(found).toEqual(expected)
  await writeFile(path, text.slice(0, -1))
  const readAll = async () => {
    for await (const element of readJsonElements(path)) expect(element).toBeDefined()
  }
  await expect(readAll()).rejects.toThrow(/cut off/)
})

test('a Ground Truth manifest says what people verified and adjusted, and reads it back', async () => {
  const grounded = (box: Box) => ({
    task: 'ground',
    question: 'Where is the dog?',
    output: { phrase: 'the dog', boxes: [box] },
  })
  const images = ['edited.jpg', 'good.jpg'].map((key) => one(key, { said: [grounded([0.1, 0.1, 0.5, 0.5])] }))
  const records = recordsOf(images)
  const store = await sealedStore(records)
  const [edited, good] = records.map(({ recordId }) => recordId)
  const output = { phrase: 'the dog', boxes: [[0.25, 0.5, 0.75, 1]] as Box[] }
  await writeVerdict(store, verdictOf(edited!, { verdict: 'edit', output, comment: 'too high' }))
  await writeVerdict(store, verdictOf(good!, { comment: 'fine' }))
  const { folder, report } = await exportStore(store, findFormat('ground-truth'))
  expect(report.broken).toEqual([])
  const text = await readFile(join(folder, 'ground-truth.jsonl'), 'utf8')
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, object>)
  expect(lines[0]).toMatchObject({
    'coglabel': { annotations: [{ left: 20, top: 10, width: 80, height: 40 }] },
    'coglabel-metadata': { 'human-annotated': 'no' },
    'coglabel-adjusted': { annotations: [{ left: 50, top: 50, width: 100, height: 50 }] },
    'coglabel-adjusted-metadata': { 'human-annotated': 'yes', 'adjustment-status': 'adjusted' },
  })
  expect(lines.flatMap(readReviews)).toMatchObject([
    {
      image: 's3://test/edited.jpg',
      verdict: 'edit',
      regions: [{ text: 'dog', boxes: [[0.25, 0.5, 0.75, 1]] }],
    },
    { image: 's3://test/good.jpg', verdict: 'accept', comment: 'fine' },
  ])
})

test('Parquet has boxes, turns and checks as lists of structs, as many as the records have', async () => {
  const checks = [
    { name: 'cycle', pass: true, score: 0.5, evidence: 'e' },
    { name: 'yes-no', pass: false, score: null, evidence: '' },
  ]
  const records = recordsOf(everyShape.map((image) => ({ ...image, checks })))
  const { folder } = await exportStore(await sealedStore(records), findFormat('parquet'))
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(join(folder, 'parquet.parquet')) })
  expect(rows).toHaveLength(records.length)
  for (const row of rows) {
    const record = records.find(({ recordId }) => recordId === row['record_id'])!
    const { regions, turns } = contentOfRecord(record)
    const boxes = regions.flatMap((region) => region.boxes.map((box) => [region.text, ...box]))
    const found = row['boxes'] as { phrase: string; x0: number; y0: number; x1: number; y1: number }[]
    expect(found.map(({ phrase, x0, y0, x1, y1 }) => [phrase, x0, y0, x1, y1])).toEqual(boxes)
    expect(row['turns']).toEqual(turns)
    expect(row['checks']).toEqual(checks)
  }
})
