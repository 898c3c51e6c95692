// An image as a URL: where it is, or its bytes inside. It knows no format.
import { isRgb } from './colour-mode.ts'
import type { ExportImage, WriterContext } from './format.ts'

/** What every service takes that gets bytes of images in a request; TIFF, AVIF, GIF and the like become JPEGs. */
export const embeddedTypes: ReadonlySet<string> = new Set(['image/jpeg', 'image/png', 'image/webp'])

/** What a service wants beyond that; an image that is otherwise becomes a JPEG. */
export type EmbedLimits = { maxBytes?: number; isRgbOnly?: boolean }

/** A data URL where images are embedded; otherwise what `place` says. */
export async function imageUrl(
  image: ExportImage,
  { imageMode }: WriterContext,
  limits: EmbedLimits = {},
): Promise<string> {
  if (imageMode !== 'embed') return await image.place()
  const { mime, base64 } = await embedImage(image, limits)
  return `data:${mime};base64,${base64}`
}

/** The bytes as they go into a request; those that are too large as they are may be small enough as a JPEG. */
export async function embedImage(
  image: Pick<ExportImage, 'mime' | 'bytes'>,
  { maxBytes = Infinity, isRgbOnly = false }: EmbedLimits = {},
): Promise<{ mime: string; base64: string }> {
  if (embeddedTypes.has(image.mime)) {
    const bytes = await image.bytes()
    const isTaken = !isRgbOnly || isRgb(bytes) !== false
    if (isTaken && (bytes.length <= maxBytes || image.mime === 'image/jpeg'))
      return { mime: image.mime, base64: Buffer.from(bytes).toString('base64') }
  }
  const jpeg = await image.bytes(isRgbOnly ? 'rgb-jpeg' : 'jpeg')
  return { mime: 'image/jpeg', base64: Buffer.from(jpeg).toString('base64') }
}
