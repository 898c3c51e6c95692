// ms-swift: messages with placeholders for the boxes, which stand apart as fractions; the trainer writes them in the way
// of its model. One line a record. Paths of images are looked up from where the trainer is started, or below its
// ROOT_IMAGE_DIR. Read: modelscope/ms-swift swift/llm/dataset/preprocessor/core.py at 0e518dd and 00f5f5d,
// swift/llm/template/base.py normalize_bbox and template_inputs.py at 3017915.
import { z } from 'zod'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { Box } from '../../schemas/task-output.ts'
import {
  askedOf,
  defuse,
  type Exchange,
  exchangesOf,
  imageMarker,
  pairTurns,
  restore,
  type Turn,
} from './core/conversation.ts'
import { perMilleDialect } from './core/dialect.ts'
import type { ReadRegion } from './core/format.ts'
import { rowFormat } from './core/row-format.ts'
import { alternates, countOf, field, list, missingImage, text } from './core/rules.ts'

const [refMarker, boxMarker] = ['<ref-object>', '<bbox>']
const markers = [imageMarker, refMarker, boxMarker]

const Row = z.object({
  messages: z.array(z.object({ role: z.string(), content: z.string() })),
  images: z.array(z.string()).length(1),
  objects: z
    .object({
      ref: z.array(z.string()),
      bbox: z.array(Box),
      bbox_type: z.literal('norm1'),
    })
    .optional(),
})

const guide = 'modelscope/ms-swift docs/source_en/Customization/Custom-dataset.md'
const template = 'modelscope/ms-swift swift/llm/template/template_inputs.py and base.py'

