// The flags that say how image files are read, the same for every verb that labels. It does not know how they are decoded.
import { z } from 'zod'
import { type DecodeLimits, defaultDecodeLimits as defaults } from '../gpu-worker/image/decode.ts'
import { defaultDecoderMemoryBytes, type DecoderPoolOptions } from '../gpu-worker/image/decoder-pool.ts'
import { readNumber } from './flag-values.ts'

export type DecodeFlags = { limits: DecodeLimits; pool: DecoderPoolOptions }

/** For parseArgs. */
export const decodeOptions = {
  'max-image-bytes': { type: 'string' },
  'max-image-pixels': { type: 'string' },
  'max-image-side': { type: 'string' },
  'decode-seconds': { type: 'string' },
  'decoders': { type: 'string' },
  'decoder-memory': { type: 'string' },
} as const

/** Lines of a usage text. */
export const decodeUsage = `  --max-image-bytes N    larger files are failed records, and are not read (${defaults.maxBytes})
  --max-image-pixels N   so are images with more pixels, as their header says, before any is decoded (${defaults.maxPixels})
  --max-image-side N     … or with more pixels along a side (${defaults.maxSide})
  --decode-seconds S     the longest that one image is decoded (${defaults.timeoutSeconds})
  --decoders N           images decoded at once, each in a process of its own (as many as cores, at most 4)
  --decoder-memory GB    the most that decoding one image may take (${(defaultDecoderMemoryBytes / 1e9).toFixed(1)})`

/** From the values of parseArgs. Throws UserError that says which flag is wrong. */
export function readDecodeFlags(values: {
  [name in keyof typeof decodeOptions]?: string | undefined
}): DecodeFlags {
  const count = (name: 'max-image-bytes' | 'max-image-pixels' | 'max-image-side') =>
    readNumber(`--${name}`, values[name], z.int().min(1))
  const seconds = readNumber('--decode-seconds', values['decode-seconds'], z.int().min(1).max(3600))
  const gigabytes = readNumber('--decoder-memory', values['decoder-memory'], z.number().min(0.2))
  return {
    limits: {
      maxBytes: count('max-image-bytes') ?? defaults.maxBytes,
      maxPixels: count('max-image-pixels') ?? defaults.maxPixels,
      maxSide: count('max-image-side') ?? defaults.maxSide,
      timeoutSeconds: seconds ?? defaults.timeoutSeconds,
    },
    pool: {
      processes: readNumber('--decoders', values.decoders, z.int().min(1).max(64)),
      memoryBytes: gigabytes === undefined ? undefined : Math.round(gigabytes * 1e9),
    },
  }
}
