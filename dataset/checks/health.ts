// How a run's labels are doing while it runs: rates of what its checks find, over the last so many records, and when one
// of them says that going on would be a waste. Pure; it does not know who stops.
import type { LabelRecord } from '../../schemas/label-record.ts'
import { proseOf, wordsOf } from './said.ts'

export const healthRates = [
  'loops',
  'stock-openings',
  'refusals',
  'duplicates',
  'bad-boxes',
  'length-drift',
] as const
export type HealthRate = (typeof healthRates)[number]

export type HealthLimits = {
  /** Records that a rate is taken over; none is judged before there are so many. */
  window: number
  /** Shares from which the run had better stop; of the drift, how many times longer or shorter captions became. */
  most: Readonly<Record<HealthRate, number>>
}

/**
 * Proposals of ours but for the duplicates: a service that fails answers alike, and half a percent of one text is known
 * from a data set that was ruined so (LVD-2M: one caption 4,000 times).
 */
export const defaultHealthLimits: HealthLimits = {
  window: 200,
  most: {
    'loops': 0.05,
    'stock-openings': 0.8,
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

/** What of one record counts. */
type Seen = { found: ReadonlyMap<string, boolean>; task: string; words: number | null }

/** A class, because it holds the last records. */
export class HealthMonitor {
  readonly #limits: HealthLimits
  readonly #window: Seen[] = []
  /** Mean words of each task's captions in the first window. */
  #firstWords: ReadonlyMap<string, number> | null = null
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
      this.#window.push(see(record))
      if (this.#window.length > this.#limits.window) this.#window.shift()
    }
    if (this.#window.length >= this.#limits.window) {
      this.#firstWords ??= meanWords(this.#window)
      this.#tripped ??= this.#findTrip()
    }
    return this.report()
  }

  report(): HealthReport {
    const rates = Object.fromEntries(healthRates.map((rate) => [rate, this.#rateOf(rate)?.value ?? null]))
    // Every rate has its entry.
    return { records: this.#records, rates: rates as HealthReport['rates'], tripped: this.#tripped }
  }

  #rateOf(rate: HealthRate): { value: number; found: number } | null {
    if (rate === 'length-drift') return this.#drift()
    const name = checkOf[rate]
    const judged = this.#window.flatMap(({ found }) => found.get(name) ?? [])
    const found = judged.filter((pass) => !pass).length
    return judged.length === 0 ? null : { value: found / judged.length, found }
  }

  /** The task whose captions changed most, as a factor of 1 or more. */
  #drift(): { value: number; found: number } | null {
    if (this.#firstWords === null) return null
    const factors = [...meanWords(this.#window)].flatMap(([task, words]) => {
      const before = this.#firstWords?.get(task) ?? 0
      return before === 0 || words === 0 ? [] : [Math.max(words / before, before / words)]
    })
    return factors.length === 0 ? null : { value: Math.max(...factors), found: leastFound }
  }

  #findTrip(): string | null {
    for (const rate of healthRates) {
      const now = this.#rateOf(rate)
      const most = this.#limits.most[rate]
      if (now === null || now.found < leastFound || now.value <= most) continue
      return `${describeRate(rate, now.value)} over the last ${this.#limits.window} records; the limit is ${formatRate(rate, most)}`
    }
    return null
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
export function worrying({ rates }: HealthReport, { most }: HealthLimits): string[] {
  return healthRates.flatMap((rate) => {
    const value = rates[rate]
    const from = rate === 'length-drift' ? 1 + (most[rate] - 1) / 2 : most[rate] / 2
    return value !== null && value > from ? [describeRate(rate, value)] : []
  })
}

function see({ checks, task, output, repairs = [] }: LabelRecord): Seen {
  const found = new Map(checks.map(({ name, pass }) => [name, pass]))
  // What was drawn again until it was right has cost as much.
  if (repairs.some((repair) => repair.startsWith('asked again'))) found.set('repetition-loop', false)
  const text = output === null ? null : proseOf(output)
  return {
    found,
    task,
    words: text === null ? null : wordsOf(text).length,
  }
}

function meanWords(window: readonly Seen[]): Map<string, number> {
  const byTask = Map.groupBy(
    window.filter(({ words }) => words !== null),
    ({ task }) => task,
  )
  return new Map(
    [...byTask].map(([task, own]) => [
      task,
      own.reduce((sum, { words }) => sum + (words ?? 0), 0) / own.length,
    ]),
  )
}
