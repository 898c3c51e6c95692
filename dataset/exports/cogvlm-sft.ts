// The layout of CogVLM-SFT-311K: sets of images/00000001.jpg with labels_en/00000001.json beside, one object an image.
// A set holds texts, conversations of one turn, or conversations of several.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { z } from 'zod'
import { contentOfRecord } from './core/content.ts'
import { labelOfTurns, pairTurns, type Turn, turnsOf } from './core/conversation.ts'
import { perMilleDialect, readInline, writeInline } from './core/dialect.ts'
import { writeFileWhole } from './core/files.ts'
import type { ExportFiles, ExportFormat, ExportImage, RawRow, ReadLabel } from './core/format.ts'
import { alternates, field, list, text } from './core/rules.ts'

const Labels = z.union([
  z.object({ captions: z.array(z.object({ role: z.literal('caption'), content: z.string() })).min(1) }),
  z.object({
    conversations: z.array(z.object({ role: z.enum(['user', 'assistant']), content: z.string() })).min(2),
  }),
])

const layout = 'THUDM/CogVLM dataset.md'
const trainer = 'THUDM/CogVLM utils/utils/dataset.py ItemDataset'

export const cogvlmSft: ExportFormat = {
  name: 'cogvlm-sft',
  summary: 'the layout of CogVLM-SFT-311K: images/ and labels_en/ by number',
  imageModes: ['copy', 'link'],
  lost: [
    "the image's name, the recordId, and which texts and turns belong to one record",
    'the questions of texts',
    'where the words of a box begin, and all beyond thousandths of its sides',
  ],
  open: ({ sink }) => ({
    async write(image) {
      const stem = String(image.index + 1).padStart(8, '0')
      const sets = Object.entries(setsOf(image))
      for (const [set, labels] of sets) {
        const folder = image.split === null ? set : `${image.split}/${set}`
        await image.place({ path: `${folder}/images/${stem}.jpg`, as: 'jpeg' })
        await writeFileWhole(sink, `${folder}/labels_en/${stem}.json`, `${JSON.stringify(labels)}\n`)
      }
      return sets.length
    },
    close: async () => {},
  }),
  rows: labelRows,
  async *read(files) {
    for await (const { file, value } of labelRows(files)) {
      const image = imageOf(file)
      yield { image, width: null, height: null, labels: readLabels(Labels.parse(value)) }
    }
  },
  rules: [
    {
      name: 'jpg-of-the-same-number',
      says: 'for labels_en/N.json there is images/N.jpg; other extensions are not looked for',
      source: trainer,
      problem: ({ file }, { files }) =>
        existsSync(join(files.folder, imageOf(file))) ? null : `${imageOf(file)} is not there`,
    },
    {
      name: 'captions-or-conversations',
      says: 'a label file is one object with captions of role caption, or with conversations of user and assistant',
      source: layout,
      problem({ file, value }) {
        const captions = list(field(value, 'captions'))
        const roles = list(field(value, 'conversations')).map((turn) => field(turn, 'role'))
        const said = [...captions, ...list(field(value, 'conversations'))].map((one) =>
          text(field(one, 'content')),
        )
        if (said.some((one) => one === '')) return `${file} has an empty text`
        if (captions.length > 0)
          return captions.every((one) => field(one, 'role') === 'caption') ? null : `${file} has another role`
        const problem = alternates(roles, ['user', 'assistant'])
        return problem === null ? null : `${file}: ${problem}`
      },
    },
    {
      name: 'images-once-in-path',
      says: 'the word images is in a path only as the folder: the trainer puts labels_en in its place everywhere',
      source: trainer,
      problem: ({ file }) =>
        imageOf(file).split('images').length === 2 ? null : `${imageOf(file)} has it several times`,
    },
  ],
}

type Labels =
  | { captions: { role: 'caption'; content: string }[] }
  | { conversations: { role: string; content: string }[] }

function setsOf({ records }: ExportImage): Record<string, Labels> {
  const captions: string[] = []
  const singles: Turn[] = []
  const several: Turn[] = []
  for (const record of records) {
    const content = contentOfRecord(record)
    if (content.text !== null) captions.push(writeInline(content, perMilleDialect).trim())
    else {
      const turns = turnsOf(record, perMilleDialect)
      ;(turns.length > 1 ? several : singles).push(...turns)
    }
  }
  const talk = (turns: readonly Turn[]) => ({
    conversations: turns.flatMap(({ question, answer }) => [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ]),
  })
  return {
    ...(captions.length === 0
      ? {}
      : {
          coglabel_details: { captions: captions.map((content) => ({ role: 'caption', content }) as const) },
        }),
    // Single questions about one image become turns of one conversation: the layout has one file an image.
    ...(singles.length === 0 ? {} : { coglabel_single_conversation: talk(singles) }),
    ...(several.length === 0 ? {} : { coglabel_multi_conversations: talk(several) }),
  }
}

function readLabels(labels: z.infer<typeof Labels>): ReadLabel[] {
  if ('captions' in labels)
    return labels.captions.map(({ content }) => ({
      recordId: null,
      turns: [],
      ...readInline(content, perMilleDialect),
    }))
  const turns = pairTurns(labels.conversations.map(({ content }) => content))
  return [labelOfTurns(turns, { recordId: null, dialect: perMilleDialect })]
}

function imageOf(file: string): string {
  return file.replace(/labels_en\/([^/]+)\.json$/, 'images/$1.jpg')
}

async function* labelRows({ folder, names }: ExportFiles): AsyncGenerator<RawRow> {
  for (const file of names) {
    if (posix.basename(posix.dirname(file)) !== 'labels_en') continue
    const value: unknown = JSON.parse(await readFile(join(folder, file), 'utf8'))
    yield { file, section: '', number: 1, value }
  }
}
