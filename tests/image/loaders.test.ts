// The native loaders of a process that labels: those of the formats we name, and no others.
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { configureDecoder, decodeImage } from '../../gpu-worker/image/decode.ts'
import { drawLabels } from '../../gpu-worker/image/draw.ts'

const picture = () => sharp({ create: { width: 12, height: 9, channels: 3, background: '#357' } })

test('the native build can load no more than we name, besides our own drawings', () => {
  const loadable = Object.entries(sharp.format).flatMap(([name, { input }]) => (input.buffer ? [name] : []))
  // AVIF is read by the loader of HEIF; raw pixels have none.
  expect(loadable.toSorted()).toEqual(['gif', 'heif', 'jpeg', 'png', 'raw', 'svg', 'tiff', 'webp'])
})

test('with other loaders blocked, named formats are decoded and drawings are drawn', async () => {
  configureDecoder({ threads: 1 })
  const files = {
    jpeg: await picture().jpeg().toBuffer(),
    png: await picture().png().toBuffer(),
    webp: await picture().webp().toBuffer(),
    gif: await picture().gif().toBuffer(),
    tiff: await picture().tiff().toBuffer(),
    avif: await picture().avif().toBuffer(),
  }
  for (const [name, bytes] of Object.entries(files))
    expect([name, (await decodeImage(bytes)).ok]).toEqual([name, true])
  const decoded = await decodeImage(files.png)
  if (!decoded.ok) throw new Error(decoded.failure.message)
  const drawn = await drawLabels({
    image: decoded.image,
    phrases: [{ text: 'a', boxes: [[0, 0, 1, 1]] }],
    caption: 'a',
  })
  expect((await sharp(drawn).metadata()).format).toBe('png')
})
