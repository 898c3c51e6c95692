// Grades of many images added up: one row a metric, split by how many objects an image has. It knows no metric.
import type { Grade } from './grade-image.ts'

export type Figure = {
  right: number
  total: number
  /** right / total; null when there was nothing to get right. */
  share: number | null
}

export type TallyRow = {
  metric: string
  all: Figure
  /** By number of objects in the image, as a string because JSON keys are. */
  byObjects: Record<string, Figure>
  /** Answers that the run does not have; each counts as wrong. */
  missing: number
}

export type GradedImage = { key: string; objects: number; grades: readonly Grade[] }

/** One row for each metric, in order of first appearance. Sums, not means of means: each object and question weighs the same. */
export function tally(images: readonly GradedImage[]): TallyRow[] {
  const metrics = new Set(images.flatMap(({ grades }) => grades.map(({ metric }) => metric)))
  return [...metrics].map((metric) => {
    const rows = images.flatMap(({ objects, grades }) =>
      grades.filter((grade) => grade.metric === metric).map((grade) => ({ objects, grade })),
    )
    const byObjects = Map.groupBy(rows, ({ objects }) => objects)
    const figures = [...byObjects]
      .toSorted(([a], [b]) => a - b)
      .map(([objects, some]) => [String(objects), addUp(some.map(({ grade }) => grade))] as const)
    return {
      metric,
      all: addUp(rows.map(({ grade }) => grade)),
      byObjects: Object.fromEntries(figures),
      missing: rows.reduce((sum, { grade }) => sum + grade.missing, 0),
    }
  })
}

function addUp(grades: readonly Grade[]): Figure {
  const right = grades.reduce((sum, grade) => sum + grade.right, 0)
  const total = grades.reduce((sum, grade) => sum + grade.total, 0)
  return { right, total, share: total === 0 ? null : right / total }
}
