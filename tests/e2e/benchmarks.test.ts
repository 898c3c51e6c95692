// Public benchmarks in the layout they are released in, from the folder straight to the score, through the command line
// and the checkpoint that ships. Their images are examples under the benchmarks' names; the answers are the examples'.
import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { GoldLine } from '../../schemas/gold.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const examples = new URL('../../examples/', import.meta.url)

async function coglabel(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    )
  })
}

const gold = (await readFile(new URL('gold.jsonl', examples), 'utf8'))
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => GoldLine.parse(JSON.parse(line)))

function pictured(name: string) {
  const found = gold.find(({ key }) => key === `images/${name}`)
  if (found === undefined) throw new Error(`no example is called ${name}`)
  const { width, height, objects } = found
  const boxes = objects.map(({ name: thing, box: [x0, y0, x1, y1] }) => ({
    thing,
    bbox: [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height],
  }))
  return { name, width, height, boxes }
}

const penguin = pictured('penguin.jpg')
const bus = pictured('rabbit-burger-bus.jpg')

/** A file is JSON, the text it is, or the example of that name. */
type Release = Record<string, string | object | { picture: string }>
type Case = {
  files: Release
  args?: string[]
  kind: string
  scores: Record<string, unknown>
  /** Below the release: what is evaluated, and where its images are, when they lie apart. */
  apart?: { folder: string; images: string }
}

const lines = (...rows: unknown[]) => `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`
const info = { description: 'a release in small', version: '1.0', year: 2014 }
const things = ['penguin', 'rabbit', 'burger', 'bus']
const categories = things.map((name, index) => ({ id: index + 1, name, supercategory: 'thing' }))

/** As COCO writes images and boxes. */
function coco(images: { id: number; file: string; of: typeof penguin }[]) {
  return {
    info,
    licenses: [{ id: 1, name: 'CC', url: 'http://example.org' }],
    images: images.map(({ id, file, of: { width, height } }) => ({
      license: 1,
      file_name: file,
      coco_url: `http://example.org/${file}`,
      height,
      width,
      id,
      date_captured: '2013-11-14 17:02:52',
    })),
    annotations: images.flatMap(({ id, of }) =>
      of.boxes.map(({ thing, bbox }, index) => ({
        segmentation: [[0, 0, 1, 0, 1, 1]],
        area: 100,
        iscrowd: 0,
        image_id: id,
        bbox,
        category_id: things.indexOf(thing) + 1,
        id: id * 10 + index,
      })),
    ),
    categories,
  }
}

function captions(images: { id: number; caption: string }[]) {
  return images.map(({ id, caption }, index) => ({ image_id: id, id: index, caption }))
}

const said = [
  { id: 139, caption: 'A penguin.' },
  { id: 285, caption: 'A rabbit, a burger and a bus.' },
]

/** RefCOCO's expressions as Python 2 pickled them: protocol 0. */
function pickleRefs(refs: { ann: number; image: number; split: string; sent: string }[]): string {
  const one = ({ ann, image, split, sent }: (typeof refs)[number], index: number) =>
    [
      `(dS'sent_ids'\n(lI${index}\nasS'file_name'\nS'COCO_train2014_000000000139_${ann}.jpg'\ns`,
      `S'ann_id'\nI${ann}\nsS'ref_id'\nI${index}\nsS'image_id'\nI${image}\nsS'split'\nS'${split}'\ns`,
      `S'sentences'\n(l(dS'tokens'\n(lS'${sent}'\nasS'raw'\nS'${sent}'\nsS'sent_id'\nI${index}\ns`,
      `S'sent'\nV${sent}\nsasS'category_id'\nI1\nsa`,
    ].join('')
  return `(l${refs.map(one).join('')}.`
}

const cocoName = (split: string, id: number) => `COCO_${split}_${String(id).padStart(12, '0')}.jpg`

