// Reviews made in Ground Truth come back as verdicts: out by the export, judged there, in by the verb.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { runImportReviews } from '../../cli/import-reviews.ts'
import { type ManifestReview, readReviews } from '../../dataset/exports/ground-truth.ts'
import { findFormat } from '../../dataset/exports/registry.ts'
import { readVerdicts, writeVerdict } from '../../dataset/verdicts.ts'
import { verdictsOfReviews } from '../../review/ground-truth.ts'
import type { Box, TaskOutput } from '../../schemas/task-output.ts'
import { exportStore, imageSize, recordsOf, sealedStore } from '../helpers/export-run.ts'
import { makeReviewRun, reviewRecordId } from '../helpers/review-run.ts'
import { runVerb } from '../helpers/verbs.ts'

const dogs: TaskOutput = {
  text: 'A dog, a dog and a cat.',
  phrases: [
    { text: 'A dog', start: 0, end: 5, boxes: [[0.1, 0.1, 0.3, 0.3]] },
    { text: 'a dog', start: 7, end: 12, boxes: [[0.6, 0.6, 0.9, 0.9]] },
    { text: 'a cat', start: 17, end: 22, boxes: [[0.123456, 0.5, 0.4, 0.98765]] },
  ],
}
const looked: TaskOutput = { phrase: 'the bird', boxes: [[0.5, 0.1, 0.7, 0.2]] }
const records = recordsOf([
  {
    key: 'a.jpg',
    said: [
      { task: 'caption', question: 'q', output: { text: 'no boxes' } },
      { task: 'grounded-caption', question: 'q', output: dogs },
      { task: 'ground', question: 'q', output: looked },
    ],
  },
])
const at = '2026-03-01T10:00:00.000000'
const edit = (regions: [string, Box][], change: Partial<ManifestReview> = {}): ManifestReview => ({
  image: 's3://test/a.jpg',
  verdict: 'edit',
  comment: null,
  at,
  regions: regions.map(([text, box]) => ({ text, start: null, end: null, boxes: [box] })),
  ...change,
})
/** As a manifest holds it: whole pixels. */
const pixels = ([x0, y0, x1, y1]: Box): Box => [
  Math.round(x0 * imageSize.width) / imageSize.width,
  Math.round(y0 * imageSize.height) / imageSize.height,
  Math.round(x1 * imageSize.width) / imageSize.width,
  Math.round(y1 * imageSize.height) / imageSize.height,
]
const cat: [string, Box] = ['cat', pixels([0.123456, 0.5, 0.4, 0.98765])]
const bird: [string, Box] = ['bird', [0.5, 0.1, 0.7, 0.2]]
const first: [string, Box] = ['dog', [0.1, 0.1, 0.3, 0.3]]
const second: [string, Box] = ['dog', [0.6, 0.6, 0.9, 0.9]]

const judge = (...reviews: ManifestReview[]) => {
  const { verdicts, problems } = verdictsOfReviews(reviews, { records, who: 'gt' })
  const of = (task: string) =>
    verdicts.find(({ recordId }) => recordId === records.find((one) => one.task === task)!.recordId)
  return {
    verdicts,
    problems,
    caption: of('caption'),
    grounded: of('grounded-caption'),
    ground: of('ground'),
  }
}

it('takes boxes that were not touched as accepted, though the manifest rounds them', () => {
  const { grounded, ground, caption, problems } = judge(edit([first, second, cat, bird]))
  expect([grounded?.verdict, ground?.verdict, caption]).toEqual(['accept', 'accept', undefined])
  expect(grounded).toMatchObject({ who: 'gt', at: '2026-03-01T10:00:00.000Z' })
  expect(problems).toEqual([])
})

it('gives a moved box to the phrase it overlaps, and keeps the others to the last digit', () => {
  const { grounded, ground } = judge(edit([['dog', [0.55, 0.6, 0.9, 0.9]], first, cat, bird]))
  expect(ground?.verdict).toBe('accept')
  expect(grounded?.output).toEqual({
    ...dogs,
    phrases: [dogs.phrases[0], { ...dogs.phrases[1], boxes: [[0.55, 0.6, 0.9, 0.9]] }, dogs.phrases[2]],
  })
})

it('lets a phrase go with its last box, and says that what was looked for is nowhere', () => {
  const { grounded, ground } = judge(edit([first, second]))
  expect(grounded?.output).toEqual({ ...dogs, phrases: dogs.phrases.slice(0, 2) })
  expect(ground?.output).toEqual({ phrase: 'the bird', boxes: [] })
})

it('names a class that no phrase has, and a time that is none', () => {
  expect(judge(edit([first, second, cat, bird, ['zebra', [0, 0, 1, 1]]])).problems).toEqual([
    'the class "zebra" is in no phrase of the image; its boxes are left out',
  ])
  expect(judge(edit([], { at: 'yesterday' })).problems[0]).toContain('expected a time')
})

it.each([
  ['accept', 'accept'],
  ['reject', 'reject'],
] as const)('a verification that says %s is about every record with boxes', (verdict, expected) => {
  const { grounded, ground, caption } = judge(edit([], { verdict, comment: 'why' }))
  expect([grounded, ground].map((one) => [one?.verdict, one?.comment])).toEqual([
    [expected, 'why'],
    [expected, 'why'],
  ])
  expect(caption).toBeUndefined()
})

