// How the header of a JPEG or PNG says its colours are kept. It decodes nothing and knows no format.
import { jpegSegments } from './jpeg-segments.ts'

/** Whether a pixel is red, green and blue, perhaps with an alpha; null where the header does not say. */
export function isRgb(bytes: Uint8Array): boolean | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.toString('latin1', 0, 8) === '\x89PNG\r\n\x1a\n') return isRgbPng(buffer)
  if (buffer.toString('latin1', 0, 3) === '\xff\xd8\xff') return isRgbJpeg(buffer)
  // WebP has no other colours.
  return buffer.toString('latin1', 8, 12) === 'WEBP' ? true : null
}

/** Colour types 2 and 6 of IHDR; the others are grey or a palette. */
function isRgbPng(buffer: Buffer): boolean | null {
  const type = buffer[25]
  return type === undefined ? null : type === 2 || type === 6
}

/** The frame header has as many components as a pixel has numbers: one is grey, four are inks. */
function isRgbJpeg(buffer: Buffer): boolean | null {
  for (const { marker, start } of jpegSegments(buffer)) {
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
    const components = buffer[start + 9]
    if (isFrame && components !== undefined) return components === 3
  }
  return null
}
