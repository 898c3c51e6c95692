// Decoded pixels to a small WebP. It does not know where it is kept.
import sharp from 'sharp'
import { thumbnailPixels } from '../../schemas/thumbnail.ts'

/** Of upright [height, width, 3]; never enlarged. Runs beside the event loop. */
export async function makeThumbnail({
  rgb,
  width,
  height,
}: {
  rgb: Uint8Array
  width: number
  height: number
}): Promise<Uint8Array> {
  const scale = Math.min(1, thumbnailPixels / Math.max(width, height))
  const side = (pixels: number) => Math.max(1, Math.round(pixels * scale))
  // The decoder has held the image to its limits already.
  return await sharp(rgb, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .resize(side(width), side(height), { fit: 'fill', kernel: 'cubic' })
    .webp({ quality: 75, effort: 1 })
    .toBuffer()
}
