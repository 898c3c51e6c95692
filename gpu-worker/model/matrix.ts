// Large matrices as streams of rows: [out, in] as the checkpoint stores them, read a few rows at a time.
import type { Checkpoint } from './checkpoint.ts'

export type Matrix = {
  name: string
  /** Output features. */
  rows: number
  /** Input features. */
  columns: number
  readRows(first: number, count: number): Promise<Float32Array<ArrayBuffer>>
}

/** The most float32 elements held at a time while a matrix streams by: 64 MB. */
const maxTileElements = 16 << 20

/** A tensor of the checkpoint seen as [shape[0], everything else]. The variant has checked its shape. */
export function matrixOf(checkpoint: Checkpoint, name: string): Matrix {
  const shape = checkpoint.shapes.get(name) ?? []
  const rows = shape[0] ?? 0
  const columns = shape.slice(1).reduce((product, size) => product * size, 1)
  return { name, rows, columns, readRows: (first, count) => checkpoint.readRows(name, first, count) }
}

/** Visits all rows in tiles of bounded size. */
export async function forEachTile(
  matrix: Matrix,
  visit: (tile: Float32Array<ArrayBuffer>, firstRow: number, rowCount: number) => Promise<void> | void,
): Promise<void> {
  const tileRows = Math.max(1, Math.min(matrix.rows, Math.floor(maxTileElements / matrix.columns)))
  for (let first = 0; first < matrix.rows; first += tileRows) {
    const count = Math.min(tileRows, matrix.rows - first)
    await visit(await matrix.readRows(first, count), first, count)
  }
}
