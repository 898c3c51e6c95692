// How a side of a picture is divided into cells. Pure.

/** First pixel and one past the last of a cell; of a side with fewer pixels than cells, the pixel the cell falls on. */
export function cellSpan(cell: number, cells: number, length: number): [from: number, to: number] {
  const from = Math.floor((cell * length) / cells)
  return [from, Math.max(from + 1, Math.floor(((cell + 1) * length) / cells))]
}
