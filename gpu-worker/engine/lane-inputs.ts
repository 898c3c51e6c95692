// What the graph takes of a suffix's lanes: whose query meets each lane, what of it that row may see, and which lanes
// make up a row's sum. Pure.
import { masked } from './attention-mask.ts'
import type { Lanes } from './decoder-contract.ts'

export type LaneInputs = {
  size: number
  /** [lanes]: a row, any where nobody asks. */
  rows: readonly number[]
  /** [lanes, 1, size] */
  mask: Float32Array
  /** [R, lanes]: 1 where the lane is the row's. */
  sums: Float32Array
}

/** Lanes of a step with its mask [R, slots + R]. A step without lanes has one that nobody sees. */
export function laneInputs({
  lanes,
  mask,
  rowCount,
  slotCount,
}: {
  lanes: Lanes | undefined
  mask: Float32Array
  rowCount: number
  slotCount: number
}): LaneInputs {
  const { size, rows } = lanes ?? { size: slotCount, rows: [undefined] }
  const laneMask = new Float32Array(rows.length * size).fill(masked)
  const sums = new Float32Array(rowCount * rows.length)
  for (const [lane, row] of rows.entries()) {
    if (row === undefined) continue
    const start = row * (slotCount + rowCount) + lane * size
    laneMask.set(mask.subarray(start, start + size), lane * size)
    sums[row * rows.length + lane] = 1
  }
  return { size, rows: rows.map((row) => row ?? 0), mask: laneMask, sums }
}
