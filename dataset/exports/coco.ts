// COCO: instances (boxes with categories) and captions, two JSON files. A category is the noun of a phrase as far as
// dropping its article makes one. Read: pycocotools 2.0 coco.py and _mask.pyx of cocodataset/cocoapi, torchvision's
// references/detection/coco_utils.py.
import { join } from 'node:path'
import { z } from 'zod'
import { categoryId } from './core/category.ts'
import { boxOfRectangle, closeInstances, headOf, Picture, placeOf } from './core/coco-shapes.ts'
import { contentOfRecord, regionsOf } from './core/content.ts'
import type { ExportFormat, ExportImage, ReadImage, ReadLabel, WriterContext } from './core/format.ts'
import { isId } from './core/id-set.ts'
import { readJsonElements } from './core/json-elements.ts'
import { perStem } from './core/per-stem.ts'
import { dataFiles } from './core/row-format.ts'
import { field, list, missingImage, text } from './core/rules.ts'
import { createSectionFile, sectionRows, type SectionFile } from './core/section-format.ts'

const Instance = z.object({ image_id: z.int(), category_id: z.int(), bbox: z.array(z.number()).length(4) })
const Caption = z.object({ image_id: z.int(), caption: z.string() })
const Category = z.object({ id: z.int(), name: z.string() })

const api = 'cocodataset/cocoapi PythonAPI/pycocotools/coco.py'
const maskApi = 'cocodataset/cocoapi PythonAPI/pycocotools/_mask.pyx'
const page = 'cocodataset.org/#format-data'

export const coco: ExportFormat = {
  name: 'coco',
  summary: 'COCO: instances_*.json with boxes and captions_*.json',
  imageModes: ['copy', 'link', 'reference'],
  lost: [
    'questions and answers, and that something was looked for and not found',
    'which words of a caption a box belongs to: boxes have a category, the phrase without its article and full stop, in lower case',
    'the recordId and everything else of a record but texts and boxes',
    'all beyond hundredths of a pixel',
    'shapes: the segmentation of a box is its outline',
  ],
  open: openCoco,
  rows: sectionRows,
  async *read(files) {
    for (const name of dataFiles(files, 'json')) yield* await readFile(join(files.folder, name))
  },
  rules: [
    {
      name: 'ids-once',
      says: 'ids are numbers and there once in their section: the index is built on them',
      source: `${api} createIndex`,
      problem({ file, section, value }, { ids }) {
        if (!['images', 'annotations', 'categories'].includes(section)) return null
        const id = field(value, 'id')
        const name = `${file} ${section} ${JSON.stringify(id)}`
        if (!isId(id)) return `${name} is no whole number`
        return ids(`${file} ${section}`).add(id) ? null : `${name} is there twice`
      },
    },
    {
      name: 'annotation-has-its-image',
      says: 'an annotation names an image, and an instance a category, that the file has',
      source: `${api} createIndex and loadImgs`,
      // Sections come in this order: images, categories, annotations.
      problem({ file, section, value }, { ids }) {
        if (section === 'images' || section === 'categories') {
          const id = field(value, 'id')
          if (isId(id)) ids(`${file} ${section}`).add(id)
          return null
        }
        if (section !== 'annotations') return null
        const [image, category] = [field(value, 'image_id'), field(value, 'category_id')]
        if (!ids(`${file} images`).has(Number(image))) return `${file} images ${String(image)}`
        const isKnown = category === undefined || ids(`${file} categories`).has(Number(category))
        return isKnown ? null : `${file} categories ${JSON.stringify(category)}`
      },
    },
    {
      name: 'instance-is-complete',
      says: 'an instance has bbox of four numbers with width and height over 0, area, iscrowd and segmentation',
      source: page,
      problem({ section, value }) {
        if (section !== 'annotations' || field(value, 'caption') !== undefined) return null
        const bbox = list(field(value, 'bbox')).map(Number)
        const isBox = bbox.length === 4 && (bbox[2] ?? 0) > 0 && (bbox[3] ?? 0) > 0
        const has = ['area', 'iscrowd', 'segmentation'].every((name) => field(value, name) !== undefined)
        return isBox && has
          ? null
          : `annotation ${String(field(value, 'id'))} has bbox ${JSON.stringify(bbox)}`
      },
    },
    {
      name: 'segmentation-has-a-polygon',
      says: 'segmentation holds a polygon of three points at least: loaders of masks take the first one unasked',
      source: `${maskApi} frPyObjects; pytorch/vision references/detection/coco_utils.py`,
      problem({ section, value }) {
        const segmentation = field(value, 'segmentation')
        if (section !== 'annotations' || segmentation === undefined) return null
        const polygons = list(segmentation).map((one) => list(one).length)
        return polygons.length > 0 && polygons.every((length) => length >= 6 && length % 2 === 0)
          ? null
          : `annotation ${String(field(value, 'id'))} has polygons of ${polygons.join(', ') || 'no'} numbers`
      },
    },
    {
      name: 'captions-without-categories',
      says: 'a file of captions has no categories: where there are some, each annotation must name one',
      source: `${api} createIndex`,
      problem({ file, section, value }, { seen }) {
        if (section === 'categories') seen.add(file)
        const isBroken =
          section === 'annotations' && field(value, 'category_id') === undefined && seen.has(file)
        return isBroken ? `${file} has categories, annotation ${String(field(value, 'id'))} has none` : null
      },
    },
    {
      name: 'image-opens',
      says: 'file_name leads to the image, whose size the file gives',
      source: `${api} download and loadImgs`,
      problem({ section, value }, { files }) {
        if (section !== 'images') return null
        const isSized = Number(field(value, 'width')) > 0 && Number(field(value, 'height')) > 0
        return isSized
          ? missingImage(text(field(value, 'file_name')), files)
          : `image ${String(field(value, 'id'))} has no size`
      },
    },
  ],
}

