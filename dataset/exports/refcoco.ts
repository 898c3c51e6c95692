// RefCOCO: instances.json in COCO's shape, refs.json with the sentences, and the same refs as the pickle that REFER and
// what builds on it open. A reference is a phrase with exactly one box. Read: lichengunc/refer refer.py at 2fe1dfe;
// mmdetection's RefCocoDataset opens the same two files.
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { categoryId } from './core/category.ts'
import { regionsOf } from './core/content.ts'
import type {
  ExportFormat,
  ExportImage,
  ExportSink,
  FormatWriter,
  ReadImage,
  WriterContext,
} from './core/format.ts'
import { boxOfRectangle, outlineOf, pixelRectangle } from './core/frames.ts'
import { isId } from './core/id-set.ts'
import { readJsonElements } from './core/json-elements.ts'
import { pickledItem, pickledListEnd, pickledListStart } from './core/pickle.ts'
import { field, list, text } from './core/rules.ts'
import { createSectionFile, sectionRows, type SectionFile } from './core/section-format.ts'

const Instance = z.object({ id: z.int(), bbox: z.array(z.number()).length(4) })
const Picture = z.object({ id: z.int(), file_name: z.string(), width: z.int(), height: z.int() })
const ReadReference = z.object({
  ann_id: z.int(),
  image_id: z.int(),
  sentences: z.array(z.object({ raw: z.string() })).min(1),
})

const refer = 'lichengunc/refer refer.py REFER.createIndex'

const instancesName = 'instances.json'
const refsName = 'refs.json'
/** Opened by `REFER(data_root, dataset, splitBy='coglabel')`. */
const pickleName = 'refs(coglabel).p'

export const refcoco: ExportFormat = {
  name: 'refcoco',
  summary: 'RefCOCO: instances.json with refs.json, and refs(coglabel).p for REFER',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^refs\.json$/,
  lost: [
    'phrases with several boxes or none: a reference means one thing',
    'texts, questions and answers, and where in a text a phrase stands',
    'the recordId and everything else of a record',
    'all beyond hundredths of a pixel',
    'shapes: the segmentation of a box is its outline',
  ],
  open: openRefcoco,
  rows: sectionRows,
  async *read(files) {
    yield* await readPair(files.folder)
  },
  rules: [
    {
      name: 'ids-once',
      says: 'ref_id, ann_id and every sent_id are there once: the index is built on them',
      source: refer,
      problem({ file, value }, { ids }) {
        if (file !== refsName) return null
        const found = [
          ['ref', field(value, 'ref_id')],
          ['ann', field(value, 'ann_id')],
          ...list(field(value, 'sent_ids')).map((id) => ['sent', id]),
        ] as const
        for (const [kind, id] of found) {
          const name = `${file} ${String(kind)} ${JSON.stringify(id)}`
          if (!isId(id)) return `${name} is no whole number`
          if (!ids(`${file} ${String(kind)}`).add(id)) return `${name} is there twice`
        }
        return null
      },
    },
    {
      name: 'reference-has-its-instance',
      says: 'a ref names an annotation of the instances file that belongs to it',
      source: refer,
      // Files come in order of name: instances before refs.
      problem({ file, section, value }, { ids }) {
        const id = field(value, 'id')
        if (section === 'annotations' && isId(id)) ids('annotations').add(id)
        if (section === 'images' && isId(id)) ids('images').add(id)
        if (file !== refsName) return null
        const [annotation, image] = [Number(field(value, 'ann_id')), Number(field(value, 'image_id'))]
        if (!ids('annotations').has(annotation)) return `there is no annotation ${annotation}`
        return ids('images').has(image) ? null : `there is no image ${image}`
      },
    },
    {
      name: 'sentences-have-tokens',
      says: 'a sentence has raw, sent, tokens and sent_id, and sent_ids lists them in order',
      source: refer,
      problem({ file, value }) {
        if (file !== refsName) return null
        const sentences = list(field(value, 'sentences'))
        const isComplete = sentences.every(
          (one) => text(field(one, 'sent')) !== '' && list(field(one, 'tokens')).length > 0,
        )
        const ids = sentences.map((one) => field(one, 'sent_id'))
        return isComplete &&
          sentences.length > 0 &&
          JSON.stringify(ids) === JSON.stringify(field(value, 'sent_ids'))
          ? null
          : `${file}, ref ${String(Number(field(value, 'ref_id')))}`
      },
    },
    {
      name: 'pickle-for-refer',
      says: 'the refs lie beside as a pickle of a list, which is what REFER opens',
      source: 'lichengunc/refer refer.py REFER.__init__',
      problem({ file, number }, { files }) {
        if (file !== refsName || number > 1) return null
        const path = join(files.folder, pickleName)
        return existsSync(path) && startsAsList(path) ? null : `${pickleName} is no pickle of a list`
      },
    },
    {
      name: 'segmentation-has-a-polygon',
      says: 'segmentation holds a polygon: getMask looks at the first one unasked',
      source: 'lichengunc/refer refer.py REFER.getMask',
      problem({ section, value }) {
        if (section !== 'annotations') return null
        const [polygon] = list(field(value, 'segmentation'))
        return list(polygon).length >= 6 ? null : `annotation ${String(Number(field(value, 'id')))} has none`
      },
    },
  ],
}

