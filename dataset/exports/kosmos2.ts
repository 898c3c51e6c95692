// Kosmos-2 strings, one JSON line each: phrases in tags, boxes as two cells of a 32 x 32 grid. Lossy by half a cell.
import { z } from 'zod'
import type { Box } from '../../schemas/task-output.ts'
import { contentOfRecord } from './core/content.ts'
import { defuse, restore } from './core/conversation.ts'
import type { ReadRegion } from './core/format.ts'
import { rowFormat } from './core/row-format.ts'
import { countOf, field, missingImage, nameOf, text } from './core/rules.ts'

const cells = 32
const grounding = '<grounding> '
const between = '</delimiter_of_multi_objects/>'
const markers = ['<grounding>', '<phrase>', '</phrase>', '<object>', '</object>', between, '<patch_index_']
const pattern = /<phrase>([\s\S]*?)<\/phrase><object>([\s\S]*?)<\/object>/g

const Row = z.object({ id: z.string(), image: z.string(), text: z.string() })

const processing = 'huggingface/transformers src/transformers/models/kosmos2/processing_kosmos2.py'

export const kosmos2 = rowFormat({
  name: 'kosmos2',
  summary: 'Kosmos-2: texts with phrase tags and patch indices, one a line',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^[^/]+\.jsonl$/,
  extension: 'jsonl',
  lost: [
    'boxes to half a cell of a 32 x 32 grid: a side may move by a 64th of the image, more where a box is one cell wide',
    'questions and answers, and that something was looked for and not found',
    'words inside other words that have boxes',
    'a < inside words that have boxes: a wide one stands for it',
  ],
  async rowsOf(image) {
    const rows = []
    for (const record of image.records) {
      const { text: whole, regions } = contentOfRecord(record)
      const found = regions.filter(({ boxes }) => boxes.length > 0)
      const texts =
        whole !== null ? [ground(whole, regions)] : found.map((region) => tag(region.text, region.boxes))
      for (const written of texts)
        rows.push({ id: record.recordId, image: await image.place(), text: beginGrounding(written) })
    }
    return rows
  },
  readRow(value) {
    const { id, image, text: written } = Row.parse(value)
    const regions: ReadRegion[] = []
    let plain = ''
    let from = written.startsWith(grounding) ? grounding.length : 0
    for (const match of written.matchAll(pattern)) {
      plain += restore(written.slice(from, match.index), markers)
      const words = (match[1] ?? '').replaceAll(wideLess, '<')
      const boxes = (match[2] ?? '').split(between).map(readCells)
      regions.push({ text: words, start: plain.length, end: plain.length + words.length, boxes })
      plain += words
      from = match.index + match[0].length
    }
    plain += restore(written.slice(from), markers)
    return { image, width: null, height: null, labels: [{ recordId: id, text: plain, turns: [], regions }] }
  },
  rules: [
    {
      name: 'grounding-where-boxes-are',
      says: 'the text begins with <grounding>, which switches boxes on, where it has boxes, and only there',
      source: processing,
      problem(row) {
        const written = text(field(row.value, 'text'))
        const isRight = written.startsWith(grounding) === written.includes('<object>')
        return isRight ? null : `${nameOf(row, field(row.value, 'id'))}: ${written.slice(0, 120)}`
      },
    },
    {
      name: 'two-cells-a-box',
      says: 'a phrase is followed by an object of pairs of patch indices from 0000 to 1023, upper left first',
      source: processing,
      problem(row) {
        const written = text(field(row.value, 'text'))
        const found = [...written.matchAll(pattern)]
        const boxes = found.flatMap((match) => (match[2] ?? '').split(between))
        const areBoxes = boxes.every((box) => {
          const [, upper = '', lower = ''] = /^<patch_index_(\d{4})><patch_index_(\d{4})>$/.exec(box) ?? []
          return upper !== '' && Number(upper) <= Number(lower) && Number(lower) < cells * cells
        })
        return areBoxes && found.length === countOf('<object>', written)
          ? null
          : `${nameOf(row, field(row.value, 'id'))}: ${written.slice(0, 120)}`
      },
    },
    {
      name: 'phrase-without-less-than',
      says: 'a phrase has words and no <, or its boxes are taken for those of no phrase',
      source: `${processing} extract_entities_with_patch_indices`,
      problem(row) {
        const written = text(field(row.value, 'text'))
        const phrases = [...written.matchAll(pattern)].map(([, words = '']) => words)
        const wrong = phrases.find((words) => words === '' || words.includes('<'))
        return wrong === undefined ? null : `${nameOf(row, field(row.value, 'id'))}: ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'image-opens',
      says: 'the image is a path that opens, or a URL',
      source: processing,
      problem: (row, { files }) => missingImage(field(row.value, 'image'), files),
    },
  ],
})

function ground(
  whole: string,
  regions: readonly { text: string; span: { start: number; end: number } | null; boxes: Box[] }[],
): string {
  let written = ''
  let from = 0
  for (const { span, boxes } of regions) {
    if (span === null || span.start < from) continue
    written += defuse(whole.slice(from, span.start), markers) + tag(whole.slice(span.start, span.end), boxes)
    from = span.end
  }
  return written + defuse(whole.slice(from), markers)
}

/** A text without boxes that began so would teach the model to leave them out where it is asked for them. */
function beginGrounding(written: string): string {
  return written.includes('<object>') ? grounding + written : written
}

function tag(words: string, boxes: readonly Box[]): string {
  const indices = boxes.map((box) => writeCells(box)).join(between)
  return `<phrase>${words.replaceAll('<', wideLess)}</phrase><object>${indices}</object>`
}

/** The processor looks for a phrase by `[^<]+`: with a `<` in it, its boxes would be nobody's. */
const wideLess = '\u{ff1c}'

/** The cells of the upper left and the lower right corner. */
function writeCells([x0, y0, x1, y1]: Box): string {
  const low = (side: number) => Math.min(cells - 1, Math.floor(side * cells))
  const high = (side: number) => Math.max(0, Math.ceil(side * cells - 1))
  const index = (x: number, y: number) => `<patch_index_${String(y * cells + x).padStart(4, '0')}>`
  return index(low(x0), low(y0)) + index(Math.max(low(x0), high(x1)), Math.max(low(y0), high(y1)))
}

/** Corners at the centres of their cells; at the edges where both are in one row or column, as the processor reads them. */
function readCells(written: string): Box {
  const [upper = 0, lower = 0] = [...written.matchAll(/\d{4}/g)].map(Number)
  const [x0, y0] = [upper % cells, Math.floor(upper / cells)]
  const [x1, y1] = [lower % cells, Math.floor(lower / cells)]
  const isThin = x0 === x1 || y0 === y1
  const [low, high] = isThin ? [0, 1] : [0.5, 0.5]
  return [(x0 + low) / cells, (y0 + low) / cells, (x1 + high) / cells, (y1 + high) / cells]
}
