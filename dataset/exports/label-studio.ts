// Label Studio: tasks with our labels as predictions, to be looked at and mended there. Boxes are percentages.
import { z } from 'zod'
import type { Box } from '../../schemas/task-output.ts'
import { captionOf, regionsOf } from './core/content.ts'
import type { ReadLabel } from './core/format.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, text } from './core/rules.ts'

const Rectangle = z.object({
  type: z.literal('rectanglelabels'),
  original_width: z.int(),
  original_height: z.int(),
  value: z.object({
    x: z.number(),
    y: z.number(),
    width: z.number(),
    height: z.number(),
    rectanglelabels: z.array(z.string()).length(1),
  }),
})
const TextArea = z.object({
  type: z.literal('textarea'),
  value: z.object({ text: z.array(z.string()).length(1) }),
})
const Row = z.object({
  data: z.object({ image: z.string() }),
  predictions: z.array(z.object({ result: z.array(z.union([Rectangle, TextArea])) })).length(1),
})

const guide = 'labelstud.io/guide/predictions'

export const labelStudio = rowFormat({
  name: 'label-studio',
  summary: 'Label Studio: tasks with predictions, for review there',
  imageModes: ['reference', 'copy', 'link'],
  extension: 'json',
  lost: [
    'questions and answers, and that something was looked for and not found',
    'all texts of an image but its caption',
    'which words of the caption a box belongs to: it has them as its label',
    'the recordId and provenance beyond the name of the model',
  ],
  async rowsOf(image) {
    const { width, height, records } = image
    const common = { to_name: 'image', original_width: width, original_height: height, image_rotation: 0 }
    const boxes = regionsOf(records).flatMap(({ region }) =>
      region.boxes.map((box) => ({ box, words: region.text })),
    )
    const rectangles = boxes.map(({ box, words }, index) => ({
      id: `b${index + 1}`,
      from_name: 'label',
      type: 'rectanglelabels',
      ...common,
      value: { ...percent(box), rotation: 0, rectanglelabels: [words] },
    }))
    const caption = captionOf(records)
    const texts =
      caption === null
        ? []
        : [{ id: 'c1', from_name: 'caption', to_name: 'image', type: 'textarea', value: { text: [caption] } }]
    const result = [...rectangles, ...texts]
    if (result.length === 0) return []
    const place = await image.place()
    return [
      {
        data: { image: place, key: image.key, split: image.split },
        predictions: [{ model_version: records[0]?.model.name ?? '', result }],
      },
    ]
  },
  readRow(value) {
    const { data, predictions } = Row.parse(value)
    const label: ReadLabel = { recordId: null, text: null, turns: [], regions: [] }
    for (const one of predictions.flatMap(({ result }) => result)) {
      if (one.type === 'textarea') label.text = one.value.text[0] ?? null
      else
        label.regions.push({
          text: one.value.rectanglelabels[0] ?? '',
          start: null,
          end: null,
          boxes: [unpercent(one.value)],
        })
    }
    return { image: data.image, width: null, height: null, labels: [label] }
  },
  rules: [
    {
      name: 'result-names-its-controls',
      says: 'each part of a prediction has from_name, to_name and type, and an id that is there once',
      source: guide,
      problem(row) {
        const parts = resultsOf(row.value)
        const ids = parts.map((part) => field(part, 'id'))
        const isComplete = parts.every((part) =>
          ['from_name', 'to_name', 'type'].every((name) => text(field(part, name)) !== ''),
        )
        return isComplete && new Set(ids).size === ids.length ? null : `${row.file}, task ${row.number}`
      },
    },
    {
      name: 'boxes-in-percent',
      says: 'x, y, width and height are percentages of the image and stay inside it',
      source: guide,
      problem(row) {
        const wrong = resultsOf(row.value).find((part) => {
          if (field(part, 'type') !== 'rectanglelabels') return false
          const [x = -1, y = -1, width = -1, height = -1] = ['x', 'y', 'width', 'height'].map((name) =>
            Number(field(field(part, 'value'), name)),
          )
          // Hundredths of hundredths are kept, so sums may pass by one.
          return !(
            x >= 0 &&
            y >= 0 &&
            width > 0 &&
            height > 0 &&
            x + width <= 100.001 &&
            y + height <= 100.001
          )
        })
        return wrong === undefined
          ? null
          : `${row.file}, task ${row.number}: ${JSON.stringify(field(wrong, 'value'))}`
      },
    },
    {
      name: 'task-has-its-image',
      says: 'data.image is where the image is',
      source: 'labelstud.io/guide/tasks',
      problem: (row) =>
        text(field(field(row.value, 'data'), 'image')) === '' ? `${row.file}, task ${row.number}` : null,
    },
  ],
})

function resultsOf(row: unknown): unknown[] {
  return list(field(row, 'predictions')).flatMap((prediction) => list(field(prediction, 'result')))
}

function percent([x0, y0, x1, y1]: Box): { x: number; y: number; width: number; height: number } {
  const round = (value: number) => Math.round(value * 1e6) / 1e4
  return { x: round(x0), y: round(y0), width: round(x1 - x0), height: round(y1 - y0) }
}

function unpercent({ x, y, width, height }: z.infer<typeof Rectangle>['value']): Box {
  return [x / 100, y / 100, (x + width) / 100, (y + height) / 100]
}
