// Images nobody should trust: each decodes to the right pixels or fails with its code; nothing throws.
import { readFile } from 'node:fs/promises'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import type { DecodeLimits } from '../../gpu-worker/image/decode.ts'
import type { FailureCode } from '../../schemas/failure.ts'

const goldenImage = (name: string) => readFile(new URL(`../golden/data/images/${name}`, import.meta.url))
const photo = await goldenImage('photo_133x97.jpg')
const shapes = await goldenImage('shapes_171x243.png')
const encode = (format: 'webp' | 'gif' | 'tiff' | 'avif' | 'png') =>
  sharp(photo).toFormat(format, { lossless: true }).toBuffer()

async function decodeOk(bytes: Buffer, limits?: Partial<DecodeLimits>) {
  const result = await decodeImage(bytes, limits)
  if (!result.ok) throw new Error(`${result.failure.code}: ${result.failure.message}`)
  return result.image
}

/** A PNG whose header claims a size; the data that follows is the given image's. */
function claimSize(png: Buffer, side: number): Buffer {
  const copy = Buffer.from(png)
  copy.writeUInt32BE(side, 16)
  copy.writeUInt32BE(side, 20)
  copy.writeUInt32BE(crc32(copy.subarray(12, 29)), 29)
  return copy
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}

/** Inserts an EXIF segment that holds only the orientation, so that the pixels stay the same. */
function withOrientation(jpeg: Buffer, orientation: number): Buffer {
  const exif = Buffer.from(
    '457869660000' + '4d4d002a00000008' + '0001' + '0112000300000001' + '00000000' + '00000000',
    'hex',
  )
  exif.writeUInt16BE(orientation, 24)
  const segment = Buffer.alloc(4)
  segment.writeUInt16BE(0xffe1, 0)
  segment.writeUInt16BE(exif.length + 2, 2)
  return Buffer.concat([jpeg.subarray(0, 2), segment, exif, jpeg.subarray(2)])
}