export const msSwift = rowFormat({
  name: 'ms-swift',
  summary: 'ms-swift: messages with objects, one conversation a line',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^[^/]+\.jsonl$/,
  extension: 'jsonl',
  lost: [
    'the recordId and everything else of a record but its questions, answers, phrases and boxes',
    'boxes of words inside other words that have boxes',
    'the texts <image>, <ref-object> and <bbox> inside a question or an answer: a zero-width space is put into them',
  ],
  async rowsOf(image) {
    const rows = []
    for (const record of image.records) {
      const { turns, ref, bbox } = conversationOf(record)
      if (turns.length === 0) continue
      const messages = turns.flatMap(({ question, answer }, index) => [
        { role: 'user', content: index === 0 ? `${imageMarker}${question}` : question },
        { role: 'assistant', content: answer },
      ])
      const objects = bbox.length === 0 ? {} : { objects: { ref, bbox, bbox_type: 'norm1' } }
      rows.push({ messages, images: [await image.place()], ...objects })
    }
    return rows
  },
  readRow(value) {
    const { messages, images, objects } = Row.parse(value)
    const turns = pairTurns(messages.map(({ content }) => content.replace(imageMarker, '')))
    const { turns: filled, regions } = fill(turns, objects ?? { ref: [], bbox: [] })
    const plain = filled.map(({ question, answer }) => ({
      question: restore(question, markers),
      answer: restore(answer, markers),
    }))
    const label = { recordId: null, text: null, turns: plain, regions }
    return { image: images[0] ?? '', width: null, height: null, labels: [label] }
  },
  rules: [
    {
      name: 'as-many-boxes-as-markers',
      says: 'the messages hold <bbox> once for each box, and <ref-object> once for each name',
      source: guide,
      problem(row) {
        const whole = list(field(row.value, 'messages'))
          .map((message) => text(field(message, 'content')))
          .join('\n')
        const objects = field(row.value, 'objects')
        const have = [list(field(objects, 'ref')).length, list(field(objects, 'bbox')).length]
        const said = [countOf(refMarker, whole), countOf(boxMarker, whole)]
        return have[0] === said[0] && have[1] === said[1]
          ? null
          : `${row.file}, line ${row.number}: markers ${said.join(' and ')}, objects ${have.join(' and ')}`
      },
    },
    {
      name: 'boxes-in-the-frame-they-name',
      says: 'a box is x0, y0, x1, y1 with x0 <= x1 and y0 <= y1; of bbox_type norm1 in fractions from 0 to 1',
      source: template,
      problem(row) {
        const objects = field(row.value, 'objects')
        const isNorm = field(objects, 'bbox_type') === 'norm1'
        const wrong = list(field(objects, 'bbox')).find((box) => {
          const [x0, y0, x1, y1, ...rest] = list(box).map(Number)
          if (x0 === undefined || y0 === undefined || x1 === undefined || y1 === undefined) return true
          return rest.length > 0 || x0 > x1 || y0 > y1 || (isNorm && Math.max(x1, y1) > 1)
        })
        return wrong === undefined ? null : `${row.file}, line ${row.number}: ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'image-markers-within-images',
      says: 'images is a list, and <image> stands once for each of them',
      source: guide,
      problem(row, { files }) {
        const images = list(field(row.value, 'images'))
        const said = list(field(row.value, 'messages')).reduce<number>(
          (sum, message) => sum + countOf(imageMarker, text(field(message, 'content'))),
          0,
        )
        if (images.length !== said || images.length === 0)
          return `${row.file}, line ${row.number}: ${said} markers, ${images.length} images`
        return images.map((image) => missingImage(image, files)).find((problem) => problem !== null) ?? null
      },
    },
    {
      name: 'assistant-says-something',
      says: 'no answer is empty: rows with one are thrown away, or stop the trainer where it is strict',
      source: 'modelscope/ms-swift swift/llm/dataset/preprocessor/core.py check_messages',
      problem(row) {
        const wrong = list(field(row.value, 'messages')).some(
          (message) => text(field(message, 'content')) === '',
        )
        return wrong ? `${row.file}, line ${row.number} has an empty message` : null
      },
    },
    {
      name: 'roles-alternate',
      says: 'messages alternate between user and assistant',
      source: guide,
      problem: (row) =>
        alternates(
          list(field(row.value, 'messages')).map((message) => field(message, 'role')),
          ['user', 'assistant'],
        ),
    },
  ],
})

type Grounded = { turns: Turn[]; ref: string[]; bbox: Box[] }

/** The turns of a record; where it has regions, their words and boxes as placeholders. */
function conversationOf(record: LabelRecord): Grounded {
  const grounded: Grounded = { turns: [], ref: [], bbox: [] }
  for (const exchange of exchangesOf(record)) {
    // A marker of ours must not be taken for one of the text's own.
    const question = askedOf(
      { ...exchange, question: defuse(exchange.question, markers) },
      () => boxMarker,
    ).trim()
    const { answer, ref, bbox } = placeholders(exchange)
    if (answer === '') continue
    grounded.turns.push({ question, answer })
    grounded.ref.push(...ref)
    grounded.bbox.push(...(exchange.at === null ? [] : [exchange.at]), ...bbox)
  }
  return grounded
}

function placeholders({ answer: said, regions }: Exchange): { answer: string; ref: string[]; bbox: Box[] } {
  const [ref, bbox]: [string[], Box[]] = [[], []]
  let answer = ''
  let from = 0
  for (const { span, boxes } of regions) {
    // Words inside words that have boxes already cannot have a placeholder of their own.
    if (span === null || span.start < from) continue
    const words = said.slice(span.start, span.end)
    answer += defuse(said.slice(from, span.start), markers)
    if (words !== '') {
      answer += refMarker
      ref.push(words)
    }
    answer += boxMarker.repeat(boxes.length)
    bbox.push(...boxes)
    from = span.end
  }
  return { answer: (answer + defuse(said.slice(from), markers)).trim(), ref, bbox }
}

/** Puts the words back where their placeholders stand, and the boxes beside them; a question's own box into its text. */
function fill(
  turns: readonly Turn[],
  { ref, bbox }: { ref: readonly string[]; bbox: readonly Box[] },
): { turns: Turn[]; regions: ReadRegion[] } {
  const regions: ReadRegion[] = []
  let [nextRef, nextBox] = [0, 0]
  const filled = turns.map(({ question: asked, answer: written }) => {
    const question = asked.replaceAll(boxMarker, () => {
      nextBox += 1
      return perMilleDialect.write(bbox.slice(nextBox - 1, nextBox))
    })
    let answer = ''
    let from = 0
    for (const match of written.matchAll(/(<ref-object>)?((?:<bbox>)+)|<ref-object>/g)) {
      answer += written.slice(from, match.index)
      const hasWords = match[0].startsWith(refMarker)
      const words = hasWords ? (ref[nextRef] ?? '') : ''
      const count = countOf(boxMarker, match[2] ?? '')
      const boxes = bbox.slice(nextBox, nextBox + count)
      regions.push({ text: words, start: answer.length, end: answer.length + words.length, boxes })
      answer += words
      from = match.index + match[0].length
      nextRef += hasWords ? 1 : 0
      nextBox += count
    }
    return { question, answer: answer + written.slice(from) }
  })
  return { turns: filled, regions }
}
