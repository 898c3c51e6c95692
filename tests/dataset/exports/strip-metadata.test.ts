// Stripping: what a camera wrote is gone, pixels, colours and orientation are not.
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { stripMetadata } from '../../../dataset/exports/core/strip-metadata.ts'
import { decodeImage } from '../../../gpu-worker/image/decode.ts'

async function picture(format: 'jpeg' | 'png' | 'webp', orientation: number): Promise<Buffer> {
  const rgb = Buffer.from(Array.from({ length: 24 * 16 * 3 }, (_, index) => (index * 7) % 256))
  const exif = {
    IFD0: { Copyright: 'secret-place' },
    IFD3: { GPSLatitude: '51/1 30/1 0/1' },
  }
  return await sharp(rgb, { raw: { width: 24, height: 16, channels: 3 } })
    .withMetadata({ orientation })
    .withExifMerge(exif)
    .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/">secret-place</x:xmpmeta>')
    .withIccProfile('p3')
    .toFormat(format)
    .toBuffer()
}

test.each(
  (['jpeg', 'png', 'webp'] as const).flatMap((format) =>
    [1, 6].map((orientation) => [format, orientation] as const),
  ),
)('%s with orientation %i', async (format, orientation) => {
  const bytes = await picture(format, orientation)
  expect(bytes.includes('secret-place')).toBe(true)
  const stripped = Buffer.from(stripMetadata(bytes, { mime: `image/${format}`, orientation }))
  expect(stripped.includes('secret-place')).toBe(false)
  const metadata = await sharp(stripped).metadata()
  expect(metadata.icc?.length).toBe((await sharp(bytes).metadata()).icc?.length)
  expect(metadata.xmp).toBeUndefined()
  const [before, after] = [await decodeImage(bytes), await decodeImage(stripped)]
  expect(before.ok && before.image.orientation).toBe(orientation)
  expect(after.ok && [after.image.width, after.image.orientation]).toEqual([
    orientation === 6 ? 16 : 24,
    orientation,
  ])
  expect(after.ok && before.ok && Buffer.compare(after.image.rgb, before.image.rgb)).toBe(0)
})

test('cuts off what a camera appended behind a JPEG', async () => {
  const bytes = Buffer.concat([await picture('jpeg', 1), Buffer.from('a whole video')])
  expect(Buffer.from(stripMetadata(bytes, { mime: 'image/jpeg', orientation: 1 })).includes('video')).toBe(
    false,
  )
})

test('refuses what it cannot strip', () => {
  expect(() => stripMetadata(new Uint8Array(10), { mime: 'image/tiff', orientation: 1 })).toThrow(
    /whose type \(image\/tiff\).*only by encoding it again/,
  )
  expect(() => stripMetadata(new Uint8Array(10), { mime: 'image/png', orientation: 1 })).toThrow(
    /no whole PNG/,
  )
})
