// LLaVA: one JSON array; of each record a conversation that begins with the image. Boxes are fractions in the text.
// Read: haotian-liu/LLaVA llava/train/train.py at 0034661, and its docs/Finetune_Custom_Data.md.
import { imageMarker, labelOfTurns, turnsOf } from './core/conversation.ts'
import { fractionDialect } from './core/dialect.ts'
import {
  imageIsOnePath,
  LlavaRow,
  noSeparatorInText,
  saidIn,
  saidOfTurn,
  turnsOfSaid,
} from './core/llava-rows.ts'
import { rowFormat } from './core/row-format.ts'
import { alternates, countOf, field, list, nameOf } from './core/rules.ts'

const dataset = 'haotian-liu/LLaVA docs/Finetune_Custom_Data.md'
const trainer = 'haotian-liu/LLaVA llava/train/train.py'

export const llava = rowFormat({
  name: 'llava',
  summary: 'LLaVA: a JSON array of conversations',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^[^/]+\.json$/,
  extension: 'json',
  lost: [
    'where the words of a box begin, and all beyond three decimals of its sides',
    'everything of a record but its recordId, its questions and its answers',
    'the texts <image>, </s> and " ASSISTANT: " inside a question or an answer: a zero-width space is put into them',
  ],
  async rowsOf(image) {
    const rows = []
    for (const record of image.records) {
      const turns = turnsOf(record, fractionDialect)
      if (turns.length === 0) continue
      const conversations = turns.flatMap((turn, index) =>
        saidOfTurn(turn, index === 0 ? (asked) => `${imageMarker}\n${asked}` : undefined),
      )
      rows.push({ id: record.recordId, image: await image.place(), conversations })
    }
    return rows
  },
  readRow(value) {
    const { id, image, conversations } = LlavaRow.parse(value)
    const turns = turnsOfSaid(conversations, `${imageMarker}\n`)
    const label = labelOfTurns(turns, { recordId: id, dialect: fractionDialect })
    return { image, width: null, height: null, labels: [label] }
  },
  rules: [
    {
      name: 'id-is-text',
      says: 'every id is a string; the released files mix numbers in, which typed loaders refuse',
      source: dataset,
      problem: (row) =>
        typeof field(row.value, 'id') === 'string' ? null : nameOf(row, field(row.value, 'id') ?? null),
    },
    imageIsOnePath(`${trainer} LazySupervisedDataset.__getitem__`),
    {
      name: 'image-once',
      says: 'the marker <image> stands once, in the first turn: one image is put in its place',
      source: `${trainer} preprocess_multimodal`,
      problem(row) {
        const counts = saidIn(row.value).map((said) => countOf(imageMarker, said))
        const total = counts.reduce((sum, count) => sum + count, 0)
        return total === 1 && counts[0] === 1
          ? null
          : `${nameOf(row, field(row.value, 'id'))} has the marker ${total} times`
      },
    },
    {
      name: 'turns-alternate',
      says: 'turns alternate between human and gpt, beginning with human',
      source: `${trainer} preprocess_v1`,
      problem: (row) =>
        alternates(
          list(field(row.value, 'conversations')).map((turn) => field(turn, 'from')),
          ['human', 'gpt'],
        ),
    },
    noSeparatorInText(`${trainer} preprocess_v1`),
    {
      name: 'no-empty-turn',
      says: 'no turn is empty: an empty answer teaches silence',
      source: `${trainer} preprocess_v1`,
      problem: (row) =>
        saidIn(row.value).every((said) => said.trim() !== '')
          ? null
          : `${nameOf(row, field(row.value, 'id'))} has an empty turn`,
    },
  ],
})
