// A 64-bit difference hash, to find images that look alike. Pure; it knows no file and compares nothing.
import { cellSpan } from './cell-span.ts'

const columns = 9
const rows = 8

/**
 * dHash of [height, width, 3] upright RGB as 16 hex digits. The image is averaged into a 9 x 8 grid of luma (ITU-R
 * BT.601, integer weights); bit 63 - (8 row + column) is set where a cell is brighter than its right neighbour.
 * Near duplicates differ in few bits; a flat image is 0.
 */
export function perceptualHash({
  rgb,
  width,
  height,
}: {
  rgb: Uint8Array
  width: number
  height: number
}): string {
  const luma = averageGrid({ rgb, width, height })
  let hash = 0n
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column + 1 < columns; column++) {
      const at = row * columns + column
      hash = (hash << 1n) | ((luma[at] ?? 0) > (luma[at + 1] ?? 0) ? 1n : 0n)
    }
  }
  return hash.toString(16).padStart(16, '0')
}

/** Mean luma of each cell; a cell of an image smaller than the grid is the pixel it falls on. */
function averageGrid({
  rgb,
  width,
  height,
}: {
  rgb: Uint8Array
  width: number
  height: number
}): Float64Array {
  const grid = new Float64Array(columns * rows)
  for (let row = 0; row < rows; row++) {
    const [top, bottom] = cellSpan(row, rows, height)
    for (let column = 0; column < columns; column++) {
      const [left, right] = cellSpan(column, columns, width)
      let sum = 0
      for (let y = top; y < bottom; y++) {
        for (let at = (y * width + left) * 3; at < (y * width + right) * 3; at += 3) {
          sum += 299 * (rgb[at] ?? 0) + 587 * (rgb[at + 1] ?? 0) + 114 * (rgb[at + 2] ?? 0)
        }
      }
      grid[row * columns + column] = sum / ((bottom - top) * (right - left))
    }
  }
  return grid
}
