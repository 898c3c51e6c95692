// An image as a URL: where it is, or its bytes inside. It knows no format.
import type { ExportImage, WriterContext } from './format.ts'

/** A data URL where images are embedded; otherwise what `place` says. */
export async function imageUrl(image: ExportImage, { imageMode }: WriterContext): Promise<string> {
  if (imageMode !== 'embed') return await image.place()
  return `data:${image.mime};base64,${Buffer.from(await image.bytes()).toString('base64')}`
}
