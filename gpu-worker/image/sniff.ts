// Tells an image format from its bytes. It decodes nothing and never looks at a file's name.

export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff' | 'avif'

export const mimeOfFormat: Readonly<Record<ImageFormat, string>> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  webp: 'image/webp',
  gif: 'image/gif',
  tiff: 'image/tiff',
  avif: 'image/avif',
}

/** The format the first bytes announce, or, for the message, a word for what they look like instead. */
export function sniffFormat(
  bytes: Uint8Array,
): { format: ImageFormat } | { format: null; looksLike: string } {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 512)).toString('latin1')
  if (head.startsWith('\xff\xd8\xff')) return { format: 'jpeg' }
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return { format: 'png' }
  if (head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP') return { format: 'webp' }
  if (head.startsWith('GIF87a') || head.startsWith('GIF89a')) return { format: 'gif' }
  if (/^(II[*+]\0|MM\0[*+])/.test(head)) return { format: 'tiff' }
  if (/^....ftypavi[fs]/s.test(head)) return { format: 'avif' }
  return { format: null, looksLike: nameUnsupported(head) }
}

function nameUnsupported(head: string): string {
  const text = head.replace(/^\xef\xbb\xbf/, '').trimStart()
  if (text.startsWith('%PDF')) return 'a PDF'
  if (/^<svg|^<\?xml[^]*<svg/i.test(text)) return 'an SVG'
  if (/^<(!doctype html|html|head|body)/i.test(text)) return 'an HTML page'
  if (head.startsWith('BM')) return 'a BMP'
  if (/^....ftyp(hei|hev|mif|msf)/s.test(head)) return 'a HEIC photo'
  if (head.startsWith('\xff\x0a') || head.slice(4, 8) === 'JXL ') return 'a JPEG XL image'
  if (head.startsWith('PK')) return 'a zip archive'
  if (/^[\t\n\r\x20-\x7e]+$/.test(head)) return 'text'
  return 'unknown data'
}

/**
 * Whether the file misses the mark its format ends with. Asked only to name a failure: a decoder that got every pixel
 * of a file without its last mark is right to be content.
 */
export function looksTruncated({ bytes, format }: { bytes: Uint8Array; format: ImageFormat }): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  switch (format) {
    case 'jpeg':
      return buffer.lastIndexOf('\xff\xd9', undefined, 'latin1') < jpegScanStart(buffer)
    case 'png':
      return !buffer.includes('IEND', undefined, 'latin1')
    case 'gif':
      return buffer.lastIndexOf(0x3b) < buffer.length - 16
    case 'webp':
      return buffer.length < 12 || buffer.readUInt32LE(4) + 8 > buffer.length
    case 'tiff':
      return buffer.length < 8 || tiffDirectoryOffset(buffer) >= buffer.length
    case 'avif':
      return lastBoxEnd(buffer) > buffer.length
    default:
      return format satisfies never
  }
}

/** Where the last scan header starts: an end mark before it belongs to an embedded thumbnail. */
function jpegScanStart(buffer: Buffer): number {
  return Math.max(buffer.lastIndexOf('\xff\xda', undefined, 'latin1'), 2)
}

function tiffDirectoryOffset(buffer: Buffer): number {
  const little = buffer[0] === 0x49
  if ((little ? buffer[2] : buffer[3]) === 0x2b) {
    if (buffer.length < 16) return Number.POSITIVE_INFINITY
    return Number(little ? buffer.readBigUInt64LE(8) : buffer.readBigUInt64BE(8))
  }
  return little ? buffer.readUInt32LE(4) : buffer.readUInt32BE(4)
}

/** Follows the top-level boxes (ISO 14496-12, clause 4.2) to where the last one says it ends. */
function lastBoxEnd(buffer: Buffer): number {
  let at = 0
  while (at + 8 <= buffer.length) {
    const size = buffer.readUInt32BE(at)
    if (size === 0) return buffer.length
    if (size < 8) break
    at += size
  }
  return at
}