it('an adjustment speaks for the verification before it', () => {
  const { verdicts } = judge(edit([], { verdict: 'reject' }), edit([first, second, cat, bird]))
  expect(verdicts.map(({ verdict }) => verdict)).toEqual(['accept', 'accept'])
})

it('brings verdicts through a manifest and back', async () => {
  const store = await sealedStore(records)
  const [, grounded, ground] = records
  const output = {
    ...dogs,
    phrases: [{ ...dogs.phrases[0]!, boxes: [[0.25, 0.25, 0.5, 0.5] as Box] }, ...dogs.phrases.slice(1)],
  }
  await writeVerdict(store, {
    v: 1,
    recordId: grounded!.recordId,
    verdict: 'edit',
    output,
    who: 'ada',
    at: '2026-03-01T10:00:00.000Z',
  })
  await writeVerdict(store, {
    v: 1,
    recordId: ground!.recordId,
    verdict: 'accept',
    who: 'ada',
    at: '2026-03-01T10:00:00.000Z',
  })
  const { folder } = await exportStore(store, findFormat('ground-truth'))
  const lines = (await readFile(join(folder, 'ground-truth.jsonl'), 'utf8')).trim().split('\n')
  const found = lines.flatMap(
    (line) => verdictsOfReviews(readReviews(JSON.parse(line)), { records, who: 'ada' }).verdicts,
  )
  expect(found.find(({ recordId }) => recordId === grounded!.recordId)).toMatchObject({
    verdict: 'edit',
    output,
  })
  expect(found.find(({ recordId }) => recordId === ground!.recordId)).toMatchObject({ verdict: 'accept' })
})

it('the verb writes verdicts once, finds uploaded images by the end of their URI, and says which lines it cannot use', async () => {
  const { folder, run, store } = await makeReviewRun()
  const manifest = join(folder, 'output.manifest')
  const line = (ref: string, className: string) =>
    JSON.stringify({
      'source-ref': ref,
      'check': '0',
      'check-metadata': {
        'type': 'groundtruth/label-verification',
        'class-name': className,
        'creation-date': at,
        'human-annotated': 'yes',
        'job-name': 'j',
      },
    })
  await writeFile(
    manifest,
    [
      line('s3://up/here/farm/rabbit-turtle.png', 'good'),
      line('s3://up/owl.png', 'Bad'),
      line('s3://up/other.png', 'good'),
      '{"half',
      '',
    ].join('\n'),
  )
  const once = await runVerb(runImportReviews, [run, manifest, '--as', 'crowd'])
  expect(once).toMatchObject({ code: 3, out: '2 verdicts: 1 accepted, 1 rejected, 0 edited' })
  expect(once.told).toMatch(
    /line 3: s3:\/\/up\/other.png is no image of this run\n.*line 4: is no line of a manifest/,
  )
  await runVerb(runImportReviews, [run, manifest, '--as', 'crowd'])
  const verdicts = await readVerdicts(store)
  expect(verdicts.size).toBe(2)
  expect(verdicts.get(reviewRecordId('farm/rabbit-turtle.png', 'grounded-caption'))).toMatchObject({
    verdict: 'accept',
    who: 'crowd',
  })
  expect(verdicts.get(reviewRecordId('owl.png', 'ground'))).toMatchObject({ verdict: 'reject' })
})

it('gives each of several records with one box its own back, and moves it only in one', () => {
  const one: Box = [0.1004, 0.1, 0.3, 0.3]
  const cow = { text: 'A cow', start: 0, end: 5, boxes: [one] }
  const many = recordsOf([
    {
      key: 'a.jpg',
      said: [
        { task: 'describe-region', question: 'q', output: { regions: [{ box: one, text: 'A cow.' }] } },
        { task: 'grounded-caption', question: 'q', output: { text: 'A cow.', phrases: [cow] } },
        { task: 'ground', question: 'q', output: { phrase: 'the cow', boxes: [one] } },
        { task: 'locate', question: 'q', output: { value: 'cow', boxes: [one] } },
      ],
    },
  ])
  const judged = (...boxes: Box[]) => {
    const named = boxes.map((box, index): [string, Box] => [index === 0 ? 'cow.' : 'cow', box])
    return verdictsOfReviews([edit(named)], { records: many, who: 'gt' })
  }
  const untouched = judged(one, one, one, one)
  expect(untouched.problems).toEqual([])
  expect(untouched.verdicts.map(({ verdict }) => verdict)).toEqual(['accept', 'accept', 'accept', 'accept'])
  const other: Box = [0.15, 0.1, 0.35, 0.3]
  const edited = judged(other, one, one, other).verdicts.flatMap(({ output }) => output ?? [])
  expect(edited).toEqual([{ regions: [{ box: other, text: 'A cow.' }] }, { value: 'cow', boxes: [other] }])
})

it('a manifest in which nobody decided anything is no success', async () => {
  const { folder, run } = await makeReviewRun()
  const manifest = join(folder, 'input.manifest')
  await writeFile(manifest, '{"image": "owl.png"}\n{"source-ref": "s3://up/owl.png"}\n')
  const ended = await runVerb(runImportReviews, [run, manifest])
  expect(ended).toMatchObject({ code: 3, out: '0 verdicts: 0 accepted, 0 rejected, 0 edited' })
  expect(ended.told).toContain('says what a person decided')
})

it.each([
  [[], 'takes a run folder and a manifest'],
  [['nowhere', 'nothing'], 'is no file'],
])('the verb called with %j says what it needs', async (args, says) => {
  await expect(runVerb(runImportReviews, args)).rejects.toThrow(says)
})