type Pair = { instances: SectionFile; captions: SectionFile }

function openCoco(context: WriterContext) {
  const categories = new Map<string, number>()
  const next = { annotation: 1 }
  const pairs = perStem<Pair>((stem) => ({
    instances: createSectionFile(context.sink, {
      path: `instances_${stem}.json`,
      sections: ['images', 'categories', 'annotations'],
    }),
    captions: createSectionFile(context.sink, {
      path: `captions_${stem}.json`,
      sections: ['images', 'annotations'],
    }),
  }))
  return {
    write: async (image: ExportImage) =>
      await writeImage(image, { pair: pairs.of(image.split ?? 'all'), categories, next }),
    async close() {
      for (const { instances, captions } of pairs.all('all')) {
        await closeInstances(instances, { categories, context })
        await captions.close(headOf(context))
      }
    },
  }
}

type Target = { pair: Pair; categories: Map<string, number>; next: { annotation: number } }

async function writeImage(image: ExportImage, { pair, categories, next }: Target): Promise<number> {
  const { width, height, records } = image
  const before = next.annotation
  const id = image.index + 1
  const picture = { id, file_name: await image.place(), width, height }
  await pair.instances.add('images', picture)
  await pair.captions.add('images', picture)
  for (const { region } of regionsOf(records)) {
    for (const box of region.boxes) {
      await pair.instances.add('annotations', {
        id: next.annotation++,
        image_id: id,
        category_id: categoryId(categories, region.text),
        ...placeOf(box, { width, height }),
      })
    }
  }
  for (const record of records) {
    const { text: caption } = contentOfRecord(record)
    if (caption !== null)
      await pair.captions.add('annotations', { id: next.annotation++, image_id: id, caption })
  }
  return next.annotation - before
}

/** The images of one file with what is said about them; the whole file is in memory, as in every COCO loader. */
async function readFile(path: string): Promise<ReadImage[]> {
  const images = new Map<number, ReadImage & { width: number; height: number }>()
  const categories = new Map<number, string>()
  for await (const { section, value } of readJsonElements(path)) {
    if (section === 'images') {
      const { id, file_name: image, width, height } = Picture.parse(value)
      images.set(id, { image, width, height, labels: [] })
    }
    if (section === 'categories') {
      const { id, name } = Category.parse(value)
      categories.set(id, name)
    }
    if (section === 'annotations') {
      const image = images.get(Number(field(value, 'image_id')))
      image?.labels.push(readAnnotation(value, { size: image, categories }))
    }
  }
  return [...images.values()]
}

type Known = { size: { width: number; height: number }; categories: ReadonlyMap<number, string> }

function readAnnotation(value: unknown, { size, categories }: Known): ReadLabel {
  if (field(value, 'caption') !== undefined)
    return { recordId: null, text: Caption.parse(value).caption, turns: [], regions: [] }
  const { category_id: category, bbox } = Instance.parse(value)
  const region = {
    text: categories.get(category) ?? null,
    start: null,
    end: null,
    boxes: [boxOfRectangle(bbox, size)],
  }
  return { recordId: null, text: null, turns: [], regions: [region] }
}
