// Who may look at whom, as numbers that are added to scores.

/** The mask's value where a row may not look: its exponential is exactly zero beside any other score. */
export const masked = -1e30

/** Mask of R rows in causal order behind others that all of them see, none where it is left out: [R, behind + R]. */
export function causalMask(rowCount: number, behind = 0): Float32Array {
  const width = behind + rowCount
  const mask = new Float32Array(rowCount * width)
  for (let row = 0; row < rowCount; row++)
    mask.fill(masked, row * width + behind + row + 1, (row + 1) * width)
  return mask
}
