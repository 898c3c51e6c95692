// Upright pixels to a JPEG without metadata, as large as whoever wants it allows. It does not know who that is.
import sharp from 'sharp'
import { UserError } from '../../schemas/errors.ts'
import { decodeImage } from './decode.ts'

/** High enough that training does not see the difference; 4:4:4, because text and drawings have sharp colours. */
const quality = 95

/** Any image that can be decoded, as a JPEG. Throws UserError for one that cannot. */
export async function encodeJpeg(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const decoded = await decodeImage(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  if (!decoded.ok) throw new UserError(`${name} cannot be decoded: ${decoded.failure.message}`)
  const { rgb, width, height } = decoded.image
  return await sharp(rgb, { raw: { width, height, channels: 3 } })
    .jpeg({ quality, chromaSubsampling: '4:4:4' })
    .toBuffer()
}

type Upright = { rgb: Uint8Array; width: number; height: number }
export type PictureLimits = { grid: number; minPixels: number; maxPixels: number }
export type EncodedPicture = { bytes: Uint8Array; mime: string; width: number; height: number }

/** A JPEG for somebody else's model, within its limits of size. */
export async function encodePicture({
  rgb,
  width,
  height,
  ...limits
}: Upright & PictureLimits): Promise<EncodedPicture> {
  const size = pictureSize({ width, height }, limits)
  const bytes = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .resize({ ...size, fit: 'fill', kernel: 'cubic' })
    .jpeg({ quality, chromaSubsampling: '4:4:4' })
    .toBuffer()
  return { bytes, mime: 'image/jpeg', ...size }
}

/**
 * The size nearest an image's own that has both sides on the grid and its pixels within the limits: smart_resize of
 * Qwen2-VL (qwen_vl_utils, vision_process.py), so that a server which does the same changes nothing any more.
 */
function pictureSize(
  { width, height }: { width: number; height: number },
  { grid, minPixels, maxPixels }: PictureLimits,
): { width: number; height: number } {
  const fit = (scale: number, round: (value: number) => number) => ({
    width: Math.max(grid, round((width * scale) / grid) * grid),
    height: Math.max(grid, round((height * scale) / grid) * grid),
  })
  const near = fit(1, Math.round)
  const pixels = width * height
  if (near.width * near.height > maxPixels) return fit(Math.sqrt(maxPixels / pixels), Math.floor)
  if (near.width * near.height < minPixels) return fit(Math.sqrt(minPixels / pixels), Math.ceil)
  return near
}
