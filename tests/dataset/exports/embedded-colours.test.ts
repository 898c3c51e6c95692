// Images as they go into a fine-tuning file: in RGB, whatever they were.
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { sha256Hex } from '../../../dataset/canonical-json.ts'
import { isRgb } from '../../../dataset/exports/core/colour-mode.ts'
import { embedImage } from '../../../dataset/exports/core/data-url.ts'
import { openFolderSink } from '../../../dataset/exports/core/files.ts'
import { openExportImage } from '../../../dataset/exports/core/images.ts'
import { encodeJpeg } from '../../../gpu-worker/image/encode.ts'
import { recordsOf } from '../../helpers/export-run.ts'
import { tempFolder } from '../../helpers/temp-folder.ts'

const pixels = Buffer.from(Array.from({ length: 24 * 16 * 4 }, (_, index) => (index * 7) % 256))
const picture = () => sharp(pixels, { raw: { width: 24, height: 16, channels: 4 } })
const opaque = () => picture().removeAlpha()

type Kind = { mime: string; make: () => Promise<Buffer>; isKept: boolean }

const kinds: [string, Kind][] = [
  ['an RGB JPEG', { mime: 'image/jpeg', make: () => opaque().jpeg().toBuffer(), isKept: true }],
  [
    'a progressive JPEG',
    { mime: 'image/jpeg', make: () => opaque().jpeg({ progressive: true }).toBuffer(), isKept: true },
  ],
  [
    'a JPEG with a profile and EXIF',
    { mime: 'image/jpeg', make: () => opaque().withIccProfile('p3').jpeg().toBuffer(), isKept: true },
  ],
  [
    'a grey JPEG',
    { mime: 'image/jpeg', make: () => opaque().toColourspace('b-w').jpeg().toBuffer(), isKept: false },
  ],
  [
    'a CMYK JPEG',
    { mime: 'image/jpeg', make: () => opaque().toColourspace('cmyk').jpeg().toBuffer(), isKept: false },
  ],
  ['an RGBA PNG', { mime: 'image/png', make: () => picture().png().toBuffer(), isKept: true }],
  ['an RGB PNG', { mime: 'image/png', make: () => opaque().png().toBuffer(), isKept: true }],
  [
    'a grey PNG',
    { mime: 'image/png', make: () => opaque().toColourspace('b-w').png().toBuffer(), isKept: false },
  ],
  [
    'a palette PNG',
    { mime: 'image/png', make: () => opaque().png({ palette: true }).toBuffer(), isKept: false },
  ],
  ['a WebP', { mime: 'image/webp', make: () => picture().webp().toBuffer(), isKept: true }],
]

test.each(kinds)('%s is seen for what it is, and embedded in RGB', async (_name, { mime, make, isKept }) => {
  const bytes = await make()
  expect(isRgb(bytes)).toBe(isKept)
  const [record] = recordsOf([
    { key: 'a', mime, said: [{ task: 'caption', question: 'q', output: { text: 't' } }] },
  ])
  const opened = await openExportImage(
    { ...record!, source: { ...record!.source, sha256: sha256Hex(bytes) } },
    {
      imageMode: 'embed',
      stripsMetadata: false,
      sink: openFolderSink(await tempFolder()),
      ports: { readImage: async () => bytes, toJpeg: encodeJpeg },
    },
  )
  const embedded = await embedImage(opened, { isRgbOnly: true })
  const back = Buffer.from(embedded.base64, 'base64')
  expect(back.equals(bytes)).toBe(isKept)
  expect((await sharp(back).metadata()).space).toBe('srgb')
  expect(embedded.mime).toBe(isKept ? mime : 'image/jpeg')
})

test('bytes that are no image say nothing of colours, however they begin', () => {
  const starts = ['', '\xff\xd8\xff', '\xff\xd8\xff\xe0\0\0', '\x89PNG\r\n\x1a\n', 'text']
  expect(starts.map((start) => isRgb(Buffer.from(start, 'latin1')))).toEqual(starts.map(() => null))
})
