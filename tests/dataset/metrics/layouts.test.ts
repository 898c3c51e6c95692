// Files of public benchmarks, in their published shapes: what is asked of which image, and the score of given answers.
import { describe, expect, test } from 'vitest'
import {
  type BenchmarkFiles,
  type BenchmarkSaid,
  isImage,
} from '../../../dataset/metrics/benchmarks/benchmark.ts'
import { alsoFits, benchmarkLayouts, layoutOf } from '../../../dataset/metrics/benchmarks/registry.ts'
import { UserError } from '../../../schemas/errors.ts'

function filesOf(contents: Record<string, unknown>, maxImages = Infinity, split?: string): BenchmarkFiles {
  const names = Object.keys(contents).toSorted()
  return {
    folder: 'bench',
    maxImages,
    split,
    names,
    imageFolder: 'bench',
    imageNames: names.filter(isImage),
    readBytes: async (name) => Buffer.from(String(contents[name]), 'latin1'),
    readJson: async (name) => contents[name],
    readLines: async (name) =>
      String(contents[name])
        .split('\n')
        .filter((line) => line !== ''),
  }
}

const lines = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n')

const said = (one: Partial<BenchmarkSaid> & { answers?: ReadonlyMap<string, string> }): BenchmarkSaid => ({
  caption: null,
  answers: new Map(),
  boxes: new Map(),
  phrases: [],
  ...one,
})

const coco = {
  images: [
    { id: 1, file_name: 'a.jpg', width: 200, height: 100, domain: 'in-domain' },
    { id: 2, file_name: 'b.jpg', width: 100, height: 100, domain: 'out-domain' },
  ],
  annotations: [
    { id: 11, image_id: 1, category_id: 18, bbox: [20, 10, 40, 20], iscrowd: 0 },
    { id: 12, image_id: 2, category_id: 17, bbox: [0, 0, 50, 50], iscrowd: 0 },
  ],
  categories: [
    { id: 17, name: 'cat' },
    { id: 18, name: 'dog' },
  ],
}
const images = { 'images/a.jpg': '', 'images/b.jpg': '' }

type Layout = {
  contents: Record<string, unknown>
  items: object[]
  answers: [string, BenchmarkSaid][]
  rows: Record<string, number | null>
  worst: object[]
}

