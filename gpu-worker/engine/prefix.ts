// Makes the prefix that all prompts of one image share: bos, then boi and the patches (visual expert, one position for
// all patches), then eoi (language expert).
import type { Decoder } from './decoder.ts'
import { causalMask } from './decoder.ts'
import { emptyRows, joinRows } from './kv-cache.ts'
import type { CacheRows } from './kv-cache.ts'
import type { Prefix } from './generation.ts'

/** Positions of an image's rows (paper section 2.2, "position embedding"): boi 1, every patch 2, eoi 3; text goes on at 4. */
export function imagePositions(patchRows: number): number[] {
  return [1, ...Array.from({ length: patchRows }, () => 2), 3]
}

/** Without an image: bos alone, text from position 1. */
export function textPrefix(bos: CacheRows): Prefix {
  return { rows: bos, nextPosition: 1 }
}

/** Runs the tower and prefills its rows behind bos. */
export async function imagePrefix(decoder: Decoder, bos: CacheRows, pixels: Float32Array): Promise<Prefix> {
  const { patchRows, hiddenSize } = decoder.compiled.manifest.vision
  const features = await decoder.encodeImage(pixels)
  const positionIds = imagePositions(patchRows)
  const { newRows } = await decoder.run({
    visionRows: features.subarray(0, (patchRows + 1) * hiddenSize),
    embeddedRows: features.subarray((patchRows + 1) * hiddenSize),
    tokenIds: [],
    positionIds,
    logitRows: [],
    prefix: bos,
    suffix: emptyRows(decoder.shape),
    mask: causalMask(bos.length, positionIds.length),
  })
  return { rows: joinRows(decoder.shape, bos, newRows), nextPosition: 4 }
}
