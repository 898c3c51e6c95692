// How sure a share is that was counted on a sample. Pure.

/** Two-sided 95 %: the normal quantile of 0.975. */
const z95 = 1.959963984540054

/** Wilson's score interval (1927, eq. 2) of `hits` among `count`; all of [0, 1] when nothing was counted. */
export function wilson(hits: number, count: number): { low: number; high: number } {
  if (count === 0) return { low: 0, high: 1 }
  const [share, squared] = [hits / count, z95 ** 2]
  const middle = share + squared / (2 * count)
  const half = z95 * Math.sqrt((share * (1 - share)) / count + squared / (4 * count ** 2))
  const under = 1 + squared / count
  return { low: Math.max(0, (middle - half) / under), high: Math.min(1, (middle + half) / under) }
}
