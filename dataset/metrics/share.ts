// Shares and means of which there may be none: nothing of nothing is 0. It does not know what is counted.

export function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}

export function mean(values: readonly number[]): number {
  return share(
    values.reduce((sum, value) => sum + value, 0),
    values.length,
  )
}