const cases: Record<string, Case> = {
  POPE: {
    kind: 'pope',
    files: {
      'output/coco/coco_pope_random.json': lines(
        ...[
          ['penguin', 'yes'],
          ['bus', 'no'],
        ].map(([thing, label], index) => ({
          question_id: index + 1,
          image: cocoName('val2014', 139),
          text: `Is there a ${thing} in the image?`,
          label,
        })),
      ),
      'output/coco/coco_pope_adversarial.json': lines({
        question_id: 1,
        image: cocoName('val2014', 139),
        text: 'Is there a owl in the image?',
        label: 'no',
      }),
      [`val2014/${cocoName('val2014', 139)}`]: { picture: penguin.name },
    },
    scores: {
      'coco_pope_random accuracy': 100,
      'coco_pope_random f1': 100,
      'coco_pope_adversarial accuracy': 100,
    },
  },
  MME: {
    kind: 'mme',
    files: {
      'MME_Benchmark_release_version/existence/000000006040.jpg': { picture: penguin.name },
      'MME_Benchmark_release_version/existence/000000006040.txt':
        'Is there a penguin in this image? Please answer yes or no.\tYes\nIs there a bus in this image? Please answer yes or no.\tNo\n',
      'MME_Benchmark_release_version/scene/images/Places365_val_00000001.jpg': { picture: bus.name },
      'MME_Benchmark_release_version/scene/questions_answers_YN/Places365_val_00000001.txt':
        'Is there a bus in the image?\tYes\nIs there an owl in the image?\tNo\n',
      'MME_Benchmark_release_version/eval_tool/LaVIN/existence.txt':
        '000000006040.jpg\tIs there a penguin?\tYes\tyes\n',
      'MME_Benchmark_release_version/eval_tool/calculation.py': 'print()\n',
    },
    // The model that ships was not taught to read "Please answer yes or no."; in the other subtask that is left out.
    scores: { 'existence score (of 200)': expect.any(Number), 'scene score (of 200)': 200 },
  },
  VQAv2: {
    kind: 'vqa',
    files: {
      'v2_OpenEnded_mscoco_train2014_questions.json': { info, questions: [] },
      'v2_mscoco_train2014_annotations.json': { info, annotations: [] },
      'v2_OpenEnded_mscoco_test2015_questions.json': { info, questions: [] },
      'v2_OpenEnded_mscoco_val2014_questions.json': {
        info,
        task_type: 'Open-Ended',
        data_type: 'mscoco',
        data_subtype: 'val2014',
        license: {},
        questions: [
          { image_id: 139, question: 'Do you see a penguin?', question_id: 139000 },
          { image_id: 285, question: 'How many rabbits are in the image?', question_id: 285000 },
        ],
      },
      'v2_mscoco_val2014_annotations.json': {
        info,
        data_type: 'mscoco',
        data_subtype: 'val2014',
        license: {},
        annotations: [
          ['yes', 'yes/no', 139],
          ['1', 'number', 285],
        ].map(([answer, type, id]) => ({
          question_type: 'is',
          multiple_choice_answer: answer,
          image_id: id,
          answer_type: type,
          answers: Array.from({ length: 10 }, (_, index) => ({
            // One of ten says something else, so that answers are normalised.
            answer: index === 9 ? 'maybe' : answer,
            answer_confidence: 'yes',
            answer_id: index + 1,
          })),
          question_id: Number(id) * 1000,
        })),
      },
      [`val2014/${cocoName('val2014', 139)}`]: { picture: penguin.name },
      [`val2014/${cocoName('val2014', 285)}`]: { picture: bus.name },
    },
    scores: { 'accuracy': 100, 'accuracy yes/no': 100, 'accuracy number': 100 },
  },
  DocVQA: {
    kind: 'docvqa',
    files: {
      'spdocvqa_qas/train_v1.0_withQT.json': { dataset_name: 'SP-DocVQA', dataset_split: 'train', data: [] },
      'spdocvqa_qas/test_v1.0.json': { dataset_name: 'SP-DocVQA', dataset_split: 'test', data: [] },
      'spdocvqa_qas/val_v1.0_withQT.json': {
        dataset_name: 'SP-DocVQA',
        dataset_version: '1.0',
        dataset_split: 'val',
        data: [
          {
            questionId: 49153,
            question: 'Do you see a penguin?',
            question_types: ['figure/diagram'],
            image: 'documents/pybv0228_81.png',
            docId: 14465,
            ucsf_document_id: 'pybv0228',
            ucsf_document_page_no: '81',
            answers: ['Yes.', 'yes'],
            data_split: 'val',
          },
        ],
      },
      'spdocvqa_images/pybv0228_81.png': { picture: penguin.name },
      'spdocvqa_ocr/pybv0228_81.json': { status: 'Succeeded', recognitionResults: [] },
    },
    scores: { ANLS: 100 },
  },
  RefCOCO: {
    kind: 'refcoco',
    apart: { folder: 'refcoco', images: 'images/mscoco/images/train2014' },
    files: {
      'refcoco/instances.json': coco([
        { id: 139, file: cocoName('train2014', 139), of: penguin },
        { id: 285, file: cocoName('train2014', 285), of: bus },
      ]),
      'refcoco/refs(google).p': '(l.',
      'refcoco/refs(unc).p': pickleRefs([
        { ann: 1390, image: 139, split: 'train', sent: 'left thing' },
        { ann: 1390, image: 139, split: 'val', sent: 'the penguin' },
        {
          ann: 2850 + bus.boxes.findIndex(({ thing }) => thing === 'bus'),
          image: 285,
          split: 'testA',
          sent: 'the bus',
        },
      ]),
      [`images/mscoco/images/train2014/${cocoName('train2014', 139)}`]: { picture: penguin.name },
      [`images/mscoco/images/train2014/${cocoName('train2014', 285)}`]: { picture: bus.name },
    },
    scores: { 'Acc@0.5': 100, 'val Acc@0.5': 100, 'testA Acc@0.5': 100, 'mean IoU': expect.closeTo(98, -1) },
  },
  COCO: {
    kind: 'instances',
    args: ['--kind', 'instances'],
    files: {
      'annotations/instances_train2017.json': {},
      'annotations/captions_train2017.json': {},
      'annotations/person_keypoints_val2017.json': {},
      'annotations/instances_val2017.json': coco([
        { id: 139, file: '000000000139.jpg', of: penguin },
        { id: 285, file: '000000000285.jpg', of: bus },
      ]),
      'annotations/captions_val2017.json': {
        info,
        images: [{ id: 139, file_name: 'x' }],
        annotations: captions(said),
      },
      'val2017/000000000139.jpg': { picture: penguin.name },
      'val2017/000000000285.jpg': { picture: bus.name },
    },
    scores: { 'F1@0.5': 100, 'AP50': 100, 'CHAIR_i': 0, 'CHAIR_s': 0 },
  },
  NoCaps: {
    kind: 'captions',
    files: {
      'nocaps_test_image_info.json': { info, licenses: [], images: [] },
      'nocaps_val_4500_captions.json': {
        info,
        licenses: [],
        images: [
          { id: 139, open_images_id: '0013ea2087020901', of: penguin, domain: 'in-domain' },
          { id: 285, open_images_id: '0015e4e6fcd3ad3d', of: bus, domain: 'out-domain' },
        ].map(({ of: { width, height }, open_images_id: name, ...image }) => ({
          ...image,
          open_images_id: name,
          file_name: `${name}.jpg`,
          width,
          height,
          coco_url: `https://s3.amazonaws.com/nocaps/val/${name}.jpg`,
          license: 0,
          date_captured: '2018-11-06 11:04:33',
        })),
        annotations: captions([...said, ...said]),
      },
      'val/0013ea2087020901.jpg': { picture: penguin.name },
      'val/0015e4e6fcd3ad3d.jpg': { picture: bus.name },
    },
    scores: {
      'CIDEr-D(ts-ptb)': expect.any(Number),
      'CIDEr-D(ts-ptb) in-domain': expect.any(Number),
      'CIDEr-D(ts-ptb) near-domain': null,
      'CIDEr-D(ts-ptb) out-domain': expect.any(Number),
    },
  },
}

