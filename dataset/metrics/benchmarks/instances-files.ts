// COCO instances: boxes of named things, against the boxes of grounded captions, and CHAIR of plain ones.
import type { Box } from '../../../schemas/task-output.ts'
import { scoreChair } from '../chair.ts'
import { openCocoVocabulary } from '../coco-things.ts'
import { type GoldBox, scoreDetection } from '../detection.ts'
import { openVocabulary, type Vocabulary } from '../vocabulary.ts'
import { type BenchmarkFiles, type BenchmarkLayout, fileLike, openImageFinder, percent } from './benchmark.ts'
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
    const [inCaptions, inBoxes] = vocabulariesFor([...nameOf.values()])
    const references = await captionsBeside(files, name)
    const byImage = Map.groupBy(gold, ({ image }) => image)
    const keys = [...keyOf.values()]
    const referencesOf = new Map([...keyOf].map(([id, key]) => [key, references.get(id) ?? []]))
    return {
      kind: 'instances',
      about: `boxes: ${gold.length} of ${categories.length} kinds of things in ${keys.length} images`,
      tasks: ['grounded-caption', 'caption'],
      items: keys.map((key) => ({ key })),
      score(said) {
        const boxes = keys.flatMap((image) =>
          saidBoxes(said.get(image)?.phrases ?? [], inBoxes).map((one) => ({ image, ...one })),
        )
        const detection = scoreDetection(boxes, gold)
        const captions = keys.map((key) => ({
          key,
          caption: said.get(key)?.caption ?? '',
          there: (byImage.get(key) ?? []).map((one) => one.name),
          references: referencesOf.get(key) ?? [],
        }))
        const chair = scoreChair(captions, inCaptions)
        return {
          rows: [
            { name: 'F1@0.5', value: percent(detection.f1), of: detection.gold },
            { name: 'precision@0.5', value: percent(detection.precision), of: detection.said },
            { name: 'recall@0.5', value: percent(detection.recall), of: detection.gold },
            { name: 'AP', value: orNull(detection.averagePrecision), of: detection.gold },
            { name: 'AP50', value: orNull(detection.averagePrecisionAt50), of: detection.gold },
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
  },
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
    const name = vocabulary.mentionsIn(text).at(-1)?.name ?? text.toLowerCase()
    return boxes.map((box) => ({ name, box, score: 1 }))
  })
}

function orNull(value: number | null): number | null {
  return value === null ? null : percent(value)
}