const cases: Record<string, Layout> = {
  pope: {
    contents: {
      ...images,
      'coco_pope_random.json': lines(
        { question_id: 1, image: 'a.jpg', text: 'Is there a dog in the image?', label: 'yes' },
        { question_id: 2, image: 'a.jpg', text: 'Is there a cat in the image?', label: 'no' },
      ),
    },
    items: [
      { key: 'images/a.jpg', questions: ['Is there a dog in the image?', 'Is there a cat in the image?'] },
    ],
    answers: [
      [
        'images/a.jpg',
        said({
          answers: new Map([
            ['Is there a dog in the image?', 'Yes'],
            ['Is there a cat in the image?', 'Yes'],
          ]),
        }),
      ],
    ],
    rows: { accuracy: 50, precision: 50, recall: 100, f1: 66.67, yesRatio: 100 },
    worst: [{ key: 'images/a.jpg', asked: 'Is there a cat in the image?', said: 'Yes', expected: 'no' }],
  },
  mme: {
    contents: {
      'MME/existence/a.jpg': '',
      'MME/existence/a.txt':
        'Is there a dog? Please answer yes or no.\tYes\nIs there a cat? Please answer yes or no.\tNo\n',
      'MME/OCR/images/b.png': '',
      'MME/OCR/images/b.txt': 'Is it "A"?\tYes\nIs it "B"?\tNo',
    },
    items: [
      { key: 'MME/OCR/images/b.png', questions: ['Is it "A"?', 'Is it "B"?'] },
      {
        key: 'MME/existence/a.jpg',
        questions: ['Is there a dog? Please answer yes or no.', 'Is there a cat? Please answer yes or no.'],
      },
    ],
    answers: [
      [
        'MME/existence/a.jpg',
        said({
          answers: new Map([
            ['Is there a dog? Please answer yes or no.', 'Yes'],
            ['Is there a cat? Please answer yes or no.', 'No.'],
          ]),
        }),
      ],
    ],
    rows: {
      'existence score (of 200)': 200,
      'perception (of 2000)': 200,
      'reasoning (of 800)': 0,
      'total (of 2800)': 200,
    },
    worst: [{ expected: 'yes' }, { expected: 'no' }],
  },
  vqa: {
    contents: {
      'val2014/COCO_val2014_000000000001.jpg': '',
      'v2_OpenEnded_mscoco_val2014_questions.json': {
        questions: [{ question_id: 5, image_id: 1, question: 'What is it?' }],
      },
      'v2_mscoco_val2014_annotations.json': {
        annotations: [
          {
            question_id: 5,
            image_id: 1,
            answer_type: 'other',
            answers: ['dog', 'dog', 'dog', 'cat'].map((answer, index) => ({ answer, answer_id: index })),
          },
        ],
      },
    },
    items: [{ key: 'val2014/COCO_val2014_000000000001.jpg', questions: ['What is it?'] }],
    answers: [
      ['val2014/COCO_val2014_000000000001.jpg', said({ answers: new Map([['What is it?', 'A dog.']]) })],
    ],
    // Each of the three sees two others (2/3), the fourth sees three (1): (3 * 2/3 + 1) / 4.
    rows: { 'accuracy': 75, 'accuracy as it was meant': 75 },
    worst: [{ said: 'A dog.', expected: 'dog, cat' }],
  },
  refcoco: {
    contents: {
      ...images,
      'instances.json': coco,
      'refs_val.json': [
        {
          ref_id: 0,
          ann_id: 11,
          image_id: 1,
          split: 'val',
          sentences: [{ sent: 'the dog' }, { sent: 'the animal' }],
        },
        { ref_id: 1, ann_id: 12, image_id: 2, split: 'val', sentences: [{ sent: 'the cat' }] },
      ],
    },
    items: [
      { key: 'images/a.jpg', phrases: ['the dog', 'the animal'] },
      { key: 'images/b.jpg', phrases: ['the cat'] },
    ],
    answers: [
      ['images/a.jpg', said({ boxes: new Map([['the dog', [[0.1, 0.1, 0.3, 0.3]]]]) })],
      // A quarter of the true box.
      ['images/b.jpg', said({ boxes: new Map([['the cat', [[0, 0, 0.25, 0.25]]]]) })],
    ],
    rows: { 'Acc@0.5': 33.33, 'mean IoU': 41.67, 'centre hit': 66.67 },
    worst: [
      { asked: 'the animal', said: 'no box' },
      { asked: 'the cat', said: 'IoU 0.25', boxes: [[0, 0, 0.5, 0.5]] },
    ],
  },
  captions: {
    contents: {
      ...images,
      'nocaps_val.json': {
        images: coco.images,
        annotations: [
          { image_id: 1, caption: 'A dog on a lawn.' },
          { image_id: 2, caption: 'a tall tower' },
        ],
      },
    },
    items: [{ key: 'images/a.jpg' }, { key: 'images/b.jpg' }],
    answers: [
      ['images/a.jpg', said({ caption: 'a dog on a lawn' })],
      ['images/b.jpg', said({ caption: 'A fox' })],
    ],
    rows: {
      'CIDEr-D(ts-ptb)': 500,
      'CIDEr-D(ts-ptb) in-domain': 1000,
      'CIDEr-D(ts-ptb) near-domain': null,
      'CIDEr-D(ts-ptb) out-domain': 0,
    },
    worst: [{ key: 'images/b.jpg', said: 'A fox', expected: 'a tall tower' }, { key: 'images/a.jpg' }],
  },
  instances: {
    contents: { ...images, 'instances_val2017.json': coco },
    items: [{ key: 'images/a.jpg' }, { key: 'images/b.jpg' }],
    answers: [
      [
        'images/a.jpg',
        said({ caption: 'A puppy.', phrases: [{ text: 'A puppy', boxes: [[0.1, 0.1, 0.3, 0.3]] }] }),
      ],
      [
        'images/b.jpg',
        said({ caption: 'A cat and a dog.', phrases: [{ text: 'A cat', boxes: [[0.6, 0.6, 0.9, 0.9]] }] }),
      ],
    ],
    rows: {
      'F1@0.5': 50,
      'precision@0.5': 50,
      'recall@0.5': 50,
      'AP50': 50,
      'CHAIR_i': 33.33,
      'CHAIR_s': 50,
    },
    worst: [{ key: 'images/b.jpg', asked: 'names dog, which is not there' }],
  },
  docvqa: {
    contents: {
      ...images,
      'docvqa_val.json': {
        data: [{ questionId: 1, question: 'Which date?', image: 'documents/a.jpg', answers: ['12 May'] }],
      },
    },
    items: [{ key: 'images/a.jpg', questions: ['Which date?'] }],
    answers: [['images/a.jpg', said({ answers: new Map([['Which date?', '12 Mai']]) })]],
    // One letter of six.
    rows: { ANLS: 83.33 },
    worst: [{ said: '12 Mai', expected: '12 May' }],
  },
  choices: {
    contents: {
      ...images,
      'science-choices.jsonl': lines(
        { image: 'a.jpg', question: 'Which?', choices: ['red', 'blue'], answer: 'B' },
        { image: 'b.jpg', question: 'Which?', choices: ['red', 'blue'], answer: 0 },
      ),
    },
    items: [
      { key: 'images/a.jpg', questions: ['Which? A. red B. blue Answer with the letter.'] },
      { key: 'images/b.jpg', questions: ['Which? A. red B. blue Answer with the letter.'] },
    ],
    answers: [
      [
        'images/a.jpg',
        said({ answers: new Map([['Which? A. red B. blue Answer with the letter.', 'It is blue.']]) }),
      ],
      [
        'images/b.jpg',
        said({ answers: new Map([['Which? A. red B. blue Answer with the letter.', 'Both.']]) }),
      ],
    ],
    rows: { 'accuracy': 50, 'answers that mean a choice': 50 },
    worst: [{ said: 'Both.', expected: 'A. red' }],
  },
}

