// Images of every type and with odd names, through every format: written, read back, and loadable.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { listFiles } from '../../../dataset/exports/core/files.ts'
import { exportFormats, findFormat } from '../../../dataset/exports/registry.ts'
import { exportStore, recordsOf, sealedStore, type Labelled } from '../../helpers/export-run.ts'

const said = [
  {
    task: 'grounded-caption',
    question: 'Describe the image with boxes.',
    output: {
      text: 'A < dog.',
      phrases: [
        {
          text: 'A < dog',
          start: 0,
          end: 7,
          boxes: [[0.25, 0.25, 0.5, 0.5] as [number, number, number, number]],
        },
      ],
    },
  },
  {
    task: 'qa',
    question: 'Is it?',
    output: { turns: [{ question: 'Is it?', answer: 'Yes.', kind: 'asked' }] },
  },
]

const images: readonly Labelled[] = [
  { key: 'a/one.jpg', said },
  { key: 'b/one.jpg', said },
  { key: 'a/x.webp', mime: 'image/webp', said },
  { key: 'b/x.tiff', mime: 'image/tiff', said },
  { key: 'a/anim.gif', mime: 'image/gif', said },
  { key: 'b/p.avif', mime: 'image/avif', said },
  { key: 'UPPER.JPG', said },
  { key: `it's "quoted" ünï 漢字 \u{1f98a}.png`, mime: 'image/png', said },
  { key: '100% #1 & <b>.jpg', said },
  { key: 'semi;colon,comma.jpg', said },
  { key: '-dash.jpg', said },
  { key: '=cmd.jpg', said },
  { key: 'two.dots.in.jpg', said },
  { key: 'no-extension', said },
]

test.each(exportFormats.map((format) => [format.name, format] as const))(
  '%s takes every type and name, and what it wrote loads and names each image',
  async (_name, format) => {
    const { folder, report } = await exportStore(await sealedStore(recordsOf(images)), format)
    expect(report.broken).toEqual([])
    const names = await listFiles(folder)
    let labels = 0
    for await (const image of format.read({ folder, names })) labels += image.labels.length
    expect(labels).toBeGreaterThanOrEqual(images.length)
    expect(report.images).toBe(images.length)
  },
)

test('beside an image that the trainer does not take for one there is a JPEG', async () => {
  const { folder } = await exportStore(await sealedStore(recordsOf(images)), findFormat('sidecar'))
  expect((await readdir(join(folder, 'b'))).toSorted()).toEqual([
    'one.jpg',
    'one.json',
    'one.txt',
    'p.jpg',
    'p.json',
    'p.txt',
    'x.jpg',
    'x.json',
    'x.txt',
  ])
})

test.each(['openai-batch', 'bedrock-batch', 'openai-chat'])(
  '%s sends only types that every service takes',
  async (name) => {
    const store = await sealedStore(recordsOf(images))
    const { folder, report } = await exportStore(store, findFormat(name), { imageMode: 'embed' })
    expect(report.broken).toEqual([])
    const texts = await Promise.all(
      report.files.map(async (file) => await readFile(join(folder, file), 'utf8')),
    )
    const types = texts.flatMap((text) => [...text.matchAll(/image\/[a-z]+/g)].map(([type]) => type))
    expect([...new Set(types)].toSorted()).toEqual(['image/jpeg', 'image/png', 'image/webp'])
  },
)
