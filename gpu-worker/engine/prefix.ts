// Makes the prefix that all prompts of one image share: bos, then boi and the patches (visual expert, one position for
// all patches), then eoi (language expert).
import type { Decoder } from './decoder-contract.ts'
import type { Prefix } from './sequence.ts'

/** Positions of an image's rows (paper section 2.2, "position embedding"): boi 1, every patch 2, eoi 3; text goes on at 4. */
export function imagePositions(patchRows: number): number[] {
  return [1, ...Array.from({ length: patchRows }, () => 2), 3]
}

/**
 * Without an image: bos alone, text from position 1. The very first token is the same before every image and every
 * text, so it runs once: position 0, seeing itself.
 */
export async function textPrefix(decoder: Decoder): Promise<Prefix> {
  const { prefix, logits } = await decoder.extend(
    {
      visionRows: new Float32Array(0),
      embeddedRows: new Float32Array(0),
      tokenIds: [decoder.compiled.manifest.tokens.bos],
      positionIds: [0],
      logitRows: [0],
    },
    decoder.emptyPrefix(),
  )
  return { rows: prefix, nextPosition: 1, lastLogits: logits }
}

/** Runs the tower and prefills its rows behind bos. */
export async function imagePrefix(decoder: Decoder, bos: Prefix, pixels: Float32Array): Promise<Prefix> {
  const { patchRows, hiddenSize } = decoder.compiled.manifest.vision
  const features = await decoder.encodeImage(pixels)
  const positionIds = imagePositions(patchRows)
  const { prefix, logits } = await decoder.extend(
    {
      visionRows: features.subarray(0, (patchRows + 1) * hiddenSize),
      embeddedRows: features.subarray((patchRows + 1) * hiddenSize),
      tokenIds: [],
      positionIds,
      logitRows: [positionIds.length - 1],
    },
    bos.rows,
  )
  return { rows: prefix, nextPosition: 4, lastLogits: logits }
}
