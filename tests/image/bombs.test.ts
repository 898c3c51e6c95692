// Small files that unpack to much: real ones, made here. What they cost is bounded by the limits, not by the file.
import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { decodeImage } from '../../gpu-worker/image/decode.ts'
import { pngChunk } from '../helpers/images.ts'

const signature = Buffer.from('89504e470d0a1a0a', 'hex')

/** One grey pixel a bit: the size a file claims, and the data that really fills it. */
function greyPng({
  side,
  rows = side,
  extra = [],
}: {
  side: number
  rows?: number
  extra?: Buffer[]
}): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  header[8] = 1
  const pixels = deflateSync(Buffer.alloc((1 + Math.ceil(side / 8)) * rows))
  return Buffer.concat([
    signature,
    pngChunk('IHDR', header),
    ...extra,
    pngChunk('IDAT', pixels),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}

/** Text or a colour profile of 128 MB of zeros, in about 128 kB. */
function packedZeros(type: 'zTXt' | 'iCCP'): Buffer {
  const head = Buffer.from('Comment\0\0', 'latin1')
  return pngChunk(type, Buffer.concat([head, deflateSync(Buffer.alloc(128 * 1024 * 1024))]))
}

/** Bytes by which the process grew at most, as far as the system says. */
async function peakOf<T>(act: () => Promise<T>): Promise<{ result: T; grownBytes: number }> {
  const before = process.memoryUsage.rss()
  let peak = before
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss())
  }, 2)
  const result = await act()
  clearInterval(timer)
  return { result, grownBytes: Math.max(peak, process.memoryUsage.rss()) - before }
}

const megabyte = 1024 * 1024

test('refuses a real bomb of 900 megapixels in 110 kB before a pixel is unpacked', async () => {
  const bomb = greyPng({ side: 30_000 })
  expect(bomb.length).toBeLessThan(150_000)
  const { result, grownBytes } = await peakOf(async () => await decodeImage(bomb))
  expect(result).toMatchObject({ ok: false, failure: { code: 'image-too-many-pixels' } })
  expect(grownBytes).toBeLessThan(64 * megabyte)
})

test('unpacks no more pixels than the header claims', async () => {
  const { result, grownBytes } = await peakOf(
    async () => await decodeImage(greyPng({ side: 64, rows: 3_000_000 })),
  )
  // Whether a decoder takes or refuses what is left over, it has not read it.
  if (result.ok) expect([result.image.width, result.image.height]).toEqual([64, 64])
  else expect(result.failure.code).toBe('image-corrupt')
  expect(grownBytes).toBeLessThan(64 * megabyte)
})

test.each(['zTXt', 'iCCP'] as const)('does not unpack 128 MB of %s beside an image', async (type) => {
  const bomb = greyPng({ side: 64, extra: [packedZeros(type)] })
  const { result, grownBytes } = await peakOf(async () => await decodeImage(bomb))
  if (result.ok) expect([result.image.width, result.image.height]).toEqual([64, 64])
  else expect(result.failure.code).toBe('image-corrupt')
  expect(grownBytes).toBeLessThan(64 * megabyte)
})

test('takes only the first of 2,000 frames', async () => {
  const frames = 2000
  const raw = { width: 64, height: 64 * frames, channels: 3, pageHeight: 64 } as const
  const gif = await sharp(Buffer.alloc(64 * 64 * 3 * frames), { raw })
    .gif()
    .toBuffer()
  const { result, grownBytes } = await peakOf(async () => await decodeImage(gif))
  expect(result).toMatchObject({ ok: true, image: { width: 64, height: 64 } })
  expect(grownBytes).toBeLessThan(64 * megabyte)
})
