// Tables of the rotary embedding, made outside the graph so that their precision is a choice. Pure.
import type { ModelManifest } from '../../schemas/model-manifest.ts'

export type RotaryTables = { positionCount: number; cos: Float32Array; sin: Float32Array }

/**
 * cos and sin of position times frequency, each [positionCount, headDim / 2].
 * `reference-bf16` rounds as the released code does when it is loaded in bfloat16: the frequencies, the positions, the
 * angles and the tables are each a bfloat16 number (256 is the last position that is exact).
 */
export function rotaryTables(rotary: ModelManifest['rotary'], positionCount: number): RotaryTables {
  const frequencies = Float32Array.from(rotary.inverseFrequencies)
  const cos = new Float32Array(positionCount * frequencies.length)
  const sin = new Float32Array(positionCount * frequencies.length)
  const round = rotary.mode === 'reference-bf16' ? roundToBfloat16 : Math.fround
  for (let position = 0; position < positionCount; position++) {
    for (const [index, frequency] of frequencies.entries()) {
      const angle = round(round(position) * round(frequency))
      cos[position * frequencies.length + index] = round(Math.cos(angle))
      sin[position * frequencies.length + index] = round(Math.sin(angle))
    }
  }
  return { positionCount, cos, sin }
}

const scratchFloat = new Float32Array(1)
const scratchBits = new Uint32Array(scratchFloat.buffer)

/** Nearest bfloat16, ties to even. */
export function roundToBfloat16(value: number): number {
  scratchFloat[0] = value
  const bits = scratchBits[0] ?? 0
  scratchBits[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff_0000
  return scratchFloat[0]
}