describe('an image that cannot be labelled', () => {
  const half = (bytes: Buffer) => bytes.subarray(0, Math.floor(bytes.length * 0.6))
  it.each<[string, () => Buffer | Promise<Buffer>, FailureCode, Partial<DecodeLimits>?]>([
    ['an empty file', () => Buffer.alloc(0), 'image-empty'],
    ['a file over the byte limit', () => photo, 'image-too-large', { maxBytes: 1000 }],
    ['text', () => Buffer.from('this is not an image\n'), 'image-format-unsupported'],
    ['HTML', () => Buffer.from('<!DOCTYPE html><html></html>'), 'image-format-unsupported'],
    [
      'SVG',
      () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
      'image-format-unsupported',
    ],
    [
      'SVG in XML',
      () => Buffer.from('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
      'image-format-unsupported',
    ],
    ['PDF', () => Buffer.from('%PDF-1.7\n'), 'image-format-unsupported'],
    ['BMP', () => Buffer.from('BM\0\0\0\0'), 'image-format-unsupported'],
    ['a JPEG of three bytes', () => photo.subarray(0, 3), 'image-truncated'],
    ['a truncated JPEG', () => half(photo), 'image-truncated'],
    [
      'a truncated progressive JPEG',
      async () => half(await sharp(photo).jpeg({ progressive: true }).toBuffer()),
      'image-truncated',
    ],
    ['a truncated PNG', () => half(shapes), 'image-truncated'],
    ['a PNG of a signature', () => shapes.subarray(0, 8), 'image-truncated'],
    ['a truncated WebP', async () => half(await encode('webp')), 'image-truncated'],
    ['a truncated GIF', async () => half(await encode('gif')), 'image-truncated'],
    ['a truncated TIFF', async () => half(await encode('tiff')), 'image-truncated'],
    ['a truncated AVIF', async () => half(await encode('avif')), 'image-truncated'],
    ['a PNG that claims 60000 x 60000', () => claimSize(shapes, 60_000), 'image-too-many-pixels'],
    ['a PNG that claims 0 x 0', () => claimSize(shapes, 0), 'image-corrupt'],
    ['an image over the pixel limit', () => photo, 'image-too-many-pixels', { maxPixels: 133 * 97 - 1 }],
    ['an image with a side over the limit', () => photo, 'image-too-many-pixels', { maxSide: 132 }],
    [
      'a JPEG of zeros',
      () => Buffer.concat([photo.subarray(0, 200), Buffer.alloc(5000), Buffer.from([0xff, 0xd9])]),
      'image-corrupt',
    ],
  ])('fails with its code: %s', async (...[, make, code, limits]) => {
    const result = await decodeImage(await make(), limits)
    expect(result).toMatchObject({ ok: false, failure: { code, message: expect.stringMatching(/^.{10,}/) } })
  })
})

describe('an odd image that can be labelled', () => {
  const rgba = (alpha: number) => Buffer.from([10, 20, 30, alpha, 200, 100, 50, 255])
  const raw = { width: 2, height: 1, channels: 4 } as const
  const plain = [10, 20, 30, 200, 100, 50]

  it.each<[string, () => Promise<Buffer>, number[]]>([
    ['drops alpha and does not composite', () => sharp(rgba(0), { raw }).png().toBuffer(), plain],
    [
      'drops alpha of a WebP',
      () => sharp(rgba(1), { raw }).webp({ lossless: true, exact: true }).toBuffer(),
      plain,
    ],
    [
      'replicates grey',
      () =>
        sharp(Buffer.from([7, 250]), { raw: { width: 2, height: 1, channels: 1 } })
          .toColourspace('b-w')
          .png()
          .toBuffer(),
      [7, 7, 7, 250, 250, 250],
    ],
    [
      'replicates grey with alpha',
      () =>
        sharp(Buffer.from([7, 0, 250, 128]), { raw: { width: 2, height: 1, channels: 2 } })
          .toColourspace('b-w')
          .png()
          .toBuffer(),
      [7, 7, 7, 250, 250, 250],
    ],
    // Two pixels of a palette of two, each of the colours in turn the transparent one.
    ['drops the transparency of a GIF', async () => twoPixelGif([0xf9, 4, 1, 0, 0, 0, 0]), plain],
    [
      'drops it where a GIF says it twice, behind a comment',
      async () => twoPixelGif([0xfe, 1, 65, 0], [0xf9, 4, 1, 0, 0, 1, 0], [0xf9, 4, 0, 0, 0, 0, 0]),
      plain,
    ],
    ['takes the first frame of an animated GIF', () => animation('gif'), [255, 0, 0]],
    ['takes the first frame of an animated WebP', () => animation('webp'), [255, 0, 0]],
    [
      'keeps the upper 8 of 16 bits',
      () =>
        sharp(Uint16Array.from([0x10ff, 0x2000, 0x3080]), { raw: { width: 1, height: 1, channels: 3 } })
          .toColourspace('rgb16')
          .png()
          .toBuffer(),
      [0x10, 0x20, 0x30],
    ],
  ])('%s', async (_, make, wanted) => {
    expect([...(await decodeOk(await make())).rgb.subarray(0, wanted.length)]).toEqual(wanted)
  })

  it('converts CMYK by the formula of Pillow', async () => {
    const jpeg = await sharp(photo).toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer()
    expect((await sharp(jpeg).metadata()).space).toBe('cmyk')
    const image = await decodeOk(jpeg)
    const original = await decodeOk(photo)
    expect([image.width, image.height, image.rgb.length]).toEqual([133, 97, 133 * 97 * 3])
    const difference =
      image.rgb.reduce((sum, value, at) => sum + Math.abs(value - original.rgb[at]!), 0) / image.rgb.length
    expect(difference).toBeLessThan(60)
  })

  it.each([
    [1, 1],
    [1, 5000],
  ])('decodes %i x %i', async (width, height) => {
    const png = await sharp({ create: { width, height, channels: 3, background: '#123456' } })
      .png()
      .toBuffer()
    const image = await decodeOk(png)
    expect([image.width, image.height, ...image.rgb.subarray(0, 3)]).toEqual([
      width,
      height,
      0x12,
      0x34,
      0x56,
    ])
  })

  it.each(['png', 'webp', 'gif', 'tiff', 'avif'] as const)(
    'decodes %s by its bytes and names its type',
    async (format) => {
      expect(await decodeOk(await encode(format))).toMatchObject({
        format,
        mime: `image/${format}`,
        width: 133,
        height: 97,
      })
    },
  )
})

/** A GIF of the colours of `plain`, with the extensions given before its frame. */
function twoPixelGif(...extensions: number[][]): Buffer {
  const screen = [2, 0, 1, 0, 0x80, 0, 0, 10, 20, 30, 200, 100, 50]
  const frame = [0x2c, 0, 0, 0, 0, 2, 0, 1, 0, 0]
  // Codes of three bits: clear, 0, 1, end.
  const codes = [2, 2, 0b01_000_100, 0b1010, 0]
  return Buffer.concat([
    Buffer.from('GIF89a'),
    Buffer.from([
      ...screen,
      ...extensions.flatMap((extension) => [0x21, ...extension]),
      ...frame,
      ...codes,
      0x3b,
    ]),
  ])
}

async function animation(format: 'gif' | 'webp'): Promise<Buffer> {
  const frame = (background: string) =>
    sharp({ create: { width: 8, height: 8, channels: 3, background } })
      .png()
      .toBuffer()
  const frames = await Promise.all(['#ff0000', '#0000ff'].map(frame))
  return sharp(frames, { join: { animated: true } })
    .toFormat(format, { lossless: true })
    .toBuffer()
}

/** Where upright (x, y) comes from in the stored image of size [w, h], per EXIF orientation (EXIF 2.32, table of tag 274). */
const storedFrom: ((at: { x: number; y: number; w: number; h: number }) => [number, number])[] = [
  ({ x, y }) => [x, y],
  ({ x, y, w }) => [w - 1 - x, y],
  ({ x, y, w, h }) => [w - 1 - x, h - 1 - y],
  ({ x, y, h }) => [x, h - 1 - y],
  ({ x, y }) => [y, x],
  ({ x, y, h }) => [y, h - 1 - x],
  ({ x, y, w, h }) => [w - 1 - y, h - 1 - x],
  ({ x, y, w }) => [w - 1 - y, x],
]

it.each([1, 2, 3, 4, 5, 6, 7, 8])('applies EXIF orientation %i and records it', async (orientation) => {
  const stored = await decodeOk(photo)
  const image = await decodeOk(withOrientation(photo, orientation))
  const isTurned = orientation > 4
  expect(image).toMatchObject({
    orientation,
    storedWidth: 133,
    storedHeight: 97,
    width: isTurned ? 97 : 133,
    height: isTurned ? 133 : 97,
  })
  const wanted = new Uint8Array(image.rgb.length)
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      const [fromX, fromY] = storedFrom[orientation - 1]!({ x, y, w: 133, h: 97 })
      const from = (fromY * 133 + fromX) * 3
      wanted.set(stored.rgb.subarray(from, from + 3), (y * image.width + x) * 3)
    }
  }
  expect(Buffer.compare(image.rgb, wanted)).toBe(0)
})

it.each([0, 9, 65_535])('reads the impossible orientation %i as 1', async (orientation) => {
  expect(await decodeOk(withOrientation(photo, orientation))).toMatchObject({
    orientation: 1,
    width: 133,
    height: 97,
  })
})

it('gives a value whatever bytes are flipped', async () => {
  const originals = [
    photo,
    shapes,
    await encode('webp'),
    await encode('gif'),
    await encode('tiff'),
    await encode('avif'),
  ]
  let seed = 11
  const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 8
  for (let round = 0; round < 300; round++) {
    const copy = Buffer.from(originals[round % originals.length]!)
    for (let flip = 0; flip < 1 + (round % 9); flip++) {
      const at = round % 2 === 0 ? random() % copy.length : random() % Math.min(copy.length, 300)
      copy[at] = random() & 255
    }
    const result = await decodeImage(copy, { maxPixels: 1_000_000 })
    if (result.ok) expect(result.image.rgb.length).toBe(result.image.width * result.image.height * 3)
    else expect(result.failure.code).toMatch(/^image-/)
  }
})
