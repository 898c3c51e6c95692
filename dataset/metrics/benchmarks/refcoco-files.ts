// RefCOCO's files: refs with their sentences, pickled as they are released or as JSON, and COCO instances with the boxes.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'
import type { Box } from '../../../schemas/task-output.ts'
import { intersectionOverUnion } from '../../box-overlap.ts'
import { scoreReferring } from '../referring.ts'
import {
  type Benchmark,
  type BenchmarkFiles,
  type BenchmarkLayout,
  fileLike,
  firstImages,
  gatherItems,
  openImageFinder,
  percent,
} from './benchmark.ts'
import { boxOf, CocoInstances } from './coco-json.ts'
import { parseAs } from './parse.ts'
import { readPickle } from './pickle.ts'

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

const isRefs = /(?:^|\/)refs[^/]*\.(?:json|p|pkl)$/i
const isInstances = /(?:^|\/)instances[^/]*\.json$/i

export const refcocoFiles: BenchmarkLayout = {
  kind: 'refcoco',
  files: 'refs(unc).p or refs….json, and instances.json',
  matches: (names) => names.some((name) => isRefs.test(name)) && names.some((name) => isInstances.test(name)),
  async read(files) {
    const refsName = chooseRefs(files)
    const refs = parseAs(Refs, await readRefs(files, refsName), refsName)
    const instancesName = instancesBeside(files, refsName)
    const { images, annotations } = parseAs(CocoInstances, await files.readJson(instancesName), instancesName)
    const find = openImageFinder(files)
    const imageOf = new Map(images.map((image) => [image.id, image]))
    const boxes = new Map(annotations.map((annotation) => [annotation.id, annotation.bbox]))
    const asked = refs.filter(isAsked(files, refs))
    const all = asked.flatMap(({ ann_id: annotation, image_id: id, split, sentences }) => {
      const [image, bbox] = [imageOf.get(id), boxes.get(annotation)]
      const gold = image === undefined || bbox === undefined ? null : boxOf(bbox, image)
      if (image === undefined || gold === null) return []
      return sentences.map(({ sent }) => ({
        key: image.file_name,
        phrase: sent,
        gold,
        split: split ?? 'all',
      }))
    })
    if (all.length === 0)
      throw new UserError(
        `no expression of ${refsName}${files.split === undefined ? '' : ` in the split "${files.split}"`} has its box and image size in ${instancesName}; its splits are ${splitsOf(refs).join(', ')}`,
      )
    // Only images that are asked about have to be there.
    return benchmarkOf(firstImages(all, files, find))
  },
}

/** Who split the expressions: RefCOCO and RefCOCO+ are reported by unc's, RefCOCOg by umd's, which shares no image. */
const preferred = [/umd/i, /unc/i]

function chooseRefs(files: BenchmarkFiles): string {
  const all = files.names.filter((name) => isRefs.test(name))
  const folders = new Set(all.map(folderOf))
  const one = folders.size > 1 ? undefined : preferred.map((by) => all.filter((name) => by.test(name)))
  const [chosen] = one?.find((found) => found.length === 1) ?? []
  // Splits are inside the file, not in its name.
  return chosen ?? fileLike({ ...files, split: undefined }, isRefs, 'file of expressions (refs(unc).p)')
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/') + 1)
}

async function readRefs(files: BenchmarkFiles, name: string): Promise<unknown> {
  return name.endsWith('.json') ? await files.readJson(name) : readPickle(await files.readBytes(name), name)
}

/** The boxes of the same folder: COCO's own may lie near. */
function instancesBeside(files: BenchmarkFiles, refsName: string): string {
  const beside = `${folderOf(refsName)}instances.json`
  const anywhere = { ...files, split: undefined }
  return files.names.includes(beside)
    ? beside
    : fileLike(anywhere, isInstances, 'file of boxes (instances.json)')
}

type Refs = z.infer<typeof Refs>

function splitsOf(refs: Refs): string[] {
  return [...new Set(refs.map(({ split }) => split ?? 'all'))]
}

/** The split that was asked for; else all that no model was trained on, where there are such. */
function isAsked({ split: wanted }: BenchmarkFiles, refs: Refs): (ref: Refs[number]) => boolean {
  if (wanted !== undefined) return ({ split }) => split === wanted
  const isForTraining = ({ split }: Refs[number]) => split === 'train'
  return refs.every(isForTraining) ? () => true : (ref) => !isForTraining(ref)
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