async function writeRelease(files: Release): Promise<string> {
  const folder = await tempFolder()
  for (const [name, file] of Object.entries(files)) {
    const path = join(folder, name)
    await mkdir(dirname(path), { recursive: true })
    if (typeof file === 'string') await writeFile(path, file)
    else if ('picture' in file) await copyFile(new URL(`images/${String(file.picture)}`, examples), path)
    else await writeFile(path, JSON.stringify(file))
  }
  return folder
}

test.each(Object.entries(cases))(
  '%s goes from its folder to its score',
  async (_, { files, args = [], kind, scores, apart }) => {
    const [folder, out] = [await writeRelease(files), await tempFolder()]
    const what =
      apart === undefined ? [folder] : [join(folder, apart.folder), '--images', join(folder, apart.images)]
    const ended = await coglabel('evaluate', ...what, '--out', out, ...args)
    expect([ended.code, ended.stderr.split('\n').filter((line) => line.startsWith('error'))]).toEqual([0, []])
    const evaluation = JSON.parse(await readFile(join(out, 'evaluation.json'), 'utf8')) as {
      benchmark: string
      rows: { name: string; value: number | null }[]
    }
    const figures = Object.fromEntries(evaluation.rows.map(({ name, value }) => [name, value]))
    expect(evaluation.benchmark).toBe(kind)
    expect(figures).toMatchObject(scores)
  },
)
