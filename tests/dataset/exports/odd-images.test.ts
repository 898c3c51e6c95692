// Images of every type and with odd names, through every format: written, read back, and loadable.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { sha256Hex } from '../../../dataset/canonical-json.ts'
import { listFiles } from '../../../dataset/exports/core/files.ts'
import { exportFormats, findFormat } from '../../../dataset/exports/registry.ts'
import { UserError } from '../../../schemas/errors.ts'
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

const copying = exportFormats.filter(({ imageModes }) =>
  imageModes.some((mode) => mode === 'copy' || mode === 'embed'),
)

test.each(copying.map((format) => [format.name, format] as const))(
  '%s goes on without images that it cannot take, and counts and lists them',
  async (_name, format) => {
    const jpeg = await sharp({ create: { width: 200, height: 100, channels: 3, background: 'red' } })
      .jpeg()
      .toBuffer()
    const bytes: Record<string, Buffer> = {
      'a.jpg': jpeg,
      'b.tiff': Buffer.from('II*\0'),
      'c.jpg': Buffer.from('cut off'),
      'd.jpg': jpeg,
    }
    const labelled = Object.keys(bytes).map((key): Labelled => ({
      key,
      said,
      mime: key === 'b.tiff' ? 'image/tiff' : 'image/jpeg',
    }))
    const records = recordsOf(labelled).map((record) => ({
      ...record,
      source: { ...record.source, sha256: sha256Hex(bytes[record.source.key]!) },
    }))
    const { folder, report } = await exportStore(await sealedStore(records), format, {
      imageMode: format.imageModes.includes('copy') ? 'copy' : 'embed',
      stripsMetadata: true,
      ports: {
        readImage: async (uri) => bytes[uri.replace('s3://test/', '')]!,
        toJpeg: async (_bytes, name) => {
          throw new UserError(`${name} cannot be decoded`)
        },
      },
    })
    expect(report.broken).toEqual([])
    expect(report.images).toBe(2)
    const lines = (await readFile(join(folder, 'left-out.jsonl'), 'utf8')).trim().split('\n')
    const leftOut = lines.map((line) => JSON.parse(line) as { key: string; reason: string })
    expect(leftOut).toMatchObject([
      {
        key: 'b.tiff',
        reason: expect.stringMatching(/^whose type \(image\/tiff\)|^that cannot be made a JPEG/),
      },
      { key: 'c.jpg', reason: expect.stringMatching(/^that is no whole JPEG/) },
    ])
    expect(Object.keys(report.statistics.leftOut)).toEqual(leftOut.map(({ reason }) => `image ${reason}`))
  },
)

test('images whose names differ in the extension alone have names of their own beside their sidecars', async () => {
  const [jpeg, png] = ['image/jpeg', 'image/png']
  const named: Labelled[] = [
    { key: 'x/a.gif', mime: 'image/gif', said },
    { key: 'x/a.jpg', mime: jpeg, said },
    { key: 'x/a.png', mime: png, said },
    { key: 'x/a.png.jpg', mime: jpeg, said },
    // Turned upright it is a JPEG.
    { key: 'x/b.png', mime: png, orientation: 6, said },
  ]
  const { folder, report } = await exportStore(await sealedStore(recordsOf(named)), findFormat('sidecar'))
  expect(report.broken).toEqual([])
  expect((await readdir(join(folder, 'x'))).toSorted()).toEqual(
    ['a.jpg', 'a.jpg.jpg', 'a.png.png', 'a.png.jpg.jpg', 'b.jpg']
      .flatMap((image) => [image, image.replace(/\.[a-z]+$/, '.json'), image.replace(/\.[a-z]+$/, '.txt')])
      .toSorted(),
  )
})

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
