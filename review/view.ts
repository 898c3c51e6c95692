// Which images and records a reviewer walks through, in which order: filters, sorting, samples. Pure over the index.
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { RecordStatus } from '../schemas/label-record.ts'
import type { Verdict } from '../schemas/verdict.ts'
import type { IndexedImage, IndexedRecord } from './index-entry.ts'
import { wilson } from './interval.ts'
import { linesOf } from './page/text.js'

const Flag = z.literal('1').transform(() => true)

/** The page's query string. Unknown names are ignored, so that an old bookmark still opens. */
export const ViewQuery = z.object({
  task: z.string().max(60).optional(),
  status: RecordStatus.optional(),
  verdict: z.enum(['none', 'any', 'accept', 'reject', 'edit']).optional(),
  text: z.string().max(1000).optional(),
  check: z.string().max(200).optional(),
  pass: z.enum(['yes', 'no']).optional(),
  from: z.coerce.number().optional().describe('score of the check, at least'),
  to: z.coerce.number().optional().describe('score of the check, at most'),
  near: Flag.optional().describe('only images that look like another'),
  differs: Flag.optional().describe('only records that the other run answers otherwise'),
  where: z.string().max(10_000).optional(),
  sort: z.enum(['key', 'score', 'score-down', 'longest', 'shortest', 'boxes', 'near']).default('key'),
  sample: z.coerce.number().int().min(1).max(100_000).optional(),
  seed: z.coerce.number().int().min(0).default(0),
})
export type ViewQuery = z.infer<typeof ViewQuery>

export type ViewItem = { image: number; records: number[] }
export type View = { items: ViewItem[]; recordCount: number }

export type ViewContext = {
  images: readonly IndexedImage[]
  verdicts: ReadonlyMap<string, Verdict>
  /** Of records that the condition takes; null when there is no condition. */
  wanted: ReadonlySet<string> | null
  /** Of records that the other run answers otherwise; null when there is no other run. */
  differing: ReadonlySet<string> | null
}

/** The walk that a query asks for. Every record of an item is a stop; the image's others stand beside them. */
export function makeView(query: ViewQuery, context: ViewContext): View {
  const matches = matcher(query, context)
  const needle = needleOf(query)
  let items: ViewItem[] = []
  for (const [image, entry] of context.images.entries()) {
    if (query.near === true && entry.groupSize < 2) continue
    const isNamed = needle !== '' && entry.key.toLowerCase().includes(needle)
    const records: number[] = []
    for (const [index, record] of entry.records.entries()) if (matches(record, isNamed)) records.push(index)
    if (records.length > 0) items.push({ image, records })
  }
  if (query.sample !== undefined) items = drawSample(items, { count: query.sample, query, context })
  const recordCount = items.reduce((sum, { records }) => sum + records.length, 0)
  return { items: sortItems(items, { query, context }), recordCount }
}

function matcher(query: ViewQuery, { verdicts, wanted, differing }: ViewContext) {
  const { task, status, verdict, check, pass, from, to, differs } = query
  const needle = needleOf(query)
  const says = (record: IndexedRecord) =>
    record.text.includes(needle) || wordsOf(verdicts.get(record.recordId)).includes(needle)
  return (record: IndexedRecord, isNamed: boolean): boolean => {
    if (task !== undefined && record.task !== task) return false
    if (status !== undefined && record.status !== status) return false
    if (needle !== '' && !isNamed && !says(record)) return false
    if (verdict !== undefined && !hasVerdict(verdicts.get(record.recordId), verdict)) return false
    if (wanted !== null && !wanted.has(record.recordId)) return false
    if (differs === true && differing?.has(record.recordId) !== true) return false
    if (check === undefined && pass === undefined) return true
    return record.checks.some(
      (one) =>
        (check === undefined || one.name === check) &&
        (pass === undefined || one.pass === (pass === 'yes')) &&
        (from === undefined || (one.score ?? Number.NaN) >= from) &&
        (to === undefined || (one.score ?? Number.NaN) <= to),
    )
  }
}

function needleOf({ text }: ViewQuery): string {
  return text?.trim().toLowerCase() ?? ''
}

