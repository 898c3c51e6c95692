// Bytes to upright 8-bit RGB: the only file that knows sharp. Whatever is wrong with an image comes back as a value.
import sharp from 'sharp'
import type { Metadata, Sharp } from 'sharp'
import type { Failure, FailureCode } from '../../schemas/failure.ts'
import { opaqueGif } from './opaque-gif.ts'
import { looksTruncated, mimeOfFormat, sniffFormat } from './sniff.ts'
import type { ImageFormat } from './sniff.ts'

export type DecodeLimits = {
  /** Of the file. */
  maxBytes: number
  /** Width times height, read from the header before anything is decoded. */
  maxPixels: number
  /** Of one side; bounds the resize tables. */
  maxSide: number
  timeoutSeconds: number
}

export const defaultDecodeLimits: DecodeLimits = {
  maxBytes: 64 * 1024 * 1024,
  maxPixels: 100_000_000,
  maxSide: 100_000,
  timeoutSeconds: 60,
}

export type DecodedImage = {
  /** [height, width, 3], upright. */
  rgb: Uint8Array
  width: number
  height: number
  /** As the file stores it, before its EXIF orientation is applied. */
  storedWidth: number
  storedHeight: number
  /** EXIF tag 274, 1 to 8; 1 where it is missing or none of these. */
  orientation: number
  mime: string
  format: ImageFormat
}

export type DecodeResult = { ok: true; image: DecodedImage } | { ok: false; failure: Failure }

/**
 * Sets the native decoder's threads an image for this process, limits it to the loaders of the formats we name, and
 * turns its cache off, which only repeated files would use. Several images are decoded at a time, so one thread each is enough.
 */
export function configureDecoder({ threads }: { threads: number }): void {
  sharp.cache(false)
  sharp.concurrency(threads)
  sharp.block({ operation: ['VipsForeignLoad'] })
  sharp.unblock({ operation: [...allowedLoaders] })
}

/**
 * The native loaders of the formats we name, and no others that a build of libvips may have. SVG is for our own drawings:
 * what a user brings is refused by its first bytes before sharp sees it.
 */
const allowedLoaders = [
  'VipsForeignLoadJpeg',
  'VipsForeignLoadPng',
  'VipsForeignLoadWebp',
  'VipsForeignLoadNsgif',
  'VipsForeignLoadTiff',
  'VipsForeignLoadHeif',
  'VipsForeignLoadSvg',
] as const

/**
 * Decodes one image as Pillow's `convert('RGB')` does: alpha is dropped and not composited, grey is replicated, a
 * palette expanded, of 16 bits the upper 8 kept, CMYK converted by Pillow's formula, ICC profiles ignored, and of an
 * animation the first frame taken. Unlike the reference, EXIF orientation is applied, and greys of 16 bits keep their upper
 * 8, too, where Pillow makes all but the darkest white. Never throws for what an image holds.
 */
export async function decodeImage(bytes: Buffer, limits: Partial<DecodeLimits> = {}): Promise<DecodeResult> {
  const { maxBytes, maxPixels, maxSide, timeoutSeconds } = { ...defaultDecodeLimits, ...limits }
  if (bytes.length === 0) return fail('image-empty', 'the file has 0 bytes; expected an image')
  if (bytes.length > maxBytes) {
    return fail('image-too-large', `the file has ${bytes.length} bytes; at most ${maxBytes} are decoded`)
  }
  const sniffed = sniffFormat(bytes)
  if (sniffed.format === null) {
    const formats = Object.keys(mimeOfFormat).join(', ')
    return fail(
      'image-format-unsupported',
      `the bytes look like ${sniffed.looksLike}; expected one of ${formats}; convert the file`,
    )
  }
  const { format } = sniffed
  try {
    const metadata = await openSharp(bytes, 'none').metadata()
    const { width, height } = metadata
    if (width * height > maxPixels || Math.max(width, height) > maxSide) {
      const allowed = `${maxPixels} pixels and ${maxSide} a side`
      return fail(
        'image-too-many-pixels',
        `the header says ${width} x ${height} pixels; at most ${allowed} are decoded`,
      )
    }
    const drawn = format === 'gif' ? opaqueGif(bytes) : bytes
    const { data, info } = await decodeUpright({ bytes: drawn, metadata, timeoutSeconds })
    const orientation = readOrientation(metadata)
    return {
      ok: true,
      image: {
        rgb: info.channels === 4 ? cmykToRgb(data) : data,
        width: info.width,
        height: info.height,
        storedWidth: width,
        storedHeight: height,
        orientation,
        mime: mimeOfFormat[format],
        format,
      },
    }
  } catch (error) {
    return describeFailure({ error, bytes, format, timeoutSeconds })
  }
}

