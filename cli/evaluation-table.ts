// An evaluation as a table for people. It counts nothing.
import type { Comparison } from '../dataset/metrics/compare.ts'
import type { Grade } from '../dataset/metrics/grade-image.ts'
import type { Figure, TallyRow } from '../dataset/metrics/tally.ts'
import type { RunModel } from '../schemas/run-config.ts'

/** What evaluation.json holds. */
export type Evaluation = {
  v: 1
  gold: string
  model: RunModel
  images: number
  /** Images of the gold that the run has no record of: all about them counts as wrong. */
  imagesMissing: number
  /** Tasks that the run has records of. */
  tasks: string[]
  metrics: TallyRow[]
  /** The same figures of another run, where one was given. */
  against: { model: RunModel; comparisons: Comparison[] } | null
  byImage: { key: string; objects: number; grades: readonly Grade[] }[]
}

/** Rows are metrics, columns the number of objects in an image; shares in percent. */
export function renderEvaluation(evaluation: Evaluation): string {
  const { model, images, imagesMissing, metrics, against } = evaluation
  const title = `${model.name} (${model.weights}) on ${images} images; percent right, overall and by number of objects`
  const parts = [
    [title],
    renderTable(evaluationTable(evaluation)),
    noteMissing(metrics, imagesMissing),
    against === null ? [] : renderAgainst(against),
  ]
  return parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')
}

/** The first row is the head. */
export function evaluationTable({ metrics }: Evaluation): string[][] {
  const objectCounts = [...new Set(metrics.flatMap(({ byObjects }) => Object.keys(byObjects)))].toSorted(
    (a, b) => Number(a) - Number(b),
  )
  const header = ['', 'all', ...objectCounts, 'of', 'missing']
  const rows = metrics.map(({ metric, all, byObjects, missing }) => [
    metric,
    percent(all),
    ...objectCounts.map((count) => percent(byObjects[count])),
    String(all.total),
    String(missing),
  ])
  return [header, ...rows]
}

/** First column to the left, the others to the right. */
export function renderTable(table: readonly (readonly string[])[]): string[] {
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  )
  return table.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  )
}

function renderAgainst({ model, comparisons }: NonNullable<Evaluation['against']>): string[] {
  const points = (share: number) => (share * 100).toFixed(1)
  const signed = (share: number) => `${share > 0 ? '+' : ''}${points(share)}`
  const rows = comparisons.map((row) => [
    row.metric,
    points(row.share),
    points(row.otherShare),
    signed(row.difference),
    `${signed(row.low)} to ${signed(row.high)}`,
  ])
  const header = ['', 'this', 'that', 'difference', '95 % interval']
  return [`against ${model.name} (${model.weights}), in points`, '', ...renderTable([header, ...rows])]
}

function percent(figure: Figure | undefined): string {
  return figure === undefined || figure.share === null ? '–' : (figure.share * 100).toFixed(1)
}

function noteMissing(metrics: readonly TallyRow[], imagesMissing: number): string[] {
  const missing = metrics.filter((row) => row.missing > 0).map(({ metric }) => metric)
  return [
    ...(imagesMissing > 0 ? [`${imagesMissing} images of the gold are not in the run`] : []),
    ...(missing.length > 0
      ? [
          `missing answers count as wrong (${missing.join(', ')}); label with the tasks and questions of the gold`,
        ]
      : []),
  ]
}