/** What a person wrote about a record: the label in its place and why. */
function wordsOf(verdict: Verdict | undefined): string {
  if (verdict === undefined) return ''
  const { output, comment = '' } = verdict
  return `${output === undefined ? '' : linesOf(output).join('\n')}\n${comment}`.toLowerCase()
}

function hasVerdict(given: Verdict | undefined, asked: NonNullable<ViewQuery['verdict']>): boolean {
  const verdict = given === undefined || given.verdict === 'withdraw' ? null : given.verdict
  if (asked === 'none') return verdict === null
  return asked === 'any' ? verdict !== null : verdict === asked
}

type InView = { query: ViewQuery; context: ViewContext }

/** The `count` records whose seeded hash is smallest: the same ones however often it is asked. */
function drawSample(
  items: readonly ViewItem[],
  { count, query, context }: InView & { count: number },
): ViewItem[] {
  const drawn = items.flatMap(({ image, records }) =>
    records.map((record) => {
      const id = context.images[image]?.records[record]?.recordId ?? ''
      return { image, record, rank: createHash('sha256').update(`${query.seed} ${id}`).digest('hex') }
    }),
  )
  const chosen = new Map<number, number[]>()
  for (const { image, record } of drawn
    .toSorted((left, right) => (left.rank < right.rank ? -1 : 1))
    .slice(0, count))
    chosen.set(image, [...(chosen.get(image) ?? []), record])
  return items.flatMap(({ image }) => {
    const records = chosen.get(image)
    return records === undefined ? [] : [{ image, records: records.toSorted((a, b) => a - b) }]
  })
}

/** By a number of each item; equal ones stay in order of key. */
function sortItems(items: ViewItem[], { query, context }: InView): ViewItem[] {
  const { sort, check } = query
  if (sort === 'key') return items
  const numbered = items.map((item) => {
    const image = context.images[item.image]
    const records = item.records.flatMap((index) => image?.records[index] ?? [])
    return { item, rank: image === undefined ? 0 : rankOf({ sort, check, image, records }) }
  })
  return numbered.toSorted((left, right) => left.rank - right.rank).map(({ item }) => item)
}

function rankOf({
  sort,
  check,
  image,
  records,
}: {
  sort: ViewQuery['sort']
  check: string | undefined
  image: IndexedImage
  records: readonly IndexedRecord[]
}): number {
  switch (sort) {
    case 'key':
      return 0
    case 'longest':
      return -Math.max(...records.map(({ chars }) => chars))
    case 'shortest':
      return Math.min(...records.map(({ chars }) => chars))
    case 'boxes':
      return -Math.max(...records.map(({ boxes }) => boxes))
    case 'near':
      return image.groupSize < 2 ? Number.MAX_SAFE_INTEGER : image.group
    case 'score':
    case 'score-down': {
      const scores = records.flatMap(({ checks }) =>
        checks.flatMap(({ name, score }) =>
          (check === undefined || name === check) && score !== null ? [score] : [],
        ),
      )
      // What has no score comes last either way.
      if (scores.length === 0) return Number.MAX_SAFE_INTEGER
      return sort === 'score' ? Math.min(...scores) : -Math.max(...scores)
    }
  }
}

export type Audit = {
  records: number
  judged: number
  accepted: number
  edited: number
  rejected: number
  low: number
  high: number
}

/** How the records of a view were judged so far, with the 95 % interval of the share that stands as it is. */
export function audit(view: View, { images, verdicts }: Pick<ViewContext, 'images' | 'verdicts'>): Audit {
  const counts = { accept: 0, edit: 0, reject: 0, withdraw: 0 }
  for (const { image, records } of view.items) {
    for (const index of records) {
      const verdict = verdicts.get(images[image]?.records[index]?.recordId ?? '')?.verdict
      if (verdict !== undefined) counts[verdict] += 1
    }
  }
  const judged = counts.accept + counts.edit + counts.reject
  return {
    records: view.recordCount,
    judged,
    accepted: counts.accept,
    edited: counts.edit,
    rejected: counts.reject,
    ...wilson(counts.accept, judged),
  }
}
