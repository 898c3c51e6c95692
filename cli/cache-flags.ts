// The flags that say how an engine caches keys and values, the same for every verb that opens one.
import { z } from 'zod'
import type { EngineOptions } from '../gpu-worker/engine/engine.ts'
import { CacheFormat } from '../schemas/model-manifest.ts'
import { readChoice, readNumber } from './flag-values.ts'

export type CacheFlags = Pick<EngineOptions, 'cacheFormat' | 'cacheBytes'>

/** For parseArgs. */
export const cacheOptions = { 'kv': { type: 'string' }, 'kv-memory': { type: 'string' } } as const

/** Lines of a usage text. */
export const cacheUsage = `  --kv FORMAT            how images are cached while they are asked about: fp32, or int8 in a quarter of the memory (fp32)
  --kv-memory GB         the most memory for that and for answers under way; what does not fit waits`

/** From the values of parseArgs. Throws UserError that says which flag is wrong. */
export function readCacheFlags(values: {
  [name in keyof typeof cacheOptions]?: string | undefined
}): CacheFlags {
  const format = readChoice('--kv', values.kv, CacheFormat.options)
  const gigabytes = readNumber('--kv-memory', values['kv-memory'], z.number().positive())
  return {
    ...(format === undefined ? {} : { cacheFormat: format }),
    ...(gigabytes === undefined ? {} : { cacheBytes: gigabytes * 1e9 }),
  }
}
