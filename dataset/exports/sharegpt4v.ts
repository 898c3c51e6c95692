// ShareGPT4V: captions only, in LLaVA's shape with the image behind the question. Boxes and questions are left out.
import { z } from 'zod'
import { contentOfRecord } from './core/content.ts'
import { imageMarker, labelOfTurns, plainTurnsOf } from './core/conversation.ts'
import { imageIsOnePath, LlavaRow, noSeparatorInText, saidOfTurn, turnsOfSaid } from './core/llava-rows.ts'
import { rowFormat } from './core/row-format.ts'
import { countOf, field, list, nameOf, text } from './core/rules.ts'

const Row = LlavaRow.extend({
  conversations: z.tuple([
    z.object({ from: z.literal('human'), value: z.string() }),
    z.object({ from: z.literal('gpt'), value: z.string() }),
  ]),
})

const source = 'ShareGPT4Omni/ShareGPT4V docs/Data.md and share4v/train/train.py'

export const sharegpt4v = rowFormat({
  name: 'sharegpt4v',
  summary: 'ShareGPT4V: a JSON array of captions',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^[^/]+\.json$/,
  extension: 'json',
  lost: [
    'every record that is not a text: questions and answers, boxes that were asked for',
    'the boxes of grounded captions',
    'everything of a record but its recordId, its question and its text',
  ],
  async rowsOf(image) {
    const rows = []
    for (const record of image.records) {
      if (contentOfRecord(record).text === null) continue
      for (const turn of plainTurnsOf(record)) {
        const conversations = saidOfTurn(turn, (asked) => `${asked}\n${imageMarker}`)
        rows.push({ id: record.recordId, image: await image.place(), conversations })
      }
    }
    return rows
  },
  readRow(value) {
    const { id, image, conversations } = Row.parse(value)
    const turns = turnsOfSaid(conversations, `\n${imageMarker}`)
    return {
      image,
      width: null,
      height: null,
      labels: [labelOfTurns(turns, { recordId: id, dialect: null })],
    }
  },
  rules: [
    imageIsOnePath(source),
    noSeparatorInText(`${source} preprocess_v1`),
    {
      name: 'one-question-one-caption',
      says: 'a row is one human turn with the marker <image> once, and one gpt turn',
      source,
      problem(row) {
        const turns = list(field(row.value, 'conversations'))
        const isPair =
          turns.length === 2 && field(turns[0], 'from') === 'human' && field(turns[1], 'from') === 'gpt'
        const markers = turns.map((turn) => countOf(imageMarker, text(field(turn, 'value'))))
        return isPair && markers[0] === 1 && markers[1] === 0
          ? null
          : `${nameOf(row, field(row.value, 'id'))} has ${turns.length} turns and markers ${markers.join(', ')}`
      },
    },
  ],
})
