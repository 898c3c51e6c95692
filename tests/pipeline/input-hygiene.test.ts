// Images that nothing is spent on: repeated, too small, too thin, of one colour.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import sharp from 'sharp'
import { openSource } from '../../dataset/ingest.ts'
import { defaultDecodeLimits } from '../../gpu-worker/image/decode.ts'
import { printDistance, thumbprint } from '../../gpu-worker/image/likeness.ts'
import { findDuplicates } from '../../gpu-worker/pipeline/duplicates.ts'
import { turnDown } from '../../gpu-worker/image/input-rules.ts'
import type { DedupeKind } from '../../schemas/input-rules.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { runLabel } from '../../cli/label.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { openLabelRoot } from '../helpers/label-root.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const photo = new URL('../golden/data/images/photo_133x97.jpg', import.meta.url)
const examples = new URL('../../examples/images/', import.meta.url)
const signal = new AbortController().signal

async function duplicatesIn(files: Record<string, Buffer>, kind: DedupeKind) {
  const folder = await tempFolder()
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(join(folder, name, '..'), { recursive: true })
    await writeFile(join(folder, name), bytes)
  }
  const source = await openSource(folder, { exclude: '/nowhere' })
  return await findDuplicates(source, { kind, limits: defaultDecodeLimits, signal })
}

describe('duplicates', () => {
  test('of equal bytes name the first of them, and what cannot be read repeats nothing', async () => {
    const bytes = await readFile(photo)
    const found = await duplicatesIn(
      {
        'a.jpg': bytes,
        'b/c.jpg': bytes,
        'd.jpg': Buffer.from('no image'),
        'e.jpg': await readFile(new URL('penguin.jpg', examples)),
      },
      'exact',
    )
    expect([...found]).toEqual([['b/c.jpg', { of: 'a.jpg', kind: 'exact' }]])
  })

  test('by looks are the same picture saved again, resized or turned by EXIF', async () => {
    const original = await readFile(new URL('rabbit-burger-bus.jpg', examples))
    const found = await duplicatesIn(
      {
        'a.jpg': original,
        'b.jpg': await sharp(original).jpeg({ quality: 50 }).toBuffer(),
        'c.webp': await sharp(original).resize({ width: 220 }).webp({ quality: 70 }).toBuffer(),
        'd.png': await sharp(original).png().toBuffer(),
        'e.jpg': await sharp(original).rotate(270).withMetadata({ orientation: 6 }).jpeg().toBuffer(),
        // No longer the same label: mirrored, upside down, another part of it.
        'x.png': await sharp(original).flop().png().toBuffer(),
        'y.png': await sharp(original).flip().png().toBuffer(),
        'z.png': await sharp(original).extract({ left: 0, top: 0, width: 200, height: 150 }).png().toBuffer(),
      },
      'near',
    )
    expect(Object.fromEntries([...found].map(([key, { of, kind }]) => [key, `${kind} ${of}`]))).toEqual({
      'b.jpg': 'near a.jpg',
      'c.webp': 'near a.jpg',
      'd.png': 'near a.jpg',
      'e.jpg': 'near a.jpg',
    })
  })

  test('by looks are not drawings on equal backgrounds, nor flat pictures of different colours', async () => {
    const page = (shape: string, colour = '#8aa') =>
      sharp(
        Buffer.from(
          `<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200" fill="${colour}"/>${shape}</svg>`,
        ),
      )
        .png()
        .toBuffer()
    const files = {
      'a.png': await page('<circle cx="80" cy="80" r="40" fill="red"/>'),
      'b.png': await page('<circle cx="200" cy="120" r="40" fill="red"/>'),
      'c.png': await page('<circle cx="80" cy="80" r="40" fill="blue"/>'),
      'd.png': await page(''),
      'e.png': await page('', '#fff'),
      'f.png': await page('', '#000'),
    }
    expect([...(await duplicatesIn(files, 'near')).keys()]).toEqual([])
  })

  test('the sample images are all different', async () => {
    const source = await openSource(new URL('.', examples).pathname, { exclude: '/nowhere' })
    expect((await findDuplicates(source, { kind: 'near', limits: defaultDecodeLimits, signal })).size).toBe(0)
  })
})

test('a print of mean colours is the same at any size', () => {
  const paint = (size: number) => ({
    rgb: Uint8Array.from({ length: size * size * 3 }, (_, at) =>
      Math.floor(((Math.floor(at / 3) % size) / size) * 255),
    ),
    width: size,
    height: size,
  })
  expect(printDistance(thumbprint(paint(120)), thumbprint(paint(240)))).toBeLessThan(2)
  expect(printDistance(thumbprint(paint(1)), thumbprint(paint(120)))).toBeGreaterThan(50)
})