/** Its first bytes alone: nothing of a pickle is ever loaded. */
function startsAsList(path: string): boolean {
  const file = openSync(path, 'r')
  try {
    const start = Buffer.alloc(pickledListStart.length)
    readSync(file, start, 0, start.length, 0)
    return start.equals(pickledListStart)
  } finally {
    closeSync(file)
  }
}

type Pair = { instances: SectionFile; refs: RefsFile }

type Reference = {
  ref_id: number
  ann_id: number
  category_id: number
  image_id: number
  file_name: string
  split: string
  sent_ids: number[]
  sentences: { sent_id: number; raw: string; sent: string; tokens: string[] }[]
}

/** Both ways that refs are written, one after the other. */
type RefsFile = { add(ref: Reference): Promise<void>; close(): Promise<void> }

async function createRefsFile(sink: ExportSink): Promise<RefsFile> {
  const [json, pickle] = [await sink.create(refsName), await sink.create(pickleName)]
  let count = 0
  await pickle.write(pickledListStart)
  return {
    async add(ref) {
      await json.write(`${count === 0 ? '[\n' : ',\n'}${JSON.stringify(ref)}`)
      await pickle.write(pickledItem(ref))
      count += 1
    },
    async close() {
      await json.write(count === 0 ? '[]\n' : '\n]\n')
      await json.close()
      await pickle.write(pickledListEnd)
      await pickle.close()
    },
  }
}

function openRefcoco({ sink, createdAt, modelName }: WriterContext): FormatWriter {
  const categories = new Map<string, number>()
  const next = { id: 1, ref: 0 }
  const instances = createSectionFile(sink, {
    path: instancesName,
    sections: ['images', 'categories', 'annotations'],
  })
  const refs = createRefsFile(sink)
  return {
    write: async (image) =>
      await writeImage(image, { pair: { instances, refs: await refs }, categories, next }),
    async close() {
      for (const [name, id] of categories) await instances.add('categories', { id, name, supercategory: '' })
      const info = { description: `labels by ${modelName}`, version: '1', date_created: createdAt }
      await instances.close({ info, licenses: [] })
      await (await refs).close()
    },
  }
}

type Target = { pair: Pair; categories: Map<string, number>; next: { id: number; ref: number } }

async function writeImage(image: ExportImage, { pair, categories, next }: Target): Promise<number> {
  const { width, height, records } = image
  const single = regionsOf(records).filter(({ region }) => region.boxes.length === 1)
  if (single.length === 0) return 0
  const imageId = image.index + 1
  const fileName = await image.place()
  await pair.instances.add('images', { id: imageId, file_name: fileName, width, height })
  for (const { region } of single) {
    const [box] = region.boxes
    if (box === undefined) continue
    const [annId, refId] = [next.id++, next.ref++]
    const categoryNumber = categoryId(categories, region.text)
    const bbox = pixelRectangle(box, { width, height })
    const area = Math.round(bbox[2] * bbox[3] * 100) / 100
    await pair.instances.add('annotations', {
      id: annId,
      image_id: imageId,
      category_id: categoryNumber,
      bbox,
      area,
      iscrowd: 0,
      segmentation: outlineOf(bbox),
    })
    const sent =
      region.text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s'-]/gu, '')
        .trim() || region.text
    await pair.refs.add({
      ref_id: refId,
      ann_id: annId,
      category_id: categoryNumber,
      image_id: imageId,
      file_name: fileName,
      split: image.split ?? 'train',
      sent_ids: [refId],
      sentences: [{ sent_id: refId, raw: region.text, sent, tokens: sent.split(/\s+/) }],
    })
  }
  return single.length
}

/** The references, joined with their instances; the instances file is in memory, as in its loader. */
async function readPair(folder: string): Promise<ReadImage[]> {
  const images = new Map<number, ReadImage & { width: number; height: number }>()
  const boxes = new Map<number, number[]>()
  for await (const { section, value } of readJsonElements(join(folder, instancesName))) {
    if (section === 'images') {
      const { id, file_name: image, width, height } = Picture.parse(value)
      images.set(id, { image, width, height, labels: [] })
    }
    if (section === 'annotations') {
      const { id, bbox } = Instance.parse(value)
      boxes.set(id, bbox)
    }
  }
  for await (const { value } of readJsonElements(join(folder, refsName))) {
    const { ann_id: ann, image_id: id, sentences } = ReadReference.parse(value)
    const image = images.get(id)
    const bbox = boxes.get(ann)
    if (image === undefined || bbox === undefined) continue
    const regions = sentences.map(({ raw }) => ({
      text: raw,
      start: null,
      end: null,
      boxes: [boxOfRectangle(bbox, image)],
    }))
    image.labels.push({ recordId: null, text: null, turns: [], regions })
  }
  return [...images.values()]
}
