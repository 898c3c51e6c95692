// LLaMA-Factory: messages with a list of images in a JSON array, and the dataset_info.json that registers the files.
// Images lie below `media_dir`, which is `dataset_dir` unless it is set. Read: hiyouga/LLaMA-Factory
// src/llamafactory/data/converter.py at 02e2fb3 and parser.py at 01d3ac6.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { defuse, imageMarker, labelOfTurns, pairTurns, restore, turnsOf } from './core/conversation.ts'
import { perMilleDialect } from './core/dialect.ts'
import { writeFileWhole } from './core/files.ts'
import { expectJson } from './core/json-elements.ts'
import { rowFormat } from './core/row-format.ts'
import { alternates, countOf, field, list, missingImage, text } from './core/rules.ts'

const Row = z.object({
  messages: z.array(z.object({ role: z.string(), content: z.string() })),
  images: z.array(z.string()).length(1),
})

/** The trainer counts these too, and stops where there are more of them than videos and sounds: we have none. */
const otherMarkers = ['<video>', '<audio>']

const infoName = 'dataset_info.json'
const columns = {
  formatting: 'sharegpt',
  columns: { messages: 'messages', images: 'images' },
  tags: { role_tag: 'role', content_tag: 'content', user_tag: 'user', assistant_tag: 'assistant' },
}
const converter = 'hiyouga/LlamaFactory src/llamafactory/data/converter.py SharegptDatasetConverter'
const plugin = 'hiyouga/LlamaFactory src/llamafactory/data/mm_plugin.py'

export const llamaFactory = rowFormat({
  name: 'llama-factory',
  summary: 'LLaMA-Factory: a JSON array of messages, with dataset_info.json',
  imageModes: ['copy', 'link', 'reference'],
  hubFiles: /^(?!dataset_info)[^/]+\.json$/,
  extension: 'json',
  lost: [
    'the recordId',
    'where the words of a box begin, and all beyond thousandths of its sides',
    'everything else of a record but its questions and answers',
    'the texts <image>, <video> and <audio> inside a question or an answer: a zero-width space is put into them',
  ],
  async rowsOf(image) {
    const rows = []
    for (const record of image.records) {
      const turns = turnsOf(record, perMilleDialect)
      if (turns.length === 0) continue
      const messages = turns.flatMap((turn, index) => {
        const [question, answer] = [turn.question, turn.answer].map((said) => defuse(said, otherMarkers))
        return [
          { role: 'user', content: index === 0 ? `${imageMarker}${question}` : question },
          { role: 'assistant', content: answer },
        ]
      })
      rows.push({ messages, images: [await image.place()] })
    }
    return rows
  },
  async finish({ sink }, files) {
    const sets = files.map((file) => [
      `coglabel_${file.replace(/\.json$/, '').replaceAll('-', '_')}`,
      { file_name: file, ...columns },
    ])
    await writeFileWhole(sink, infoName, `${JSON.stringify(Object.fromEntries(sets), null, 2)}\n`)
  },
  readRow(value) {
    const { messages, images } = Row.parse(value)
    const turns = pairTurns(
      messages.map(({ content }) => restore(content.replace(imageMarker, ''), otherMarkers)),
    )
    const label = labelOfTurns(turns, { recordId: null, dialect: perMilleDialect })
    return { image: images[0] ?? '', width: null, height: null, labels: [label] }
  },
  rules: [
    {
      name: 'images-is-a-list',
      says: 'images is a list of paths: of a bare string the loader counts the characters',
      source: 'hiyouga/LlamaFactory issue 5883; data/README.md',
      problem(row, { files }) {
        const images = field(row.value, 'images')
        if (!Array.isArray(images))
          return `${row.file}, row ${row.number}: images is ${JSON.stringify(images)}`
        return images.map((image) => missingImage(image, files)).find((problem) => problem !== null) ?? null
      },
    },
    {
      name: 'as-many-markers-as-images',
      says: 'the messages hold the marker <image> once for each image',
      source: `${plugin} _validate_messages`,
      problem(row) {
        const messages = list(field(row.value, 'messages'))
        const markers = messages.reduce<number>(
          (sum, message) => sum + countOf(imageMarker, text(field(message, 'content'))),
          0,
        )
        const images = list(field(row.value, 'images')).length
        return markers === images || !Array.isArray(field(row.value, 'images'))
          ? null
          : `${row.file}, row ${row.number}: ${markers} markers, ${images} images`
      },
    },
    {
      name: 'no-marker-of-what-is-not-there',
      says: 'no message holds <video> or <audio>: the trainer stops, as it has no video or sound for them',
      source: `${plugin} _validate_messages`,
      problem(row) {
        const said = list(field(row.value, 'messages')).map((message) => text(field(message, 'content')))
        const found = otherMarkers.find((marker) => said.some((one) => one.includes(marker)))
        return found === undefined ? null : `${row.file}, row ${row.number} has ${found}`
      },
    },
    {
      name: 'roles-alternate',
      says: 'messages alternate between user and assistant and are even in number; others are skipped',
      source: converter,
      problem: (row) =>
        alternates(
          list(field(row.value, 'messages')).map((message) => field(message, 'role')),
          ['user', 'assistant'],
        ),
    },
    {
      name: 'registered',
      says: 'dataset_info.json names the file, its formatting, its columns and its tags',
      source: 'hiyouga/LlamaFactory data/README.md and src/llamafactory/data/parser.py',
      problem({ file, number }, { files }) {
        if (number > 1) return null
        const path = join(files.folder, infoName)
        if (!existsSync(path)) return `there is no ${infoName}`
        const sets = Object.values(Object(expectJson(readFileSync(path, 'utf8'), path)))
        const set = sets.find((one) => field(one, 'file_name') === file)
        if (set === undefined) return `${infoName} does not name ${file}`
        const isComplete =
          field(set, 'formatting') === 'sharegpt' &&
          field(field(set, 'columns'), 'images') === 'images' &&
          field(field(set, 'tags'), 'user_tag') === 'user'
        return isComplete ? null : `${infoName} lacks columns or tags of ${file}`
      },
    },
  ],
})
