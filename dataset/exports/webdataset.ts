// WebDataset: tar shards whose members of one image stand together: .jpg, .json with all labels, .txt with the caption.
// Every image is a JPEG, because one dataset has one image extension; outputs stand as JSON text, because loaders give a
// field one type. Read: webdataset tariterators.py at 07f5c6f; datasets 5.0.1 loads what is written (LOG.md).
import { join } from 'node:path'
import { z } from 'zod'
import { TaskOutput } from '../../schemas/task-output.ts'
import { captionOf } from './core/content.ts'
import type { ExportFiles, ExportFormat, ExportImage, FileSink, RawRow } from './core/format.ts'
import { expectJson } from './core/json-elements.ts'
import { perStem } from './core/per-stem.ts'
import { PlainLabel, plainLabel, readPlainLabel } from './core/plain-label.ts'
import { field, list } from './core/rules.ts'
import { readTar, tarEnd, tarMember, tarMemberBytes } from './core/tar.ts'

/** Of one shard: as img2dataset makes them, and about what loaders are tuned for. */
const maxSamples = 10_000
const maxShardBytes = 1024 * 1024 * 1024

const Sample = z.object({
  key: z.string(),
  url: z.string(),
  source_key: z.string(),
  sha256: z.string(),
  width: z.int(),
  height: z.int(),
  labels: z.array(PlainLabel.extend({ output: z.string() })),
})

const library = 'webdataset/webdataset src/webdataset/tariterators.py'
const viewer = 'huggingface/datasets src/datasets/packaged_modules/webdataset/webdataset.py'

export const webdataset: ExportFormat = {
  name: 'webdataset',
  summary: 'WebDataset: tar shards of .jpg, .json and .txt',
  imageModes: ['embed'],
  hubFiles: /^[^/]+\.tar$/,
  lost: [
    'the bytes of images that are no JPEG: they are encoded again',
    'in the .txt everything but the first caption of the image',
    'in the .json sampling, timings, usage, checks and provenance beyond the recordId',
  ],
  open({ sink }) {
    const shards = perStem((stem) => new ShardWriter(async (name) => await sink.create(name), stem))
    return {
      async write(image) {
        await shards.of(image.split ?? 'webdataset').add(image)
        return 1
      },
      async close() {
        for (const shard of shards.all('webdataset')) await shard.end()
      },
    }
  },
  rows: memberRows,
  async *read(files) {
    for await (const { section, value } of memberRows(files)) {
      if (section !== 'json') continue
      const { source_key: image, width, height, labels } = Sample.parse(field(value, 'json'))
      yield { image, width, height, labels: labels.map(readLabel) }
    }
  },
  rules: [
    {
      name: 'members-of-a-sample-together',
      says: 'members of one key stand one after the other, each extension once',
      source: `${library} group_by_keys`,
      problem({ file, section, value }, { seen, previous }) {
        const key = String(field(value, 'key'))
        if (previous?.file !== file) seen.clear()
        const isNew = previous?.file !== file || String(field(previous.value, 'key')) !== key
        const mark = isNew ? key : `${key}.${section}`
        if (seen.has(key) && isNew) return `${file}: ${key} comes again, behind other keys`
        if (seen.has(`${key}.${section}`)) return `${file}: ${key}.${section} is there twice`
        seen.add(mark).add(`${key}.${section}`)
        return null
      },
    },
    {
      name: 'one-image-extension',
      says: 'every sample has an image, always with the same extension, and the same members as the first',
      source: `${viewer} _split_generators`,
      problem({ file, section }, { seen }) {
        if (!imageExtensions.has(section)) return null
        seen.add(section)
        return seen.size > 1 ? `${file} has .${[...seen].join(' and .')}` : null
      },
      problemAtEnd: ({ seen }) => (seen.size === 0 ? 'there is no image' : null),
    },
    {
      name: 'one-type-a-field',
      says: 'the output of a label is text: a loader gives a field one type, and outputs of tasks differ',
      source: `${viewer} _split_generators`,
      problem({ file, section, value }) {
        if (section !== 'json') return null
        const labels = list(field(field(value, 'json'), 'labels'))
        const isText = labels.every((label) => typeof field(label, 'output') === 'string')
        return isText ? null : `${file}: ${String(field(value, 'key'))} has an output that is no text`
      },
    },
    {
      name: 'no-dot-in-key',
      says: 'a key has no dot: everything behind the first dot is the extension',
      source: `${library} base_plus_ext`,
      problem: ({ file, section }) =>
        section.includes('.') ? `${file} has a member with .${section}` : null,
    },
  ],
}

function readLabel(label: z.infer<typeof Sample>['labels'][number]) {
  return readPlainLabel({ ...label, output: TaskOutput.parse(JSON.parse(label.output)) })
}

const imageExtensions = new Set(['jpg', 'jpeg', 'png', 'webp'])

/** Writes samples into one shard after the other. */
class ShardWriter {
  readonly #create: (name: string) => Promise<FileSink>
  readonly #stem: string
  #file: FileSink | null = null
  #shard = -1
  #samples = 0
  #bytes = 0

  constructor(create: (name: string) => Promise<FileSink>, stem: string) {
    this.#create = create
    this.#stem = stem
  }

  async add(image: ExportImage): Promise<void> {
    const jpeg = await image.bytes('jpeg')
    const members = (key: string) => membersOf(image, { key, jpeg })
    const bytes = members('').reduce((sum, { content }) => sum + tarMemberBytes(content.length), 0)
    if (this.#samples >= maxSamples || this.#bytes + bytes > maxShardBytes) await this.end()
    if (this.#file === null) {
      this.#shard += 1
      this.#file = await this.#create(`${this.#stem}-${String(this.#shard).padStart(6, '0')}.tar`)
      ;[this.#samples, this.#bytes] = [0, 0]
    }
    const key = String(this.#shard).padStart(5, '0') + String(this.#samples).padStart(4, '0')
    for (const { extension, content } of members(key))
      for (const chunk of tarMember(`${key}.${extension}`, content)) await this.#file.write(chunk)
    this.#samples += 1
    this.#bytes += bytes
  }

  async end(): Promise<void> {
    if (this.#file === null) return
    await this.#file.write(tarEnd)
    await this.#file.close()
    this.#file = null
  }
}

type Member = { extension: string; content: Uint8Array }

/** Every sample has the same members: loaders take the first one's as the columns. */
function membersOf(image: ExportImage, { key, jpeg }: { key: string; jpeg: Uint8Array }): Member[] {
  const labels = image.records.map((record) => {
    const label = plainLabel(record)
    return { ...label, output: JSON.stringify(label.output) }
  })
  const { uri: url, key: source_key, sha256, width, height } = image
  const json = { key, url, source_key, sha256, width, height, labels }
  return [
    { extension: 'jpg', content: jpeg },
    { extension: 'json', content: Buffer.from(JSON.stringify(json)) },
    { extension: 'txt', content: Buffer.from(captionOf(image.records) ?? '') },
  ]
}

async function* memberRows({ folder, names }: ExportFiles): AsyncGenerator<RawRow> {
  for (const file of names.filter((name) => name.endsWith('.tar'))) {
    let number = 0
    for await (const { name, content } of readTar(join(folder, file))) {
      number += 1
      const dot = name.indexOf('.')
      const section = name.slice(dot + 1)
      const json: unknown =
        section === 'json' ? expectJson(content.toString('utf8'), `${name} of ${file}`) : null
      yield { file, section, number, value: { key: name.slice(0, dot), json } }
    }
  }
}
