// What the card tells about an export, counted while its records stream by. Bounded: texts are counted, not kept.
import type { LabelRecord, RecordStatus } from '../../../schemas/label-record.ts'
import type { Verdict } from '../../../schemas/verdict.ts'
import { contentOfRecord, questionsOf } from './content.ts'

type Counts = Record<string, number>

export type TaskStatistics = {
  records: number
  images: number
  turns: number
  boxes: number
  /** Of texts and answers, by the word; the last bin holds all that are longer. */
  words: Histogram
}

export type Histogram = { binWidth: number; counts: number[]; total: number }

export type Statistics = {
  images: number
  records: number
  /** Rows, annotations or samples in the files. */
  entries: number
  tasks: Record<string, TaskStatistics>
  models: Record<
    string,
    { name: string; digest: string; weights: string; licence: string; engine: string; records: number }
  >
  /** `task@version spec` to records. */
  prompts: Record<
    string,
    { task: string; taskVersion: number; specHash: string; question: string; records: number }
  >
  checks: Record<string, { passed: number; failed: number; scores: number; scoreSum: number }>
  /** Of all records of the run that were looked at, also those left out. */
  statuses: Record<RecordStatus, number>
  failures: Counts
  leftOut: Counts
  verdicts: Counts
  cutOff: number
  repaired: number
  /** Images whose file lies on its side and was not turned. */
  rotated: number
  boxArea: Histogram
  boxesPerRecord: Histogram
  splits: Counts
  from: string | null
  to: string | null
}

/** Prompts and models beyond this many are counted together: a manifest may bring a question for each image. */
const maxNamed = 200

export function emptyStatistics(): Statistics {
  return {
    images: 0,
    records: 0,
    entries: 0,
    tasks: {},
    models: {},
    prompts: {},
    checks: {},
    statuses: { ok: 0, filtered: 0, failed: 0 },
    failures: {},
    leftOut: {},
    verdicts: {},
    cutOff: 0,
    repaired: 0,
    rotated: 0,
    boxArea: histogram(0.05, 20),
    boxesPerRecord: histogram(1, 21),
    splits: {},
    from: null,
    to: null,
  }
}

function histogram(binWidth: number, bins: number): Histogram {
  return { binWidth, counts: Array.from({ length: bins }, () => 0), total: 0 }
}

/** Takes in a record of the run, whether or not it is exported. */
export function countSeen(statistics: Statistics, { status, error }: LabelRecord): void {
  statistics.statuses[status] += 1
  if (error !== null) add(statistics.failures, error.code)
}

export function countVerdict(statistics: Statistics, { verdict }: Verdict): void {
  add(statistics.verdicts, verdict)
}

/** Takes in one image as it was exported. */
export function countImage(
  statistics: Statistics,
  { records, split }: { records: readonly LabelRecord[]; split: string | null },
): void {
  statistics.images += 1
  if (split !== null) add(statistics.splits, split)
  for (const task of new Set(records.map((record) => record.task))) taskOf(statistics, task).images += 1
  for (const record of records) countRecord(statistics, record)
}

function countRecord(statistics: Statistics, record: LabelRecord): void {
  statistics.records += 1
  const { text, turns, regions } = contentOfRecord(record)
  const task = taskOf(statistics, record.task)
  const boxes = regions.flatMap((region) => region.boxes)
  task.records += 1
  task.turns += turns.length
  task.boxes += boxes.length
  for (const words of text === null ? turns.map(({ answer }) => answer) : [text])
    count(task.words, words.split(/\s+/).filter((word) => word !== '').length)
  if (regions.length > 0) count(statistics.boxesPerRecord, boxes.length)
  for (const [x0, y0, x1, y1] of boxes) count(statistics.boxArea, (x1 - x0) * (y1 - y0))
  for (const { name, pass, score } of record.checks) {
    const check = (statistics.checks[name] ??= { passed: 0, failed: 0, scores: 0, scoreSum: 0 })
    check[pass ? 'passed' : 'failed'] += 1
    if (score !== null) check.scores += 1
    check.scoreSum += score ?? 0
  }
  if (record.finishReason === 'length') statistics.cutOff += 1
  if ((record.repairs ?? []).length > 0) statistics.repaired += 1
  if (statistics.from === null || record.createdAt < statistics.from) statistics.from = record.createdAt
  if (statistics.to === null || record.createdAt > statistics.to) statistics.to = record.createdAt
  countProvenance(statistics, record)
}

function countProvenance({ models, prompts }: Statistics, record: LabelRecord): void {
  const { model, task, taskVersion, specHash } = record
  const { name, digest, weights, licence, engine } = model
  const modelKey = named(models, `${digest} ${weights} ${engine}`)
  models[modelKey] ??= { name, digest, weights, licence, engine, records: 0 }
  models[modelKey].records += 1
  const promptKey = named(prompts, `${task}@${taskVersion} ${specHash}`)
  prompts[promptKey] ??= {
    task,
    taskVersion,
    specHash,
    question: questionsOf(record).join(' · ').slice(0, 200),
    records: 0,
  }
  prompts[promptKey].records += 1
}

function named(known: Record<string, unknown>, key: string): string {
  return Object.hasOwn(known, key) || Object.keys(known).length < maxNamed ? key : 'others'
}

function taskOf({ tasks }: Statistics, task: string): TaskStatistics {
  return (tasks[task] ??= { records: 0, images: 0, turns: 0, boxes: 0, words: histogram(1, 201) })
}

function count(into: Histogram, value: number): void {
  const bin = Math.min(into.counts.length - 1, Math.max(0, Math.floor(value / into.binWidth)))
  into.counts[bin] = (into.counts[bin] ?? 0) + 1
  into.total += 1
}

export function add(counts: Counts, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}
