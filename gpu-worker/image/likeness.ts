// How alike two pictures are, whatever their size and compression: a grid of mean colours each. Pure; it knows no files.
import { cellSpan } from './cell-span.ts'

/** Cells along each side. */
const cells = 12

/** Mean colour of each cell of an upright picture: [12, 12, 3], 432 bytes. */
export function thumbprint({
  rgb,
  width,
  height,
}: {
  rgb: Uint8Array
  width: number
  height: number
}): Uint8Array {
  const print = new Uint8Array(cells * cells * 3)
  for (let row = 0; row < cells; row += 1) {
    const [top, bottom] = cellSpan(row, cells, height)
    for (let column = 0; column < cells; column += 1) {
      const [left, right] = cellSpan(column, cells, width)
      const sums = [0, 0, 0]
      for (let y = top; y < bottom; y += 1)
        for (let x = left; x < right; x += 1)
          for (let channel = 0; channel < 3; channel += 1)
            sums[channel] = (sums[channel] ?? 0) + (rgb[(y * width + x) * 3 + channel] ?? 0)
      const count = (bottom - top) * (right - left)
      for (let channel = 0; channel < 3; channel += 1)
        print[(row * cells + column) * 3 + channel] = Math.round((sums[channel] ?? 0) / count)
    }
  }
  return print
}

/** Mean difference of two prints, in levels of 255. Above a limit it is not worked out to the end. */
export function printDistance(left: Uint8Array, right: Uint8Array, limit = Infinity): number {
  const most = limit * left.length
  let sum = 0
  for (let at = 0; at < left.length && sum <= most; at += 1)
    sum += Math.abs((left[at] ?? 0) - (right[at] ?? 0))
  return sum / left.length
}

/** Mean level of each quarter of a print and, last, of its red less its blue: what like pictures have in common. */
export function quartersOf(print: Uint8Array): number[] {
  const sums = [0, 0, 0, 0]
  let warmth = 0
  for (let at = 0; at < print.length; at += 3) {
    const [row, column] = [Math.floor(at / 3 / cells), (at / 3) % cells]
    const quarter = (row < cells / 2 ? 0 : 2) + (column < cells / 2 ? 0 : 1)
    const [red, green, blue] = [print[at] ?? 0, print[at + 1] ?? 0, print[at + 2] ?? 0]
    sums[quarter] = (sums[quarter] ?? 0) + (red + green + blue) / 3
    warmth += red - blue
  }
  const count = cells * cells
  return [...sums.map((sum) => (sum * 4) / count), warmth / count]
}
