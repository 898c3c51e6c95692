// COCO instances: boxes of named things, against the boxes of grounded captions, and CHAIR of plain ones.
import type { Box } from '../../../schemas/task-output.ts'
import { scoreChair } from '../chair.ts'
import { openCocoVocabulary } from '../coco-things.ts'
import { type DetectionScore, type GoldBox, scoreDetection } from '../detection.ts'
import { headOf, openVocabulary, type Vocabulary } from '../vocabulary.ts'
import {
  type Benchmark,
  type BenchmarkFiles,
  type BenchmarkLayout,
  type BenchmarkScore,
  fileLike,
  openImageFinder,
  percent,
} from './benchmark.ts'
import { boxOf, CocoCaptions, CocoInstances } from './coco-json.ts'
import { parseAs } from './parse.ts'

const pattern = /(?:^|\/)instances[^/]*\.json$/i

export const instancesFiles: BenchmarkLayout = {
  kind: 'instances',
  files: 'instances_….json',
  matches: (names) => names.some((name) => pattern.test(name)),
  async read(files) {
    const name = fileLike(files, pattern, 'instances_….json')
    const { images, annotations, categories } = parseAs(CocoInstances, await files.readJson(name), name)
    const find = openImageFinder(files)
    const nameOf = new Map(categories.map((category) => [category.id, category.name]))
    // By number, as the published evaluation goes through them: boxes of equal scores count in this order.
    const some = images.slice(0, files.maxImages).toSorted((a, b) => a.id - b.id)
    const keyOf = new Map(some.map((image) => [image.id, find(image.file_name)]))
    const sizeOf = new Map(images.map((image) => [image.id, image]))
    const gold = annotations.flatMap((annotation): GoldBox[] => {
      const [image, thing] = [keyOf.get(annotation.image_id), nameOf.get(annotation.category_id)]
      const box = boxOf(annotation.bbox, sizeOf.get(annotation.image_id) ?? {})
      if (image === undefined || thing === undefined || box === null) return []
      return [{ image, name: thing, box, isCrowd: Number(annotation.iscrowd ?? 0) === 1 }]
    })
    const references = await captionsBeside(files, name)
    const pictures = [...keyOf].map(([id, key]) => ({ key, references: references.get(id) ?? [] }))
    return benchmarkOf({ pictures, gold, names: [...nameOf.values()] })
  },
}

type Instances = {
  pictures: readonly { key: string; references: readonly string[] }[]
  gold: readonly GoldBox[]
  /** Of all categories. */
  names: readonly string[]
}

function benchmarkOf({ pictures, gold, names }: Instances): Benchmark {
  const [inCaptions, inBoxes] = vocabulariesFor(names)
  const byImage = Map.groupBy(gold, ({ image }) => image)
  return {
    kind: 'instances',
    about: `boxes: ${gold.length} of ${names.length} kinds of things in ${pictures.length} images`,
    tasks: ['grounded-caption', 'caption'],
    items: pictures.map(({ key }) => ({ key })),
    score(said) {
      const boxes = pictures.flatMap(({ key }) =>
        saidBoxes(said.get(key)?.phrases ?? [], inBoxes).map((one) => ({ image: key, ...one })),
      )
      const captions = pictures.map(({ key, references }) => ({
        key,
        caption: said.get(key)?.caption ?? '',
        there: (byImage.get(key) ?? []).map((one) => one.name),
        references,
      }))
      const chair = scoreChair(captions, inCaptions)
      return {
        rows: [
          ...detectionRows(scoreDetection(boxes, gold)),
          { name: 'CHAIR_i', value: percent(chair.chairI), of: chair.mentions },
          { name: 'CHAIR_s', value: percent(chair.chairS), of: chair.captions },
        ],
        worst: captions
          .map((one, index) => ({ one, wrong: chair.hallucinated[index] ?? [] }))
          .filter(({ wrong }) => wrong.length > 0)
          .toSorted((a, b) => b.wrong.length - a.wrong.length)
          .map(({ one, wrong }) => ({
            key: one.key,
            asked: `names ${wrong.join(', ')}, which is not there`,
            said: one.caption,
            expected: [...new Set(one.there)].join(', '),
            boxes: (byImage.get(one.key) ?? []).map(({ box }) => box),
          })),
      }
    },
  }
}

function detectionRows(detection: DetectionScore): BenchmarkScore['rows'] {
  const { f1, precision, recall, averagePrecision, averagePrecisionAt50, said, gold } = detection
  return [
    { name: 'F1@0.5', value: percent(f1), of: gold },
    { name: 'precision@0.5', value: percent(precision), of: said },
    { name: 'recall@0.5', value: percent(recall), of: gold },
    { name: 'AP', value: orNull(averagePrecision), of: gold },
    { name: 'AP50', value: orNull(averagePrecisionAt50), of: gold },
  ]
}

/** What people wrote of the images, by their number: CHAIR counts what they name as there. None without such a file. */
async function captionsBeside(files: BenchmarkFiles, instances: string): Promise<Map<number, string[]>> {
  const name = instances.replace(/instances([^/]*)$/i, 'captions$1')
  if (!files.names.includes(name)) return new Map()
  const { annotations } = parseAs(CocoCaptions, await files.readJson(name), name)
  const byImage = Map.groupBy(annotations, (annotation) => annotation.image_id)
  return new Map([...byImage].map(([id, own]) => [id, own.map(({ caption }) => caption)]))
}

/** COCO's own words where its things are meant, for captions and for boxes; else the names as they are. */
function vocabulariesFor(names: readonly string[]): [inCaptions: Vocabulary, inBoxes: Vocabulary] {
  const coco = openCocoVocabulary()
  if (names.every((name) => coco.nameOf(name) === name)) return [coco, openCocoVocabulary('boxes')]
  const plain = openVocabulary(null, names)
  return [plain, plain]
}

/** Boxes of text have no score of their own: all are equal. */
function saidBoxes(
  phrases: readonly { text: string; boxes: readonly Box[] }[],
  vocabulary: Vocabulary,
): { name: string; box: Box; score: number }[] {
  return phrases.flatMap(({ text, boxes }) => {
    const name = headOf(text, vocabulary) ?? text.toLowerCase()
    return boxes.map((box) => ({ name, box, score: 1 }))
  })
}

function orNull(value: number | null): number | null {
  return value === null ? null : percent(value)
}
