// RefCOCO as JSON: instances_*.json in COCO's shape and refs_*.json with the sentences. A reference is a phrase with
// exactly one box; the original keeps its refs in a pickle, which can run code, so there is none.
import { join } from 'node:path'
import { z } from 'zod'
import { categoryId } from './core/category.ts'
import { regionsOf } from './core/content.ts'
import type { ExportFormat, ExportImage, FormatWriter, ReadImage, WriterContext } from './core/format.ts'
import { boxOfRectangle, pixelRectangle } from './core/frames.ts'
import { isId } from './core/id-set.ts'
import { readJsonElements } from './core/json-elements.ts'
import { perStem } from './core/per-split.ts'
import { dataFiles } from './core/row-format.ts'
import { field, list, text } from './core/rules.ts'
import { createSectionFile, sectionRows, type SectionFile } from './core/section-format.ts'

const Instance = z.object({ id: z.int(), bbox: z.array(z.number()).length(4) })
const Picture = z.object({ id: z.int(), file_name: z.string(), width: z.int(), height: z.int() })
const Reference = z.object({
  ann_id: z.int(),
  image_id: z.int(),
  sentences: z.array(z.object({ raw: z.string() })).min(1),
})

const refer = 'lichengunc/refer refer.py REFER.createIndex'

export const refcoco: ExportFormat = {
  name: 'refcoco',
  summary: 'RefCOCO as JSON: refs_*.json with instances_*.json',
  imageModes: ['copy', 'link', 'reference'],
  lost: [
    'phrases with several boxes or none: a reference means one thing',
    'texts, questions and answers, and where in a text a phrase stands',
    'the recordId and everything else of a record',
    'all beyond hundredths of a pixel',
  ],
  open: openRefcoco,
  rows: sectionRows,
  async *read(files) {
    for (const name of dataFiles(files, 'json').filter((one) => one.startsWith('refs_')))
      yield* await readPair(files.folder, name)
  },
  rules: [
    {
      name: 'ids-once',
      says: 'ref_id, ann_id and every sent_id are there once: the index is built on them',
      source: refer,
      problem({ file, section, value }, { ids }) {
        if (section !== 'refs') return null
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
        const stem = file.replace(/^(instances|refs)_/, '')
        const id = field(value, 'id')
        if (section === 'annotations' && isId(id)) ids(stem).add(id)
        if (section !== 'refs') return null
        const wanted = Number(field(value, 'ann_id'))
        return ids(stem).has(wanted) ? null : `${file}: there is no annotation ${stem} ${wanted}`
      },
    },
    {
      name: 'sentences-have-tokens',
      says: 'a sentence has raw, sent, tokens and sent_id, and sent_ids lists them in order',
      source: refer,
      problem({ file, section, value }) {
        if (section !== 'refs') return null
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
  ],
}

type Pair = { instances: SectionFile; refs: SectionFile }

function openRefcoco({ sink, createdAt, modelName }: WriterContext): FormatWriter {
  const categories = new Map<string, number>()
  const next = { id: 1, ref: 0 }
  const pairs = perStem((stem): Pair => ({
    instances: createSectionFile(sink, {
      path: `instances_${stem}.json`,
      sections: ['images', 'categories', 'annotations'],
    }),
    refs: createSectionFile(sink, { path: `refs_${stem}.json`, sections: ['refs'] }),
  }))
  return {
    write: async (image) =>
      await writeImage(image, { pair: pairs.of(image.split ?? 'all'), categories, next }),
    async close() {
      pairs.of(pairs.all()[0]?.[0] ?? 'all')
      const info = { description: `labels by ${modelName}`, version: '1', date_created: createdAt }
      for (const [, { instances, refs }] of pairs.all()) {
        for (const [name, id] of categories)
          await instances.add('categories', { id, name, supercategory: '' })
        await instances.close({ info, licenses: [] })
        await refs.close({ info })
      }
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
      segmentation: [],
    })
    const sent =
      region.text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s'-]/gu, '')
        .trim() || region.text
    await pair.refs.add('refs', {
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

/** The references of one part, joined with their instances; the instances file is in memory, as in its loader. */
async function readPair(folder: string, refsName: string): Promise<ReadImage[]> {
  const images = new Map<number, ReadImage & { width: number; height: number }>()
  const boxes = new Map<number, number[]>()
  for await (const { section, value } of readJsonElements(
    join(folder, refsName.replace('refs_', 'instances_')),
  )) {
    if (section === 'images') {
      const { id, file_name: image, width, height } = Picture.parse(value)
      images.set(id, { image, width, height, labels: [] })
    }
    if (section === 'annotations') {
      const { id, bbox } = Instance.parse(value)
      boxes.set(id, bbox)
    }
  }
  for await (const { section, value } of readJsonElements(join(folder, refsName))) {
    if (section !== 'refs') continue
    const { ann_id: ann, image_id: id, sentences } = Reference.parse(value)
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
