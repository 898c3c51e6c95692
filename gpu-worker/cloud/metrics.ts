// What a worker counts and times, gathered over an interval and written as embedded metrics. It does not know where
// the lines go. Counts are exact; of a distribution an even sample is kept when there are more values than one line takes.
import type { WorkerEvent } from '../pipeline/worker-loop.ts'
import { encodeEmf, type EmfMetric, maxEmfValues } from '../../dataset/emf.ts'

const metricsNamespace = 'coglabel'
const service = 'gpu-worker'

/** Every metric with its unit. */
const units = {
  ImagesLabelled: 'Count',
  RecordsWritten: 'Count',
  FailedRecords: 'Count',
  TokensOut: 'Count',
  DuplicatesCoalesced: 'Count',
  LeaseLost: 'Count',
  SpotNotice: 'Count',
  BatchSize: 'Count',
  FetchMs: 'Milliseconds',
  DecodeMs: 'Milliseconds',
  InferMs: 'Milliseconds',
  CommitMs: 'Milliseconds',
  QueueWaitMs: 'Milliseconds',
  WeightsLoadMs: 'Milliseconds',
} as const

export type CountName =
  | 'ImagesLabelled'
  | 'RecordsWritten'
  | 'FailedRecords'
  | 'TokensOut'
  | 'DuplicatesCoalesced'
  | 'LeaseLost'
  | 'SpotNotice'
export type DistributionName = Exclude<keyof typeof units, CountName>

export type Metrics = {
  count(name: CountName, by: number, runId?: string): void
  observe(name: DistributionName, value: number, runId?: string): void
  /** What the loop tells, as metrics. */
  event(event: WorkerEvent): void
  /** The lines of everything since the last call; none when nothing happened. */
  take(timestampMs: number): string[]
}

type Sample = { seen: number; values: number[] }
type Tally = {
  counts: Map<CountName, number>
  samples: Map<DistributionName, Sample>
  failures: Map<string, number>
}

/** Starts at nothing. `random` in [0, 1) picks the sample. */
export function openMetrics({
  pool,
  model,
  random,
}: {
  pool: string
  model: string
  random: () => number
}): Metrics {
  /** By run; the empty name is what belongs to none. */
  let tallies = new Map<string, Tally>()
  const tallyOf = (runId: string): Tally => {
    const tally = tallies.get(runId) ?? { counts: new Map(), samples: new Map(), failures: new Map() }
    tallies.set(runId, tally)
    return tally
  }
  const metrics: Metrics = {
    count(name, by, runId = '') {
      const { counts } = tallyOf(runId)
      counts.set(name, (counts.get(name) ?? 0) + by)
    },
    observe(name, value, runId = '') {
      const { samples } = tallyOf(runId)
      const sample = samples.get(name) ?? { seen: 0, values: [] }
      samples.set(name, sample)
      addToSample(sample, value, random)
    },
    event(event) {
      if (event.kind === 'lease-lost') metrics.count('LeaseLost', 1)
      else if (event.kind === 'part') {
        metrics.count('RecordsWritten', event.records, event.runId)
        metrics.observe('BatchSize', event.records, event.runId)
      } else if (event.kind === 'image') countImage(event, metrics, tallyOf(event.runId).failures)
    },
    take(timestampMs) {
      const taken = tallies
      tallies = new Map()
      return [...taken].flatMap(([runId, tally]) => linesOf(tally, { runId, pool, model, timestampMs }))
    },
  }
  return metrics
}

/** An image without records was known, unless another role has it: asked for twice at once, or labelled before. */
function countImage(
  { runId, records, forwards }: Extract<WorkerEvent, { kind: 'image' }>,
  metrics: Metrics,
  failures: Map<string, number>,
): void {
  const [first] = records
  if (first === undefined) {
    if (forwards === 0) metrics.count('DuplicatesCoalesced', 1, runId)
    return
  }
  const { fetchMs, decodeMs, prefillMs, generateMs } = first.timing
  metrics.count('ImagesLabelled', 1, runId)
  metrics.observe('FetchMs', fetchMs, runId)
  // What was never done took no time, and would only lower the mean.
  if (decodeMs > 0) metrics.observe('DecodeMs', decodeMs, runId)
  if (prefillMs + generateMs > 0) metrics.observe('InferMs', prefillMs + generateMs, runId)
  const tokens = records.reduce((sum, { usage }) => sum + usage.outputTokens, 0)
  if (tokens > 0) metrics.count('TokensOut', tokens, runId)
  for (const { error } of records) {
    if (error === null) continue
    metrics.count('FailedRecords', 1, runId)
    failures.set(error.code, (failures.get(error.code) ?? 0) + 1)
  }
}

/** Algorithm R (Vitter 1985): every value seen is kept with the same chance. */
function addToSample(sample: Sample, value: number, random: () => number): void {
  sample.seen += 1
  if (sample.values.length < maxEmfValues) {
    sample.values.push(value)
    return
  }
  const place = Math.floor(random() * sample.seen)
  if (place < maxEmfValues) sample.values[place] = value
}

type LineContext = { runId: string; pool: string; model: string; timestampMs: number }

/** One line a run, and one more for each class of its failures. */
function linesOf(
  { counts, samples, failures }: Tally,
  { runId, pool, model, timestampMs }: LineContext,
): string[] {
  const base = {
    namespace: metricsNamespace,
    timestampMs,
    ...(runId === '' ? {} : { properties: { runId } }),
  }
  const all: EmfMetric[] = [
    ...[...counts].map(([name, value]) => ({ name, unit: units[name], value })),
    ...[...samples].map(([name, { values }]) => ({ name, unit: units[name], value: values })),
  ]
  const byClass = [...failures].map(([failure, value]) =>
    encodeEmf({
      ...base,
      dimensions: { service, pool, class: failure },
      dimensionSets: [['service', 'pool', 'class']],
      metrics: [{ name: 'FailedRecords', unit: units.FailedRecords, value }],
    }),
  )
  if (all.length === 0) return byClass
  const dimensions = { service, pool, model }
  const dimensionSets = [
    ['service', 'pool'],
    ['service', 'pool', 'model'],
  ]
  return [encodeEmf({ ...base, dimensions, dimensionSets, metrics: all }), ...byClass]
}
