// Who may look at whom in a run of the decoder, and rows that nobody sees in place of none. Knows no graph.
import { InvariantError } from '../../schemas/errors.ts'
import type { CompiledModel } from './compiled-model.ts'
import type { DecoderStep } from './decoder.ts'

/** The mask's value where a row may not look: its exponential is exactly zero beside any other score. */
export const masked = -1e30

/** Mask of R rows in causal order, nothing between the prefix and them: [R, R]. */
export function causalMask(rowCount: number): Float32Array {
  const mask = new Float32Array(rowCount * rowCount)
  for (let row = 0; row < rowCount; row++) mask.fill(masked, row * rowCount + row + 1, (row + 1) * rowCount)
  return mask
}

/**
 * A product over no keys leaves all but its first head unwritten in onnxruntime 1.30 (FusedMatMul), so an empty suffix
 * is one row that nobody sees, and so is an empty prefix where bos is a step: there the mask covers the prefix too.
 */
export function neverEmpty(
  { manifest }: CompiledModel,
  { slots, suffix, mask, positionIds }: DecoderStep,
): Pick<DecoderStep, 'slots' | 'suffix' | 'mask'> {
  const { layerCount, kvHeadCount, headDim } = manifest.language
  const rowCount = positionIds.length
  const blank = Array.from({ length: layerCount }, () => new Float32Array(kvHeadCount * headDim))
  const oneRow = { length: 1, keys: blank, values: blank }
  const behind =
    suffix.length > 0
      ? { suffix, mask }
      : { suffix: oneRow, mask: widen(mask, { rowCount, by: 1, value: masked }) }
  const [first] = slots
  const isEmpty = slots.some(({ prefix }) => prefix.length === 0)
  if (manifest.target === 'cpu') {
    if (isEmpty) throw new InvariantError('a step has an empty prefix')
    return { slots, ...behind }
  }
  const seen = { rowCount, by: first?.prefix.length ?? 0, value: 0 }
  if (!isEmpty) return { slots, ...behind, mask: widen(behind.mask, seen) }
  const nothing = { prefix: { format: 'fp32' as const, ...oneRow }, rowCount }
  return { slots: [nothing], ...behind, mask: widen(behind.mask, { rowCount, by: 1, value: masked }) }
}

/** A mask with so many columns more before its own, all of one value. */
function widen(
  mask: Float32Array,
  { rowCount, by, value }: { rowCount: number; by: number; value: number },
): Float32Array {
  const width = mask.length / rowCount
  const wider = new Float32Array(rowCount * (by + width)).fill(value)
  for (let row = 0; row < rowCount; row++)
    wider.set(mask.subarray(row * width, (row + 1) * width), row * (by + width) + by)
  return wider
}
