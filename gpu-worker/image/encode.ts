// Upright pixels to a JPEG without metadata. It does not know who wants it.
import sharp from 'sharp'
import { UserError } from '../../schemas/errors.ts'
import { decodeImage } from './decode.ts'

/** High enough that training does not see the difference; 4:4:4, because text and drawings have sharp colours. */
const quality = 95

/** Any image that can be decoded, as a JPEG. Throws UserError for one that cannot. */
export async function encodeJpeg(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const decoded = await decodeImage(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  if (!decoded.ok) throw new UserError(`${name} cannot be made a JPEG: ${decoded.failure.message}`)
  const { rgb, width, height } = decoded.image
  return await sharp(rgb, { raw: { width, height, channels: 3 } })
    .jpeg({ quality, chromaSubsampling: '4:4:4' })
    .toBuffer()
}
