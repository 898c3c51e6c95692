// RefCOCO's files as JSON: refs with their sentences, and COCO instances with the boxes.
import { z } from 'zod'
import type { Box } from '../../../schemas/task-output.ts'
import { intersectionOverUnion } from '../box-accuracy.ts'
import { scoreReferring } from '../referring.ts'
import {
  type Benchmark,
  type BenchmarkLayout,
  fileLike,
  firstImages,
  gatherItems,
  openImageFinder,
  percent,
} from './benchmark.ts'
import { boxOf, CocoInstances } from './coco-json.ts'
import { parseAs } from './parse.ts'

const Refs = z
  .array(
    z.looseObject({
      ann_id: z.int(),
      image_id: z.int(),
      split: z.string().optional(),
      sentences: z.array(z.looseObject({ sent: z.string().min(1) })).min(1),
    }),
  )
  .min(1)

const isRefs = /(?:^|\/)refs[^/]*\.json$/i
const isInstances = /(?:^|\/)instances[^/]*\.json$/i

export const refcocoFiles: BenchmarkLayout = {
  kind: 'refcoco',
  files: 'refs….json and instances….json',
  matches: (names) => names.some((name) => isRefs.test(name)) && names.some((name) => isInstances.test(name)),
  async read(files) {
    const refsName = fileLike(files, isRefs, 'refs….json')
    const instancesName = fileLike(files, isInstances, 'instances….json')
    const refs = parseAs(Refs, await files.readJson(refsName), refsName)
    const { images, annotations } = parseAs(CocoInstances, await files.readJson(instancesName), instancesName)
    const find = openImageFinder(files)
    const imageOf = new Map(images.map((image) => [image.id, image]))
    const boxes = new Map(annotations.map((annotation) => [annotation.id, annotation.bbox]))
    const rows = refs.flatMap(({ ann_id: annotation, image_id: id, split, sentences }) => {
      const [image, bbox] = [imageOf.get(id), boxes.get(annotation)]
      const gold = image === undefined || bbox === undefined ? null : boxOf(bbox, image)
      if (image === undefined || gold === null) return []
      const key = find(image.file_name)
      return sentences.map(({ sent }) => ({ key, phrase: sent, gold, split: split ?? 'all' }))
    })
    return benchmarkOf(firstImages(rows, files))
  },
}

type Row = { key: string; phrase: string; gold: Box; split: string }

function benchmarkOf(rows: readonly Row[]): Benchmark {
  return {
    kind: 'refcoco',
    about: `referring expressions: ${rows.length}, one box each`,
    tasks: ['ground'],
    items: gatherItems(rows),
    score(said) {
      const judged = rows.map((row) => {
        // Models may say several; the first is what the public harness takes.
        const [first = null] = said.get(row.key)?.boxes.get(row.phrase) ?? []
        return { ...row, said: first, iou: first === null ? 0 : intersectionOverUnion(first, row.gold) }
      })
      const splits = [...Map.groupBy(judged, ({ split }) => split)]
      return {
        rows: [
          ['', judged] as const,
          ...(splits.length === 1 ? [] : splits.map(([name, own]) => [`${name} `, own] as const)),
        ].flatMap(([name, own]) => {
          const score = scoreReferring(own)
          return [
            { name: `${name}Acc@0.5`, value: percent(score.accuracy), of: own.length },
            { name: `${name}mean IoU`, value: percent(score.meanIoU), of: own.length },
            { name: `${name}Acc@0.7`, value: percent(score.accuracyAt['0.7']), of: own.length },
            { name: `${name}centre hit`, value: percent(score.centreHits), of: own.length },
          ]
        }),
        worst: judged
          .filter(({ iou }) => iou < 0.5)
          .toSorted((a, b) => a.iou - b.iou)
          .map(({ key, phrase, said: box, gold, iou }) => ({
            key,
            asked: phrase,
            said: box === null ? 'no box' : `IoU ${iou.toFixed(2)}`,
            expected: 'the dashed box',
            boxes: [gold],
            saidBoxes: box === null ? [] : [box],
          })),
      }
    },
  }
}
