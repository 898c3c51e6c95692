// Label Studio: tasks with our labels as predictions, and label-config.xml, the configuration that takes them. Boxes are
// percentages; each has its category as label and its words as a text of the region. Read: HumanSignal/label-studio-sdk
// label_interface/interface.py and control_tags.py, which hold every part of a prediction against the configuration.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Box } from '../../schemas/task-output.ts'
import { categoryName } from './core/category.ts'
import { captionOf, regionsOf } from './core/content.ts'
import { writeFileWhole } from './core/files.ts'
import type { ReadLabel } from './core/format.ts'
import { readJsonElements } from './core/json-elements.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, text } from './core/rules.ts'

const Rectangle = z.object({
  id: z.string(),
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
  id: z.string(),
  from_name: z.string(),
  type: z.literal('textarea'),
  value: z.object({ text: z.array(z.string()).length(1) }),
})
const Row = z.object({
  data: z.object({ image: z.string() }),
  predictions: z.array(z.object({ result: z.array(z.union([Rectangle, TextArea])) })).length(1),
})

const guide = 'labelstud.io/guide/predictions'
const sdk = 'HumanSignal/label-studio-sdk src/label_studio_sdk/label_interface/interface.py'
const configName = 'label-config.xml'

/** Controls of the configuration by name, with the tag that each is. */
const controls = { label: 'RectangleLabels', words: 'TextArea', caption: 'TextArea' } as const

