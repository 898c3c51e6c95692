// Who may have cache memory next, as plain data. Pure: what is held and who waits in, a decision out.
//
// The limit is hard: what does not fit waits. It cannot wait for ever, as long as callers close their images: an image
// is opened only where the longest sequence still fits beside all prefixes, so with nothing running the first in line
// always can.
import type { CacheFormat } from '../../schemas/model-manifest.ts'
import type { CacheShape } from './kv-cache.ts'

export type CacheNeeds = {
  limitBytes: number
  /** Of one row of a sequence, all layers. */
  rowBytes: number
  /** Rows of the longest sequence that the model can make. */
  longestRows: number
}

export type CacheState = {
  /** Bytes of the prefixes of open images. */
  openBytes: number
  /** Rows promised to the sequences that run: prompt and longest answer. */
  runningRows: number
  /** The first image in line, by the bytes of its prefix. */
  opening: number | undefined
  /** Sequences in line, by the rows that each may come to. */
  waiting: readonly number[]
}

export type Admission = {
  /** Whether the first image in line is opened. */
  opens: boolean
  /** How many of the waiting sequences join, from the front: nobody is overtaken. */
  joins: number
}

/** Sequences that run at once; more would only make each step's scores larger. */
export const maxSequences = 64

/** An opening goes first: its prompts then share the steps of those that run. */
export function planAdmission(
  { limitBytes, rowBytes, longestRows }: CacheNeeds,
  { openBytes, runningRows, opening, waiting, runningCount }: CacheState & { runningCount: number },
): Admission {
  const fits = (prefixBytes: number, rows: number): boolean => prefixBytes + rows * rowBytes <= limitBytes
  const opens = opening !== undefined && fits(openBytes + opening, Math.max(runningRows, longestRows))
  let rows = runningRows
  let joins = 0
  for (const own of waiting) {
    if (runningCount + joins >= maxSequences) break
    if (!fits(openBytes + (opens ? (opening ?? 0) : 0), rows + own)) break
    rows += own
    joins += 1
  }
  return { opens, joins }
}

/** Bytes of an image's prefix: numbers, or bytes and a scale for each channel of a head. */
export function prefixBytes(
  { layerCount, kvHeadCount, headDim }: CacheShape,
  { rows, format }: { rows: number; format: CacheFormat },
): number {
  const perChannel = format === 'int8' ? rows + 4 : 4 * rows
  return layerCount * kvHeadCount * 2 * headDim * perChannel
}

/** A sequence's own rows are float32 in every format. */
export function suffixRowBytes(shape: CacheShape): number {
  return prefixBytes(shape, { rows: 1, format: 'fp32' })
}
