// FiftyOneDataset: samples.json with captions, answers and detections, and metadata.json. Boxes are x, y, width, height
// as fractions. Read: voxel51/fiftyone importers.py after 0.8; metadata without a version goes to its
// LegacyFiftyOneDatasetImporter, which takes the fields from the samples unless metadata names some.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Box } from '../../schemas/task-output.ts'
import { captionOf, contentOfRecord, regionsOf } from './core/content.ts'
import { writeFileWhole } from './core/files.ts'
import type { ExportFormat, ReadLabel } from './core/format.ts'
import { expectJson } from './core/json-elements.ts'
import { field, list, missingImage, text } from './core/rules.ts'
import { createSectionFile, sectionRows } from './core/section-format.ts'

const Detection = z.object({ label: z.string(), bounding_box: z.array(z.number()).length(4) })
const Sample = z.object({
  filepath: z.string(),
  caption: z.object({ label: z.string() }).optional(),
  answers: z
    .object({ classifications: z.array(z.object({ label: z.string(), question: z.string() })) })
    .optional(),
  predictions: z.object({ detections: z.array(Detection) }).optional(),
  metadata: z.object({ width: z.int(), height: z.int() }),
})

const importer = 'voxel51/fiftyone fiftyone/utils/data/importers.py FiftyOneDatasetImporter'
const labels = 'voxel51/fiftyone fiftyone/core/labels.py Detection'

export const fiftyone: ExportFormat = {
  name: 'fiftyone',
  summary: 'FiftyOneDataset: samples.json with captions, answers and detections',
  imageModes: ['copy', 'link'],
  lost: [
    'all texts of an image but its caption',
    'which words of the caption a box belongs to: it has them as its label',
    'that something was looked for and not found',
    'provenance beyond the recordId of a detection',
  ],
  open({ sink, createdAt, modelName }) {
    const file = createSectionFile(sink, { path: 'samples.json', sections: ['samples'] })
    return {
      async write(image) {
        const caption = captionOf(image.records)
        const answers = image.records.flatMap((record) => contentOfRecord(record).turns)
        const detections = regionsOf(image.records).flatMap(({ region, record }) =>
          region.boxes.map(([x0, y0, x1, y1]) => ({
            _cls: 'Detection',
            label: region.text,
            bounding_box: [x0, y0, x1 - x0, y1 - y0],
            tags: [],
            record_id: record.recordId,
          })),
        )
        await file.add('samples', {
          filepath: await image.place({ path: `data/${image.key}` }),
          tags: image.split === null ? [] : [image.split],
          metadata: { _cls: 'ImageMetadata', width: image.width, height: image.height },
          ...(caption === null ? {} : { caption: { _cls: 'Classification', label: caption, tags: [] } }),
          ...(answers.length === 0
            ? {}
            : { answers: { _cls: 'Classifications', classifications: answers.map(classify) } }),
          ...(detections.length === 0 ? {} : { predictions: { _cls: 'Detections', detections } }),
        })
        return 1
      },
      async close() {
        await file.close({})
        const info = { description: `labels by ${modelName}`, created_at: createdAt }
        // No `version`, which would promise a dump of its database; no `sample_fields`, which would be all there may be.
        const metadata = { name: 'coglabel', media_type: 'image', info }
        await writeFileWhole(sink, 'metadata.json', `${JSON.stringify(metadata, null, 1)}\n`)
      },
    }
  },
  rows: sectionRows,
  async *read(files) {
    for await (const { section, value } of sectionRows(files)) {
      if (section !== 'samples') continue
      const { filepath: image, caption, answers, predictions, metadata } = Sample.parse(value)
      const label: ReadLabel = {
        recordId: null,
        text: caption?.label ?? null,
        turns: (answers?.classifications ?? []).map((one) => ({ question: one.question, answer: one.label })),
        regions: (predictions?.detections ?? []).map((one) => ({
          text: one.label,
          start: null,
          end: null,
          boxes: [unwrap(one.bounding_box)],
        })),
      }
      yield { image, width: metadata.width, height: metadata.height, labels: [label] }
    }
  },
  rules: [
    {
      name: 'filepath-opens',
      says: 'filepath is a path below the dataset, and opens',
      source: importer,
      problem: ({ section, value }, { files }) =>
        section === 'samples' ? missingImage(field(value, 'filepath'), files) : null,
    },
    {
      name: 'metadata-leaves-fields-open',
      says: 'metadata.json has neither sample_fields, beyond which no field is taken, nor version, which means a database dump',
      source: `${importer}._is_legacy_format_data and _build_parse_sample_fcn`,
      problem({ section, number }, { files }) {
        const path = join(files.folder, 'metadata.json')
        if (section !== 'samples' || number > 1 || !existsSync(path)) return null
        const metadata = expectJson(readFileSync(path, 'utf8'), path)
        const wrong = ['sample_fields', 'version'].filter((name) => field(metadata, name) !== undefined)
        return wrong.length === 0 ? null : `metadata.json has ${wrong.join(' and ')}`
      },
    },
    {
      name: 'labels-name-their-class',
      says: 'every label says which class of labels it is, in _cls',
      source: importer,
      problem({ section, value }) {
        if (section !== 'samples') return null
        const held = ['caption', 'answers', 'predictions'].map((name) => field(value, name))
        const nested = list(field(field(value, 'predictions'), 'detections'))
        const isNamed = [...held, ...nested].every(
          (one) => one === undefined || text(field(one, '_cls')) !== '',
        )
        return isNamed ? null : text(field(value, 'filepath'))
      },
    },
    {
      name: 'boxes-are-fractions',
      says: 'bounding_box is x, y, width, height from 0 to 1',
      source: labels,
      problem({ section, value }) {
        if (section !== 'samples') return null
        const boxes = list(field(field(value, 'predictions'), 'detections')).map((one) =>
          list(field(one, 'bounding_box')),
        )
        const wrong = boxes.find(
          (box) => box.length !== 4 || box.some((side) => Number(side) < 0 || Number(side) > 1),
        )
        return wrong === undefined ? null : `${text(field(value, 'filepath'))}: ${JSON.stringify(wrong)}`
      },
    },
  ],
}

function classify({ question, answer }: { question: string; answer: string }): object {
  return { _cls: 'Classification', label: answer, question, tags: [] }
}

function unwrap([x = 0, y = 0, width = 0, height = 0]: readonly number[]): Box {
  return [x, y, x + width, y + height]
}
