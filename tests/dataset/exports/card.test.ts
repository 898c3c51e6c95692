// The card of an export: what the Hub of Hugging Face reads of it, what it warns of, and how it says to make it again.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { histogramSvg } from '../../../dataset/exports/core/histogram-svg.ts'
import { familyOf } from '../../../dataset/exports/core/model-families.ts'
import { listFiles } from '../../../dataset/exports/core/files.ts'
import { exportFormats, findFormat } from '../../../dataset/exports/registry.ts'
import { everyShape, exportStore, recordsOf, sealedStore } from '../../helpers/export-run.ts'

/** What the Hub takes; identifiers as in huggingface/hub-docs, docs/hub/datasets-cards.md and its datasetcard.md. */
const FrontMatter = z.strictObject({
  pretty_name: z.string(),
  license: z.enum(['unknown', 'other']),
  license_name: z
    .string()
    .regex(/^[a-z0-9-]+$/)
    .optional(),
  license_link: z.literal('README.md').optional(),
  annotations_creators: z.tuple([z.literal('machine-generated')]),
  task_categories: z.array(z.enum(['image-to-text', 'visual-question-answering', 'object-detection'])),
  size_categories: z.tuple([z.enum(['n<1K', '1K<n<10K', '10K<n<100K'])]),
  tags: z.array(z.string()),
  configs: z
    .tuple([
      z.strictObject({
        config_name: z.literal('default'),
        data_files: z.array(
          z.strictObject({ split: z.string().regex(/^\w+(\.\w+)*$/), path: z.array(z.string()).min(1) }),
        ),
      }),
    ])
    .optional(),
})

function frontOf(card: string) {
  const [, yaml = ''] = /^---\n([\s\S]*?)\n---\n/.exec(card) ?? []
  return FrontMatter.parse(parse(yaml))
}

test.each(exportFormats.map((format) => [format.name, format] as const))(
  'the card of %s begins as the Hub wants it, and names files that are there',
  async (_name, format) => {
    const { folder } = await exportStore(await sealedStore(recordsOf(everyShape)), format)
    const front = frontOf(await readFile(join(folder, 'README.md'), 'utf8'))
    expect(front).toMatchObject({ license: 'other', license_name: 'cogvlm-license' })
    expect(front.configs !== undefined).toBe(format.hubFiles !== undefined)
    const named = (front.configs ?? []).flatMap(({ data_files }) => data_files.flatMap(({ path }) => path))
    const there = await listFiles(folder)
    expect(named.filter((path) => !there.includes(path))).toEqual([])
  },
)

test('the parts of a split are those of the Hub, and nothing beside the data is taken for it', async () => {
  const images = Array.from({ length: 12 }, (_, index) => ({
    key: `${index}.jpg`,
    said: [{ task: 'caption', question: 'What?', output: { text: `Text ${index}.` } }],
  }))
  for (const name of ['llava', 'webdataset', 'llama-factory']) {
    const split = {
      shares: [
        { name: 'train', share: 0.5 },
        { name: 'hold-out', share: 0.5 },
      ],
      seed: 0,
      groupDepth: 0,
      previous: null,
    }
    const { folder } = await exportStore(await sealedStore(recordsOf(images)), findFormat(name), { split })
    const [config] = frontOf(await readFile(join(folder, 'README.md'), 'utf8')).configs ?? []
    expect(config?.data_files.map((one) => one.split).toSorted(), name).toEqual(['hold_out', 'train'])
    expect(JSON.stringify(config)).not.toMatch(/splits|dataset_info/)
  }
})

test('the card warns of what the base language model forbids, beside the licence of the weights', async () => {
  const { folder } = await exportStore(await sealedStore(recordsOf(everyShape)), findFormat('llava'))
  const card = await readFile(join(folder, 'README.md'), 'utf8')
  const loud = card.split('\n').filter((line) => line.startsWith('> **NOT FREE'))
  expect(loud).toHaveLength(2)
  expect(loud[1]).toContain('may not be used to improve any other large language model')
  expect(familyOf({ name: 'scenes-v2' }).terms).toBeNull()
  expect(familyOf({ name: 'cogvlm2-llama3-chat-19B' }).terms).toContain('Llama 3')
})

test('the card says how the labels were made, not only the export, and no command ends its fence', async () => {
  const labelCommands = ['label photos --out run --ask "a ```\n# b"', 'label photos --out run --retry-failed']
  const { folder } = await exportStore(await sealedStore(recordsOf(everyShape)), findFormat('llava'), {
    labelCommands,
    checkSummaries: new Map([['length', 'too short or too long']]),
  })
  const card = await readFile(join(folder, 'README.md'), 'utf8')
  expect(card).toContain('npx coglabel@0.0.0 label photos --out run --ask "a ` ` ` # b"\n')
  expect(card).toContain('npx coglabel@0.0.0 label photos --out run --retry-failed\n')
  expect(card.match(/```/g)).toHaveLength(2)
})

test('the card says what each check looks for', async () => {
  const images = everyShape.map((image) => ({
    ...image,
    checks: [{ name: 'length', pass: true, score: 3, evidence: '' }],
  }))
  const { folder } = await exportStore(await sealedStore(recordsOf(images)), findFormat('llava'), {
    checkSummaries: new Map([['length', 'too short | too long']]),
  })
  expect(await readFile(join(folder, 'README.md'), 'utf8')).toContain(
    '| length | 5 of 5 | 100.0 % | 3.000 | too short \\| too long |',
  )
})

const histograms: [string, number[], string[]][] = [
  ['short answers have a bar for each number of words', [0, 5, 2], ['1: 5', '2: 2']],
  ['long texts have bars of several', Array.from({ length: 60 }, () => 1), ['0 to 4: 5', '55 to 59: 5']],
  [
    'what is longer than all bins stands in the last',
    Array.from({ length: 201 }, () => 1),
    ['200 and more: 1'],
  ],
]

test.each(histograms)('%s', (_name, counts, titles) => {
  const whole = [...counts, ...Array.from({ length: 201 - counts.length }, () => 0)]
  const total = counts.reduce((sum, count) => sum + count, 0)
  const svg = histogramSvg({ binWidth: 1, counts: whole, total }, { title: 'length', unit: 'words' })
  for (const title of titles) expect(svg).toContain(`<title>${title}</title>`)
  expect(svg.match(/<rect x=/g)?.length).toBeLessThanOrEqual(21)
  expect(svg).toContain(`${total} in all`)
})