export const labelStudio = rowFormat({
  name: 'label-studio',
  summary: 'Label Studio: tasks with predictions, for review there',
  imageModes: ['copy', 'link', 'reference'],
  extension: 'json',
  lost: [
    'questions and answers, and that something was looked for and not found',
    'all texts of an image but its caption',
    'which words of the caption a box belongs to: they are a text of its region, and without article its label',
    'the recordId and provenance beyond the name of the model',
  ],
  async rowsOf(image) {
    const { width, height, records } = image
    const common = { to_name: 'image', original_width: width, original_height: height, image_rotation: 0 }
    const boxes = regionsOf(records).flatMap(({ region }) =>
      region.boxes.map((box) => ({ box, words: region.text })),
    )
    // A text belongs to the region whose id it shares.
    const rectangles = boxes.flatMap(({ box, words }, index) => {
      const [id, place] = [`b${index + 1}`, { ...percent(box), rotation: 0 }]
      return [
        {
          id,
          from_name: 'label',
          type: 'rectanglelabels',
          ...common,
          value: { ...place, rectanglelabels: [labelName(words)] },
        },
        { id, from_name: 'words', type: 'textarea', ...common, value: { ...place, text: [words] } },
      ]
    })
    const caption = captionOf(records)
    const texts =
      caption === null
        ? []
        : [{ id: 'c1', from_name: 'caption', to_name: 'image', type: 'textarea', value: { text: [caption] } }]
    const result = [...rectangles, ...texts]
    if (result.length === 0) return []
    return [
      {
        data: { image: addressOf(await image.place()), key: image.key, split: image.split },
        predictions: [{ model_version: records[0]?.model.name ?? '', result }],
      },
    ]
  },
  async finish({ sink }, files) {
    const labels = new Set<string>()
    for (const file of files)
      for await (const { value } of readJsonElements(join(sink.folder, file)))
        for (const part of resultsOf(value)) for (const one of labelsOf(part)) labels.add(one)
    await writeFileWhole(sink, configName, configOf([...labels].toSorted()))
  },
  readRow(value) {
    const { data, predictions } = Row.parse(value)
    const label: ReadLabel = { recordId: null, text: null, turns: [], regions: [] }
    const parts = predictions.flatMap(({ result }) => result)
    for (const one of parts) {
      if (one.type === 'textarea') {
        if (one.from_name === 'caption') label.text = one.value.text[0] ?? null
        continue
      }
      const words = parts.find((other) => other.type === 'textarea' && other.id === one.id)
      label.regions.push({
        text: words?.type === 'textarea' ? (words.value.text[0] ?? '') : (one.value.rectanglelabels[0] ?? ''),
        start: null,
        end: null,
        boxes: [unpercent(one.value)],
      })
    }
    return { image: pathOf(data.image), width: null, height: null, labels: [label] }
  },
  rules: [
    {
      name: 'result-names-its-controls',
      says: 'each part of a prediction has from_name, to_name and type, and an id that only texts of its region share',
      source: guide,
      problem(row) {
        const parts = resultsOf(row.value)
        const ids = parts.map((part) => JSON.stringify([field(part, 'id'), field(part, 'from_name')]))
        const isComplete = parts.every((part) =>
          ['id', 'from_name', 'to_name', 'type'].every((name) => text(field(part, name)) !== ''),
        )
        return isComplete && new Set(ids).size === ids.length ? null : `${row.file}, task ${row.number}`
      },
    },
    {
      name: 'config-takes-every-part',
      says: 'label-config.xml has the control that a part names, of its type and for its image, and every label',
      source: `${sdk} validate_prediction`,
      problem(row, { files, seen }) {
        if (seen.size === 0) for (const one of readConfig(files.folder)) seen.add(one)
        const wrong = resultsOf(row.value).find((part) => {
          const [name, type] = [text(field(part, 'from_name')), text(field(part, 'type'))]
          if (!seen.has(`control ${name} ${type} ${text(field(part, 'to_name'))}`)) return true
          return labelsOf(part).some((one) => !seen.has(`label ${one}`))
        })
        return wrong === undefined ? null : `${row.file}, task ${row.number}: ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'value-of-its-type',
      says: 'the text of a textarea is a list of strings; a rectangle has its labels as a list that is not empty',
      source:
        'HumanSignal/label-studio-sdk src/label_studio_sdk/label_interface/control_tags.py and its issue 120',
      problem(row) {
        const wrong = resultsOf(row.value).find((part) => {
          const value = field(part, 'value')
          const said = field(part, 'type') === 'textarea' ? field(value, 'text') : labelsOf(part)
          return !Array.isArray(said) || said.length === 0 || said.some((one) => typeof one !== 'string')
        })
        return wrong === undefined ? null : `${row.file}, task ${row.number}: ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'score-from-0-to-1',
      says: 'a prediction that has a score has one from 0 to 1',
      source: `${sdk} _validate_object_logic`,
      problem(row) {
        const scores = list(field(row.value, 'predictions')).map((one) => field(one, 'score'))
        const wrong = scores.find((one) => one != null && !(Number(one) >= 0 && Number(one) <= 1))
        return wrong === undefined ? null : `${row.file}, task ${row.number}: ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'image-of-known-size',
      says: 'parts with a place have the size of the upright image, which is not turned',
      source: 'labelstud.io/guide/predictions, units of image annotations',
      problem(row) {
        const wrong = resultsOf(row.value).find((part) => {
          if (field(field(part, 'value'), 'x') === undefined) return false
          const sides = [field(part, 'original_width'), field(part, 'original_height')].map(Number)
          return sides.some((side) => !(side > 0)) || field(part, 'image_rotation') !== 0
        })
        return wrong === undefined ? null : `${row.file}, task ${row.number}: ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'boxes-in-percent',
      says: 'x, y, width and height are percentages of the image and stay inside it',
      source: guide,
      problem(row) {
        const wrong = resultsOf(row.value).find((part) => {
          if (field(field(part, 'value'), 'x') === undefined) return false
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
      says: 'data.image is an address that a browser opens: s3, http or a file that Label Studio serves',
      source: 'labelstud.io/guide/tasks, and label_studio/io_storages/localfiles/README.md',
      problem(row, { files }) {
        const address = text(field(field(row.value, 'data'), 'image'))
        if (/^(s3|gs|https?|azure-blob):/.test(address)) return null
        if (address.startsWith(served) && existsSync(join(files.folder, pathOf(address)))) return null
        return `${row.file}, task ${row.number}: ${JSON.stringify(address)}; use --images copy for files of this machine`
      },
    },
  ],
})

/** How Label Studio serves files below LOCAL_FILES_DOCUMENT_ROOT. */
const served = '/data/local-files/?d='

function addressOf(place: string): string {
  return /^[a-z][a-z0-9+.-]*:/i.test(place)
    ? place
    : served + place.split('/').map(encodeURIComponent).join('/')
}

function pathOf(address: string): string {
  return address.startsWith(served) ? decodeURIComponent(address.slice(served.length)) : address
}

/** What XML cannot hold is no part of a label, and a label has something to read. */
function labelName(words: string): string {
  return categoryName(words.toWellFormed().replaceAll(/[\u0000-\u001f\u007f\ufffe\uffff]/g, ' ')) || 'object'
}

function labelsOf(part: unknown): string[] {
  return list(field(field(part, 'value'), 'rectanglelabels')).map(String)
}

function configOf(labels: readonly string[]): string {
  const lines = labels.map((one) => `    <Label value="${escapeXml(one)}"/>`)
  return `<!-- Settings, Labeling Interface, Code: paste this before you import the tasks. Copied images are served when
     Label Studio is started with LOCAL_FILES_SERVING_ENABLED=true and LOCAL_FILES_DOCUMENT_ROOT=(the folder of this
     file), and the project has the folder "images" in it as a source storage of local files. -->
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
${lines.join('\n')}
  </RectangleLabels>
  <TextArea name="words" toName="image" perRegion="true" editable="true" displayMode="region-list"/>
  <TextArea name="caption" toName="image" rows="3" editable="true" maxSubmissions="1"/>
</View>
`
}

/** What the configuration beside the tasks has, as `control NAME TYPE IMAGE` and `label VALUE`. */
function readConfig(folder: string): string[] {
  const path = join(folder, configName)
  if (!existsSync(path)) return ['nothing']
  const xml = readFileSync(path, 'utf8')
  const found = Object.entries(controls).flatMap(([name, tag]) => {
    const [, image] = new RegExp(`<${tag} name="${name}" toName="([^"]+)"`).exec(xml) ?? []
    return image === undefined ? [] : [`control ${name} ${tag.toLowerCase()} ${image}`]
  })
  const labels = [...xml.matchAll(/<Label value="([^"]*)"/g)].map(
    ([, one = '']) => `label ${unescapeXml(one)}`,
  )
  return ['nothing', ...found, ...labels]
}

const entities = [
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
] as const

function escapeXml(text: string): string {
  return entities.reduce((safe, [mark, entity]) => safe.replaceAll(mark, entity), text)
}

function unescapeXml(text: string): string {
  return entities.toReversed().reduce((plain, [mark, entity]) => plain.replaceAll(entity, mark), text)
}

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
