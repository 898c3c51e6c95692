// How a run's labels are doing while it runs: rates of what its checks find, over the last so many records, and when one
// of them says that going on would be a waste. Pure; it does not know who stops.
import { type HealthLimits, healthRates, type HealthRate, type HealthTally } from '../../schemas/health.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { proseOf, wordsOf } from './said.ts'

/**
 * Proposals of ours but for the duplicates: a service that fails answers alike, and half a percent of one text is known
 * from a data set that was ruined so (LVD-2M: one caption 4,000 times). Stock openings alone stop no run: whole models
 * have the habit ("The image showcases …" of CogVLM), and scripts take it off afterwards, so they are only told.
 */
export const defaultHealthLimits: HealthLimits = {
  window: 200,
  most: {
    'loops': 0.05,
    'stock-openings': 1,
    'refusals': 0.02,
    'duplicates': 0.005,
    'bad-boxes': 0.2,
    'length-drift': 2,
  },
}

/** Fewer are chance, whatever share they are. */
const leastFound = 5

/** Which check's findings a rate counts. */
const checkOf: Readonly<Record<Exclude<HealthRate, 'length-drift'>, string>> = {
  'loops': 'repetition-loop',
  'stock-openings': 'stock-opening',
  'refusals': 'refusal',
  'duplicates': 'near-duplicate',
  'bad-boxes': 'box-sanity',
}

export type HealthReport = {
  /** Judged so far, in all. */
  records: number
  /** Over the last window; null where there was nothing to judge. */
  rates: Record<HealthRate, number | null>
  /** What went past its limit, in a sentence; null while all is well. */
  tripped: string | null
}

/** What one record counts. */
export function tallyRecord(record: TalliedRecord): HealthTally {
  const { checks = [], task, output, repairs = [] } = record
  if (output === null) return noTally
  const found = new Map(checks.map(({ name, pass }) => [name, pass]))
  // What was drawn again until it was right has cost as much.
  if (repairs.some((repair) => repair.startsWith('asked again'))) found.set('repetition-loop', false)
  const text = proseOf(output)
  return {
    records: 1,
    checks: Object.fromEntries([...found].map(([name, pass]) => [name, { judged: 1, found: pass ? 0 : 1 }])),
    words: text === null ? {} : { [task]: { texts: 1, words: wordsOf(text).length } },
  }
}

export type TalliedRecord = Pick<LabelRecord, 'task' | 'output' | 'repairs'> &
  Partial<Pick<LabelRecord, 'checks'>>

const noTally: HealthTally = { records: 0, checks: {}, words: {} }

export function sumTallies(tallies: readonly HealthTally[]): HealthTally {
  const sum: HealthTally = { records: 0, checks: {}, words: {} }
  for (const { records, checks, words } of tallies) {
    sum.records += records
    for (const [name, { judged, found }] of Object.entries(checks)) {
      const own = (sum.checks[name] ??= { judged: 0, found: 0 })
      own.judged += judged
      own.found += found
    }
    for (const [task, { texts, words: count }] of Object.entries(words)) {
      const own = (sum.words[task] ??= { texts: 0, words: 0 })
      own.texts += texts
      own.words += count
    }
  }
  return sum
}

/** The last records of a run, and those that it began with, once there are so many. */
export type HealthWindow = { now: HealthTally; first: HealthTally | null }

export function ratesOf(window: HealthWindow): HealthReport['rates'] {
  const rates = Object.fromEntries(healthRates.map((rate) => [rate, rateOf(rate, window)?.value ?? null]))
  // Every rate has its entry.
  return rates as HealthReport['rates']
}

/** What is past its limit, in a sentence; null while all is well, and before there are enough records to say so. */
export function findTrip(window: HealthWindow, { window: least, most }: HealthLimits): string | null {
  if (window.now.records < least) return null
  for (const rate of healthRates) {
    const found = rateOf(rate, window)
    if (found === null || found.found < leastFound || found.value <= most[rate]) continue
    return `${describeRate(rate, found.value)} over the last ${window.now.records} records; the limit is ${formatRate(rate, most[rate])}`
  }
  return null
}

function rateOf(rate: HealthRate, { now, first }: HealthWindow): { value: number; found: number } | null {
  if (rate === 'length-drift') return driftOf(now, first)
  const { judged = 0, found = 0 } = now.checks[checkOf[rate]] ?? {}
  return judged === 0 ? null : { value: found / judged, found }
}

/** The task whose captions changed most, as a factor of 1 or more. */
function driftOf(now: HealthTally, first: HealthTally | null): { value: number; found: number } | null {
  const factors = Object.entries(now.words).flatMap(([task, { texts, words }]) => {
    const before = first?.words[task]
    if (before === undefined || before.words === 0 || words === 0) return []
    const factor = words / texts / (before.words / before.texts)
    return [Math.max(factor, 1 / factor)]
  })
  // A mean of lengths counts nothing that could be too few.
  return factors.length === 0 ? null : { value: Math.max(...factors), found: Infinity }
}

/** A class, because it holds the last records. */
export class HealthMonitor {
  readonly #limits: HealthLimits
  readonly #last: HealthTally[] = []
  #first: HealthTally | null = null
  #records = 0
  #tripped: string | null = null

  constructor(limits: HealthLimits = defaultHealthLimits) {
    this.#limits = limits
  }

  /** Takes the records of an image; returns how things stand. */
  add(records: readonly LabelRecord[]): HealthReport {
    for (const record of records) {
      if (record.output === null) continue
      this.#records += 1
      this.#last.push(tallyRecord(record))
      if (this.#last.length > this.#limits.window) this.#last.shift()
    }
    const now = sumTallies(this.#last)
    if (now.records >= this.#limits.window) {
      this.#first ??= now
      this.#tripped ??= findTrip({ now, first: this.#first }, this.#limits)
    }
    return this.#reportOf(now)
  }

  report(): HealthReport {
    return this.#reportOf(sumTallies(this.#last))
  }

  #reportOf(now: HealthTally): HealthReport {
    return { records: this.#records, rates: ratesOf({ now, first: this.#first }), tripped: this.#tripped }
  }
}

/** "loops 6.0 %", "captions 2.3 times as long or short". */
function describeRate(rate: HealthRate, value: number): string {
  return rate === 'length-drift'
    ? `captions ${formatRate(rate, value)} as long or short`
    : `${rate} ${formatRate(rate, value)}`
}

function formatRate(rate: HealthRate, value: number): string {
  return rate === 'length-drift' ? `${value.toFixed(1)} times` : `${(value * 100).toFixed(1)} %`
}

/** The rates that have come half way to their limits, for a line of progress. */
export function worrying({ rates }: Pick<HealthReport, 'rates'>, { most }: HealthLimits): string[] {
  return healthRates.flatMap((rate) => {
    const value = rates[rate]
    const from = rate === 'length-drift' ? 1 + (most[rate] - 1) / 2 : most[rate] / 2
    return value !== null && value > from ? [describeRate(rate, value)] : []
  })
}
