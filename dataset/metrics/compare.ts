// Two runs over the same images, metric by metric: the difference, and how far chance could have moved it. Pure.
import type { Grade } from './grade-image.ts'
import type { GradedImage } from './tally.ts'

export type Comparison = {
  metric: string
  share: number
  otherShare: number
  /** share - otherShare */
  difference: number
  /** The middle 95 % of the differences over resampled images (paired bootstrap, percentile method; Efron 1979). */
  low: number
  high: number
}

const resamples = 1000

type Sums = { right: number; total: number; otherRight: number; otherTotal: number }

/** One row for each metric of both; images are paired by position and resampled together. The same input gives the same interval. */
export function compareRuns(images: readonly GradedImage[], others: readonly GradedImage[]): Comparison[] {
  const metrics = [...new Set(images.flatMap(({ grades }) => grades.map(({ metric }) => metric)))]
  return metrics.flatMap((metric) => {
    const pairs = images.map(({ grades }, index) => {
      const [own, other] = [addUp(grades, metric), addUp(others[index]?.grades ?? [], metric)]
      return { right: own.right, total: own.total, otherRight: other.right, otherTotal: other.total }
    })
    const shares = sharesOf(pairs)
    if (shares === null) return []
    const random = createRandom()
    const differences = Array.from({ length: resamples }, () => {
      const drawn = sharesOf(pairs.map((_, __, all) => all[Math.floor(random() * all.length)] ?? noSums))
      return drawn === null ? 0 : drawn.share - drawn.otherShare
    }).toSorted((a, b) => a - b)
    const [low = 0, high = 0] = [
      differences[Math.floor(resamples * 0.025)],
      differences[Math.ceil(resamples * 0.975) - 1],
    ]
    return [{ metric, ...shares, difference: shares.share - shares.otherShare, low, high }]
  })
}

const noSums: Sums = { right: 0, total: 0, otherRight: 0, otherTotal: 0 }

function addUp(grades: readonly Grade[], metric: string): { right: number; total: number } {
  const own = grades.filter((grade) => grade.metric === metric)
  return {
    right: own.reduce((sum, grade) => sum + grade.right, 0),
    total: own.reduce((sum, grade) => sum + grade.total, 0),
  }
}

/** Null where either has nothing to get right. */
function sharesOf(pairs: readonly Sums[]): { share: number; otherShare: number } | null {
  let [right, total, otherRight, otherTotal] = [0, 0, 0, 0]
  for (const pair of pairs) {
    right += pair.right
    total += pair.total
    otherRight += pair.otherRight
    otherTotal += pair.otherTotal
  }
  return total === 0 || otherTotal === 0
    ? null
    : { share: right / total, otherShare: otherRight / otherTotal }
}

/** Tommy Ettinger's mulberry32 from a fixed seed: an interval is the same each time it is asked for. */
function createRandom(): () => number {
  let state = 2026
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