test.each<[string, Record<string, unknown>]>([
  [
    'POPE',
    {
      'a.jpg': '',
      'pope.json': lines(
        { image: 'a.jpg', text: 'A?', label: 'Yes ' },
        { image: 'b.jpg', text: 'A?', label: 'no' },
      ),
    },
  ],
  [
    'VQA',
    {
      'x_1.jpg': '',
      'questions.json': {
        questions: [1, 2].map((id) => ({ question_id: id, image_id: id, question: 'A?' })),
      },
      'annotations.json': {
        annotations: [1, 2].map((id) => ({ question_id: id, answers: [{ answer: 'a' }] })),
      },
    },
  ],
])('%s wants only the images that are asked about', async (_, contents) => {
  const read = async (most?: number) => {
    const files = filesOf(contents, most)
    return (await layoutOf(files, undefined).read(files)).items.length
  }
  expect(await read(1)).toBe(1)
  await expect(read()).rejects.toThrow(/b\.jpg is not in|has the number 2/)
})

test('MME as it is released: both layouts of a subtask, equal names in several, and results of models beside them', async () => {
  const root = 'MME_Benchmark_release_version'
  const files = filesOf({
    [`${root}/count/000000006040.jpg`]: '',
    [`${root}/count/000000006040.txt`]: 'One?\tYes\nTwo?\tNo',
    [`${root}/existence/000000006040.jpg`]: '',
    [`${root}/existence/000000006040.txt`]: 'A dog?\tYes\nA cat?\tNo',
    [`${root}/existence/._000000006040.jpg`]: '',
    [`${root}/existence/._000000006040.txt`]: '\0',
    [`${root}/artwork/images/a.b.png`]: '',
    [`${root}/artwork/questions_answers_YN/a.b.txt`]: 'By him?\tYes\nBy her?\tNo',
    [`${root}/eval_tool/LaVIN/artwork.txt`]: 'a.b.png\tBy him?\tYes\tyes',
    [`${root}/eval_tool/readme.txt`]: 'python calculation.py',
  })
  const benchmark = await layoutOf(files, undefined).read(files)
  expect(benchmark.items).toEqual([
    { key: `${root}/artwork/images/a.b.png`, questions: ['By him?', 'By her?'] },
    { key: `${root}/count/000000006040.jpg`, questions: ['One?', 'Two?'] },
    { key: `${root}/existence/000000006040.jpg`, questions: ['A dog?', 'A cat?'] },
  ])
  const names = benchmark.score(new Map()).rows.map(({ name }) => name)
  for (const subtask of ['artwork', 'count', 'existence']) expect(names).toContain(`${subtask} accuracy+`)
})

