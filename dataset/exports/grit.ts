// GRIT rows, one JSON line each grounded text: phrases as [start, end, x0, y0, x1, y1, score] with offsets in characters.
import { z } from 'zod'
import { contentOfRecord } from './core/content.ts'
import type { ReadRegion } from './core/format.ts'
import { rowFormat } from './core/row-format.ts'
import { field, list, nameOf, text } from './core/rules.ts'

const Span = z.tuple([z.int(), z.int(), z.number(), z.number(), z.number(), z.number(), z.number()])
const Row = z.object({
  key: z.string(),
  url: z.string(),
  caption: z.string(),
  width: z.int(),
  height: z.int(),
  noun_chunks: z.array(Span).min(1),
  ref_exps: z.array(Span),
})

const unilm = 'microsoft/unilm kosmos-2/README.md and kosmos-2/data'
const swift = 'modelscope/ms-swift swift/llm/dataset/dataset/mllm.py GritPreprocessor'

/** The corpus has a detector's score here; a language model gives none. */
const noScore = 1

export const grit = rowFormat({
  name: 'grit',
  summary: 'GRIT: grounded captions with character spans, one a line',
  imageModes: ['reference', 'copy', 'link'],
  hubFiles: /^[^/]+\.jsonl$/,
  extension: 'jsonl',
  lost: [
    'everything that is no grounded text: plain captions, questions and answers, boxes that were asked for',
    'words inside other words that have boxes',
    'scores: all are 1, the model gives none; CLIP similarities are null',
  ],
  async rowsOf(image) {
    const rows = []
    for (const record of image.records) {
      const { text: caption, regions } = contentOfRecord(record)
      if (caption === null) continue
      const chunks: z.infer<typeof Span>[] = []
      let from = 0
      for (const { span, boxes } of regions) {
        if (span === null || span.start < from) continue
        const [start, end] = [characters(caption, span.start), characters(caption, span.end)]
        for (const box of boxes) chunks.push([start, end, ...box, noScore])
        from = span.end
      }
      if (chunks.length === 0) continue
      rows.push({
        key: record.recordId,
        clip_similarity_vitb32: null,
        clip_similarity_vitl14: null,
        id: image.index,
        url: await image.place(),
        caption,
        width: image.width,
        height: image.height,
        noun_chunks: chunks,
        ref_exps: chunks,
      })
    }
    return rows
  },
  readRow(value) {
    const { key, url, caption, width, height, noun_chunks: chunks } = Row.parse(value)
    const letters = Array.from(caption)
    const regions = chunks.map(([first, last, ...sides]): ReadRegion => {
      const start = letters.slice(0, first).join('').length
      const words = letters.slice(first, last).join('')
      const [x0, y0, x1, y1] = sides
      return { text: words, start, end: start + words.length, boxes: [[x0, y0, x1, y1]] }
    })
    return { image: url, width, height, labels: [{ recordId: key, text: caption, turns: [], regions }] }
  },
  rules: [
    {
      name: 'spans-inside-caption',
      says: 'a span is 0 <= start < end <= the caption in characters, of seven numbers with fractions for sides',
      source: unilm,
      problem(row) {
        const { length } = Array.from(text(field(row.value, 'caption')))
        const wrong = spansOf(row.value).find(([start = -1, end = -1, ...sides]) => {
          const isIn = start >= 0 && start < end && end <= length
          return !isIn || sides.length !== 5 || sides.some((side) => side < 0 || side > 1)
        })
        return wrong === undefined
          ? null
          : `${nameOf(row, field(row.value, 'key'))} has ${JSON.stringify(wrong)}`
      },
    },
    {
      name: 'spans-do-not-overlap',
      says: 'spans are in order and do not overlap unless they are equal; others are dropped',
      source: swift,
      problem(row) {
        const spans = spansOf(row.value)
        const overlaps = spans.some(([start = 0, end = 0], index) => {
          const [before = 0, until = 0] = spans[index - 1] ?? []
          return index > 0 && start < until && !(start === before && end === until)
        })
        return overlaps ? nameOf(row, field(row.value, 'key')) : null
      },
    },
    {
      name: 'has-boxes',
      says: 'a row has at least one span, and the size of its image',
      source: unilm,
      problem: (row) =>
        spansOf(row.value).length > 0 && Number(field(row.value, 'width')) > 0
          ? null
          : nameOf(row, field(row.value, 'key')),
    },
  ],
})

/** UTF-16 offsets are ours; theirs count characters as Python does. */
function characters(caption: string, offset: number): number {
  return Array.from(caption.slice(0, offset)).length
}

function spansOf(row: unknown): number[][] {
  return list(field(row, 'noun_chunks')).map((span) => list(span).map(Number))
}
