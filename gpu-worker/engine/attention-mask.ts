// Who may look at whom, as numbers that are added to scores.

/** The mask's value where a row may not look: its exponential is exactly zero beside any other score. */
export const masked = -1e30

/** Mask of R rows in causal order, nothing between the prefix and them: [R, R]. */
export function causalMask(rowCount: number): Float32Array {
  const mask = new Float32Array(rowCount * rowCount)
  for (let row = 0; row < rowCount; row++) mask.fill(masked, row * rowCount + row + 1, (row + 1) * rowCount)
  return mask
}