/** What each release has beside the split that is scored, none of it with images here. */
const releases: Record<string, { contents: Record<string, unknown>; split?: string; about: RegExp }> = {
  'COCO, training and validation': {
    contents: {
      'val2017/a.jpg': '',
      'val2017/b.jpg': '',
      'annotations/captions_train2017.json': {},
      'annotations/captions_val2017.json': {
        images: coco.images,
        annotations: [{ image_id: 1, caption: 'A dog.' }],
      },
      'annotations/instances_train2017.json': {},
      'annotations/instances_val2017.json': coco,
    },
    about: /^captions: 1 images, 1 references/,
  },
  'VQAv2, where only the test set has no answers': {
    contents: {
      'COCO_val2014_000000000001.jpg': '',
      'v2_OpenEnded_mscoco_train2014_questions.json': {},
      'v2_OpenEnded_mscoco_val2014_questions.json': {
        questions: [{ question_id: 5, image_id: 1, question: 'What is it?' }],
      },
      'v2_OpenEnded_mscoco_test2015_questions.json': {},
      'v2_mscoco_train2014_annotations.json': {},
      'v2_mscoco_val2014_annotations.json': {
        annotations: [{ question_id: 5, answers: [{ answer: 'dog' }] }],
      },
    },
    about: /^VQA: 1 questions/,
  },
  'DocVQA, asked for the training set': {
    contents: {
      'spdocvqa_images/a_1.png': '',
      'spdocvqa_ocr/a_1.json': {},
      'spdocvqa_qas/test_v1.0.json': { data: [{ question: 'When?', image: 'documents/a_1.png' }] },
      'spdocvqa_qas/train_v1.0_withQT.json': {
        data: [{ question: 'When?', image: 'documents/a_1.png', answers: ['May'] }],
      },
      'spdocvqa_qas/val_v1.0_withQT.json': {},
    },
    split: 'train',
    about: /^documents: 1 questions/,
  },
  'InfographicVQA': {
    contents: {
      'images/20471.jpeg': '',
      'infographicsVQA_val_v1.0_withQT.json': {
        data: [{ question: 'How many?', image_local_name: '20471.jpeg', answers: ['3'] }],
      },
    },
    about: /^documents: 1 questions/,
  },
  'NoCaps, with the test set without captions': {
    contents: {
      'val/a.jpg': '',
      'nocaps_test_image_info.json': {},
      'nocaps_val_4500_captions.json': {
        images: coco.images,
        annotations: [{ image_id: 1, caption: 'A dog.' }],
      },
    },
    about: /^captions: 1 images, 1 references/,
  },
  'RefCOCO without its training set': {
    contents: {
      ...images,
      'instances.json': coco,
      'refs.json': [
        { ann_id: 11, image_id: 1, split: 'train', sentences: [{ sent: 'the dog' }] },
        { ann_id: 12, image_id: 2, split: 'testA', sentences: [{ sent: 'the cat' }, { sent: 'a cat' }] },
      ],
    },
    about: /^referring expressions: 2,/,
  },
  'RefCOCO, asked for one split': {
    contents: {
      ...images,
      'instances.json': coco,
      'refs.json': [
        { ann_id: 11, image_id: 1, split: 'val', sentences: [{ sent: 'the dog' }] },
        { ann_id: 12, image_id: 2, split: 'testA', sentences: [{ sent: 'the cat' }, { sent: 'a cat' }] },
      ],
    },
    split: 'val',
    about: /^referring expressions: 1,/,
  },
}

test.each(Object.entries(releases))(
  'of a release the right files are read: %s',
  async (_, { contents, split, about }) => {
    const files = filesOf(contents, Infinity, split)
    expect((await layoutOf(files, undefined).read(files)).about).toMatch(about)
  },
)

test('what people wrote of an image counts as there where captions lie beside the boxes', async () => {
  const files = filesOf({
    ...images,
    'instances_val2017.json': coco,
    'captions_val2017.json': {
      images: coco.images,
      annotations: [{ image_id: 1, caption: 'A dog under an umbrella.' }],
    },
  })
  const benchmark = await layoutOf(files, 'instances').read(files)
  const { rows } = benchmark.score(new Map([['images/a.jpg', said({ caption: 'An umbrella and a cat.' })]]))
  expect(rows.find(({ name }) => name === 'CHAIR_i')?.value).toBe(50)
  expect(alsoFits(files, layoutOf(files, undefined))).toEqual(['instances'])
})

