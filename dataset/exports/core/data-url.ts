// An image as a URL: where it is, or its bytes inside. It knows no format.
import type { ExportImage, WriterContext } from './format.ts'

/** What every service takes that gets bytes of images in a request; TIFF, AVIF, GIF and the like become JPEGs. */
export const embeddedTypes: ReadonlySet<string> = new Set(['image/jpeg', 'image/png', 'image/webp'])

/** A data URL where images are embedded; otherwise what `place` says. */
export async function imageUrl(image: ExportImage, { imageMode }: WriterContext): Promise<string> {
  if (imageMode !== 'embed') return await image.place()
  const { mime, base64 } = await embedImage(image)
  return `data:${mime};base64,${base64}`
}

/** The bytes as they go into a request; those that are too large as they are may be small enough as a JPEG. */
export async function embedImage(
  image: ExportImage,
  maxBytes = Infinity,
): Promise<{ mime: string; base64: string }> {
  if (embeddedTypes.has(image.mime)) {
    const bytes = await image.bytes()
    if (bytes.length <= maxBytes || image.mime === 'image/jpeg')
      return { mime: image.mime, base64: Buffer.from(bytes).toString('base64') }
  }
  return { mime: 'image/jpeg', base64: Buffer.from(await image.bytes('jpeg')).toString('base64') }
}
