// The layout of CogVLM-SFT-311K: sets of images/00000001.jpg with a label file of the same number, one object an image.
// A set holds texts, conversations of one turn, or conversations of several; texts lie in labels/, conversations in
// labels_en/, because the one trainer that reads texts looks there and the other here. Read: THUDM/CogVLM
// utils/utils/dataset.py at 4025233 (texts), THUDM/CogVLM2 finetune_demo/peft_lora.py at 29b150c (conversations).
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { z } from 'zod'
import { contentOfRecord } from './core/content.ts'
import { labelOfTurns, pairTurns, type Turn, turnsOf } from './core/conversation.ts'
import { perMilleDialect, readInline, writeInline } from './core/dialect.ts'
import { writeFileWhole } from './core/files.ts'
import type { ExportFiles, ExportFormat, ExportImage, RawRow, ReadLabel } from './core/format.ts'
import { expectJson } from './core/json-elements.ts'
import { alternates, field, list, text } from './core/rules.ts'

const Labels = z.union([
  z.object({ captions: z.array(z.object({ role: z.literal('caption'), content: z.string() })).min(1) }),
  z.object({
    conversations: z.array(z.object({ role: z.enum(['user', 'assistant']), content: z.string() })).min(2),
  }),
])

const layout = 'THUDM/CogVLM dataset.md'
const textTrainer = 'THUDM/CogVLM utils/utils/dataset.py ItemDataset'
const talkTrainer = 'THUDM/CogVLM2 finetune_demo/peft_lora.py ConversationDataset'

const labelFolders = { texts: 'labels', talk: 'labels_en' } as const

export const cogvlmSft: ExportFormat = {
  name: 'cogvlm-sft',
  summary: 'the layout of CogVLM-SFT-311K: images/ and labels/ or labels_en/ by number',
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
        const place = 'captions' in labels ? labelFolders.texts : labelFolders.talk
        await writeFileWhole(sink, `${folder}/${place}/${stem}.json`, `${JSON.stringify(labels)}\n`)
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
      says: 'for labels/N.json or labels_en/N.json there is images/N.jpg; of other extensions the label is not found',
      source: `${talkTrainer}.__getitem__`,
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
      name: 'labels-where-they-are-looked-for',
      says: 'texts lie in labels/: where that is missing, file names are learned instead; conversations lie in labels_en/',
      source: `${textTrainer}.load_data; ${talkTrainer}.__init__`,
      problem({ file, value }) {
        const wanted = list(field(value, 'captions')).length > 0 ? labelFolders.texts : labelFolders.talk
        return posix.basename(posix.dirname(file)) === wanted ? null : `${file} is not in ${wanted}/`
      },
    },
    {
      name: 'every-image-has-labels',
      says: 'each file of images/ has its label file: one without stops the trainer',
      source: `${textTrainer}.load_data; ${talkTrainer}.__getitem__`,
      problem: () => null,
      problemAtEnd({ files: { names } }) {
        const labels = new Set(names.filter(isLabelFile).map(imageOf))
        const without = names.find(
          (name) => posix.basename(posix.dirname(name)) === 'images' && !labels.has(name),
        )
        return without === undefined ? null : `${without} has no labels`
      },
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
    const { text: caption, regions } = contentOfRecord(record)
    if (caption !== null) captions.push(writeInline({ text: caption, regions }, perMilleDialect).trim())
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

function isLabelFile(file: string): boolean {
  const place = posix.basename(posix.dirname(file))
  return file.endsWith('.json') && (place === labelFolders.texts || place === labelFolders.talk)
}

function imageOf(file: string): string {
  return file.replace(/labels(?:_en)?\/([^/]+)\.json$/, 'images/$1.jpg')
}

async function* labelRows({ folder, names }: ExportFiles): AsyncGenerator<RawRow> {
  for (const file of names) {
    if (!isLabelFile(file)) continue
    const path = join(folder, file)
    const value = expectJson(await readFile(path, 'utf8'), path)
    yield { file, section: '', number: 1, value }
  }
}