/**
 * `failOn: 'error'` refuses images whose data ends early but not those with a harmless oddity (a wrong colour chunk,
 * stray bytes before a marker), which Pillow reads as well.
 */
function openSharp(bytes: Buffer, failOn: 'none' | 'error'): Sharp {
  return sharp(bytes, { failOn, ignoreIcc: true, limitInputPixels: false, pages: 1, sequentialRead: true })
}

async function decodeUpright({
  bytes,
  metadata,
  timeoutSeconds,
}: {
  bytes: Buffer
  metadata: Metadata
  timeoutSeconds: number
}): Promise<{ data: Buffer; info: { width: number; height: number; channels: number } }> {
  const upright = openSharp(bytes, 'error').autoOrient().timeout({ seconds: timeoutSeconds })
  // Left to itself, sharp converts CMYK with a colour profile of its own.
  const inColour =
    metadata.space === 'cmyk'
      ? upright.pipelineColourspace('cmyk').toColourspace('cmyk')
      : upright.removeAlpha().toColourspace('srgb')
  const { data, info } = await inColour.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
  const { width, height, channels } = info
  if (metadata.space === 'cmyk' ? channels === 4 : channels === 3)
    return { data, info: { width, height, channels } }
  throw new TypeError(`decoded to ${channels} channels; expected red, green and blue`)
}

/** [H, W, 4] to [H, W, 3] as Pillow's Convert.c (cmyk2rgb): each channel is (255 - ink) scaled by the light black lets through. */
function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3)
  for (let from = 0, to = 0; from < cmyk.length; from += 4, to += 3) {
    const light = 255 - (cmyk[from + 3] ?? 0)
    for (let channel = 0; channel < 3; channel++) {
      const product = (cmyk[from + channel] ?? 0) * light + 128
      rgb[to + channel] = Math.max(0, light - (((product >> 8) + product) >> 8))
    }
  }
  return rgb
}

function readOrientation({ orientation }: Metadata): number {
  return orientation !== undefined && orientation >= 1 && orientation <= 8 ? orientation : 1
}

function fail(code: FailureCode, message: string): DecodeResult {
  return { ok: false, failure: { code, message } }
}

/** Every error here comes from the native decoder and is about these bytes, so it becomes this image's failure. */
function describeFailure({
  error,
  bytes,
  format,
  timeoutSeconds,
}: {
  error: unknown
  bytes: Buffer
  format: ImageFormat
  timeoutSeconds: number
}): DecodeResult {
  const said = (error instanceof Error ? error.message : String(error))
    .replaceAll(/\s+/g, ' ')
    .trim()
    .slice(0, 300)
  if (/^timeout:/i.test(said)) return fail('timed-out', `decoding took longer than ${timeoutSeconds} s`)
  const name = format.toUpperCase()
  if (
    looksTruncated({ bytes, format }) ||
    /premature end|truncated|end of (file|data)|unexpected end/i.test(said)
  ) {
    return fail('image-truncated', `the ${name} ends before its data does (${said}); fetch the file again`)
  }
  return fail('image-corrupt', `the ${name} cannot be decoded: ${said}`)
}