test('every layout has a case', () => {
  expect(Object.keys(cases).toSorted()).toEqual(benchmarkLayouts.map(({ kind }) => kind).toSorted())
})

describe.each(Object.entries(cases))('%s', (kind, { contents, items, answers, rows, worst }) => {
  test('is recognised, asks what its files ask, and scores', async () => {
    const files = filesOf(contents)
    const layout = layoutOf(files, undefined)
    expect(layout.kind).toBe(kind)
    const benchmark = await layout.read(files)
    expect(benchmark.items).toEqual(items)
    const score = benchmark.score(new Map(answers))
    const figures = Object.fromEntries(score.rows.map(({ name, value }) => [name, value]))
    expect(figures).toMatchObject(rows)
    expect(score.worst).toMatchObject(worst)
  })

  test('scores nothing said as worst, and can be cut to its first image', async () => {
    const benchmark = await layoutOf(filesOf(contents, 1), kind).read(filesOf(contents, 1))
    expect(benchmark.items).toEqual(items.slice(0, 1))
    const { rows: figures } = benchmark.score(new Map())
    expect(figures.every(({ value }) => value === null || Number.isFinite(value))).toBe(true)
  })
})

test.each<[string, Record<string, unknown>, RegExp]>([
  [
    'an unknown folder',
    { 'a.jpg': '', 'notes.md': '', '.hidden': '' },
    /neither a run nor a benchmark that is known: it has notes\.md, 1 image; a benchmark has\n {2}pope/,
  ],
  [
    'several files of one split',
    { 'captions_a.json': {}, 'captions_b.json': {} },
    /has several captions_….json: captions_a.json, captions_b.json; name one with --split/,
  ],
  [
    'a test set whose answers nobody has',
    { 'test_v1.0.json': { data: [{ question: 'When?', image: 'documents/a_1.png' }] } },
    /answers are not published/,
  ],
  [
    'expressions of another set than the boxes',
    {
      'refs.json': [{ ann_id: 1, image_id: 9, split: 'val', sentences: [{ sent: 'x' }] }],
      'instances.json': coco,
    },
    /no expression of refs.json has its box .* its splits are val/,
  ],
  [
    'a pickle that makes objects',
    { 'refs(unc).p': 'cos\nsystem\n.', 'instances.json': coco },
    /operation "c" at byte 0/,
  ],
  [
    'a missing image',
    { 'pope.json': lines({ image: 'x.jpg', text: 'q', label: 'yes' }) },
    /x\.jpg is not in bench, which has no images; put .* --images/,
  ],
  [
    'a wrong label',
    { 'a.jpg': '', 'pope.json': lines({ image: 'a.jpg', text: 'q', label: 'maybe' }) },
    /line 1 of pope\.json/,
  ],
  [
    'an answer that is none of the choices',
    {
      'a.jpg': '',
      'my-choices.jsonl': lines({
        image: 'a.jpg',
        question: 'Which?',
        choices: ['red', 'blue'],
        answer: 'C',
      }),
    },
    /line 1 of my-choices\.jsonl .* none of the choices/,
  ],
  ['a line that is no JSON', { 'pope.json': 'what' }, /not JSON: what/],
  [
    'questions and answers of two splits',
    {
      'a_1.jpg': '',
      'questions.json': { questions: [{ question_id: 1, image_id: 1, question: 'A?' }] },
      'annotations.json': { annotations: [{ question_id: 2, answers: [{ answer: 'a' }] }] },
    },
    /are they of the same split/,
  ],
  ['MME texts without images', { 'OCR/a.txt': 'q\tYes' }, /no image of that name beside any/],
  [
    'an MME text without an image',
    { 'OCR/a.txt': 'q\tYes', 'OCR/b.png': '', 'OCR/b.txt': 'q\tNo' },
    /has OCR\/a\.txt but no image of that name in OCR/,
  ],
  ['an MME line without a tab', { 'OCR/a.txt': 'q Yes', 'OCR/a.png': '' }, /a tab and Yes or No/],
])('says what is wrong with %s', async (_, contents, message) => {
  const files = filesOf(contents)
  const read = async () => await layoutOf(files, undefined).read(files)
  await expect(read()).rejects.toThrow(UserError)
  await expect(read()).rejects.toThrow(message)
})
