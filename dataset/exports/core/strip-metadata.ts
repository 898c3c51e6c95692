// Taking metadata out of image files without touching a pixel: JPEG, PNG and WebP. Kept are the colour profile and the
// EXIF orientation, without which boxes would lie elsewhere. It does not know exports.
import { crc32 } from 'node:zlib'
import { jpegSegments, startOfScan } from './jpeg-segments.ts'
import { UnfitImage } from './unfit-image.ts'

/** Places, times, cameras, comments and thumbnails go. Throws UnfitImage for what it cannot strip. */
export function stripMetadata(
  bytes: Uint8Array,
  { mime, orientation }: { mime: string; orientation: number },
): Uint8Array {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const keep = orientation === 1 ? null : tinyExif(orientation)
  if (mime === 'image/jpeg') return stripJpeg(buffer, keep)
  if (mime === 'image/png') return stripPng(buffer, keep)
  if (mime === 'image/webp') return stripWebp(buffer, keep)
  throw new UnfitImage(`whose type (${mime}) has its metadata taken out only by encoding it again`)
}

/** A TIFF block with one entry: tag 274, orientation (EXIF 2.3, 4.6.2 to 4.6.4). */
function tinyExif(orientation: number): Buffer {
  const tiff = Buffer.alloc(26)
  tiff.write('MM\0*', 0, 'latin1')
  tiff.writeUInt32BE(8, 4)
  tiff.writeUInt16BE(1, 8)
  tiff.writeUInt16BE(274, 10)
  tiff.writeUInt16BE(3, 12)
  tiff.writeUInt32BE(1, 14)
  tiff.writeUInt16BE(orientation, 18)
  return tiff
}

/** Segments before the scan: APP0 (JFIF), APP2 with an ICC profile and APP14 (Adobe, how colours are coded) stay. */
function stripJpeg(bytes: Buffer, exif: Buffer | null): Buffer {
  const kept = [bytes.subarray(0, 2)]
  if (exif !== null) {
    const header = Buffer.from([0xff, 0xe1, 0, 0])
    header.writeUInt16BE(exif.length + 8, 2)
    kept.push(header, Buffer.from('Exif\0\0', 'latin1'), exif)
  }
  for (const { marker, start, end } of jpegSegments(bytes)) {
    if (marker === startOfScan) return Buffer.concat([...kept, ...jpegScans(bytes, start)])
    const isApp = marker >= 0xe0 && marker <= 0xef
    const isIcc = marker === 0xe2 && bytes.toString('latin1', start + 4, start + 15) === 'ICC_PROFILE'
    const stays = (!isApp && marker !== 0xfe) || marker === 0xe0 || marker === 0xee || isIcc
    if (stays) kept.push(bytes.subarray(start, end))
  }
  throw unreadable('JPEG')
}

/** From the first scan to the end of the image; what cameras append behind it (thumbnails, videos) is cut off. */
function jpegScans(bytes: Buffer, start: number): Buffer[] {
  for (let at = start; ;) {
    const marker = bytes.indexOf(0xff, at)
    if (marker === -1 || marker + 1 >= bytes.length) return [bytes.subarray(start)]
    if (bytes[marker + 1] === 0xd9) return [bytes.subarray(start, marker + 2)]
    const isLong = ![0, 0xff].includes(bytes[marker + 1] ?? 0) && !isRestart(bytes[marker + 1] ?? 0)
    at =
      marker +
      (isLong && marker + 3 < bytes.length
        ? 2 + bytes.readUInt16BE(marker + 2)
        : bytes[marker + 1] === 0xff
          ? 1
          : 2)
  }
}

function isRestart(marker: number): boolean {
  return marker >= 0xd0 && marker <= 0xd7
}

const pngMetadata = new Set(['eXIf', 'tEXt', 'zTXt', 'iTXt', 'tIME', 'caBX'])

function stripPng(bytes: Buffer, exif: Buffer | null): Buffer {
  const kept = [bytes.subarray(0, 8)]
  for (let at = 8; at + 12 <= bytes.length;) {
    const type = bytes.toString('latin1', at + 4, at + 8)
    const end = at + 12 + bytes.readUInt32BE(at)
    if (end > bytes.length) throw unreadable('PNG')
    if (!pngMetadata.has(type)) kept.push(bytes.subarray(at, end))
    if (type === 'IHDR' && exif !== null) kept.push(pngChunk('eXIf', exif))
    if (type === 'IEND') return Buffer.concat(kept)
    at = end
  }
  throw unreadable('PNG')
}

function pngChunk(type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), content])
  const chunk = Buffer.alloc(body.length + 8)
  chunk.writeUInt32BE(content.length, 0)
  body.copy(chunk, 4)
  chunk.writeUInt32BE(crc32(body), body.length + 4)
  return chunk
}

const [webpExifFlag, webpXmpFlag] = [0x08, 0x04]

/** RIFF chunks; the flags of VP8X say which are there. */
function stripWebp(bytes: Buffer, exif: Buffer | null): Buffer {
  const kept: Buffer[] = []
  for (let at = 12; at + 8 <= bytes.length;) {
    const type = bytes.toString('latin1', at, at + 4)
    const end = at + 8 + bytes.readUInt32LE(at + 4)
    if (end > bytes.length) throw unreadable('WebP')
    const chunk = Buffer.concat([bytes.subarray(at, end), Buffer.alloc(end % 2)])
    if (type === 'VP8X') {
      const flags = (chunk[8] ?? 0) & ~(webpExifFlag | webpXmpFlag)
      chunk[8] = exif === null ? flags : flags | webpExifFlag
    }
    if (type !== 'EXIF' && type !== 'XMP ') kept.push(chunk)
    at = end + (end % 2)
  }
  if (exif !== null) {
    const header = Buffer.alloc(8)
    header.write('EXIF', 'latin1')
    header.writeUInt32LE(exif.length, 4)
    kept.push(header, exif)
  }
  const body = Buffer.concat(kept)
  const riff = Buffer.from(bytes.subarray(0, 12))
  riff.writeUInt32LE(body.length + 4, 4)
  return Buffer.concat([riff, body])
}

function unreadable(format: string): UnfitImage {
  return new UnfitImage(`that is no whole ${format} and cannot be stripped of its metadata`)
}