const flat = (width: number, height: number, noise = 0) => ({
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, at) => 120 + ((at * 7919) % 5) * noise),
  width,
  height,
})

test.each([
  [{}, flat(1, 500), null],
  [{ minSide: 32 }, flat(31, 500), { name: 'image-side', score: 31 }],
  [{ minSide: 32 }, flat(32, 500), null],
  [{ maxAspect: 3 }, flat(100, 301), { name: 'image-aspect', score: 3.01 }],
  [{ maxAspect: 3 }, flat(300, 100), null],
  [{ blank: true } as const, flat(40, 40), { name: 'image-blank', score: 0 }],
  [{ blank: true } as const, flat(40, 40, 1), { name: 'image-blank' }],
  [{ blank: true } as const, flat(40, 41, 40), null],
])('%j turns down as it says', (rules, pixels, expected) => {
  const check = turnDown(rules, pixels)
  if (expected === null) expect(check).toBeNull()
  else expect(check).toMatchObject({ ...expected, pass: false })
})

test('label leaves them out, says why and with which target, and spends nothing on them', async () => {
  const folder = await tempFolder()
  const src = join(folder, 'in')
  await mkdir(src)
  const bytes = await readFile(photo)
  await writeFile(join(src, 'a.jpg'), bytes)
  await writeFile(join(src, 'b.jpg'), bytes)
  await writeFile(
    join(src, 'c.png'),
    await sharp({ create: { width: 60, height: 60, channels: 3, background: '#123' } })
      .png()
      .toBuffer(),
  )
  const engine = openCountingEngine()
  const out = join(folder, 'out')
  const args = [
    src,
    '--out',
    out,
    '--tasks',
    'caption',
    '--dedupe',
    'near',
    '--skip-blank',
    '--min-side',
    '8',
  ]
  const { root } = openLabelRoot(engine)
  expect(await runLabel(args, root)).toBe(0)
  expect(engine.counts.images).toBe(1)
  const records = (await readFile(join(out, 'labels.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => LabelRecord.parse(JSON.parse(line)))
  expect(records).toMatchObject([
    { source: { key: 'a.jpg' }, status: 'ok' },
    {
      source: { key: 'b.jpg' },
      status: 'filtered',
      output: null,
      error: null,
      duplicateOf: 'a.jpg',
      checks: [{ name: 'image-duplicate', pass: false, evidence: 'equal bytes to "a.jpg"' }],
    },
    { source: { key: 'c.png' }, status: 'filtered', image: { width: 60 }, checks: [{ name: 'image-blank' }] },
  ])
  // Filtered is done: nothing is looked at again.
  expect(await runLabel(args, root)).toBe(0)
  expect(engine.counts.images).toBe(1)
  await expect(runLabel([...args, '--max-aspect', '2'], root)).rejects.toThrow(
    /images left out: it has .*now/,
  )
})

test('what is left of equal images is labelled when the one that stood for them is gone', async () => {
  const folder = await tempFolder()
  const [src, out] = [join(folder, 'in'), join(folder, 'out')]
  await mkdir(src)
  for (const name of ['a.jpg', 'b.jpg', 'c.jpg'])
    await writeFile(join(src, name), numberedPng(name === 'c.jpg' ? 1 : 0))
  const engine = openCountingEngine()
  const { root } = openLabelRoot(engine)
  const label = async () => {
    expect(await runLabel([src, '--out', out, '--tasks', 'caption', '--dedupe', 'exact'], root)).toBe(0)
    const lines = (await readFile(join(out, 'labels.jsonl'), 'utf8')).trim().split('\n')
    const records = lines.map((line) => LabelRecord.parse(JSON.parse(line)))
    return records.map(({ source, status, duplicateOf = '' }) => `${source.key} ${status} ${duplicateOf}`)
  }
  expect(await label()).toEqual(['a.jpg ok ', 'b.jpg filtered a.jpg', 'c.jpg ok '])
  await rm(join(src, 'a.jpg'))
  const after = ['a.jpg ok ', 'b.jpg ok ', 'c.jpg ok ']
  expect(await label()).toEqual(after)
  expect(engine.counts.images).toBe(3)
  expect(await label()).toEqual(after)
  expect(engine.counts.images).toBe(3)
})
