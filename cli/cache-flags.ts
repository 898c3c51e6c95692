// The flags that say how much memory an engine takes, the same for every verb that opens one.
import { z } from 'zod'
import type { EngineOptions } from '../gpu-worker/engine/engine.ts'
import { CacheFormat } from '../schemas/model-manifest.ts'
import { readChoice, readNumber } from './flag-values.ts'

export type CacheFlags = Pick<EngineOptions, 'cacheFormat' | 'cacheBytes' | 'lowMemory'>

/** For parseArgs. */
export const cacheOptions = {
  'kv': { type: 'string' },
  'kv-memory': { type: 'string' },
  'low-memory': { type: 'boolean' },
} as const

/** Lines of a usage text. */
export const cacheUsage = `  --kv FORMAT            how images are cached while they are asked about: fp32, or int8 in a quarter of the memory
                         (int8 where the weights are int4, else fp32)
  --kv-memory GB         the most memory for that and for answers under way; what does not fit waits
  --low-memory           keep only the weights in memory that a stage needs; slower for each image`

/** From the values of parseArgs. Throws UserError that says which flag is wrong. */
export function readCacheFlags(values: {
  [name in keyof typeof cacheOptions]?: (typeof cacheOptions)[name]['type'] extends 'boolean'
    ? boolean | undefined
    : string | undefined
}): CacheFlags {
  const format = readChoice('--kv', values.kv, CacheFormat.options)
  const gigabytes = readNumber('--kv-memory', values['kv-memory'], z.number().positive())
  return {
    ...(format === undefined ? {} : { cacheFormat: format }),
    ...(gigabytes === undefined ? {} : { cacheBytes: gigabytes * 1e9 }),
    ...(values['low-memory'] === true ? { lowMemory: true } : {}),
  }
}
