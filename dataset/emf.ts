// CloudWatch's embedded metric format: one JSON line that is a log event and carries metrics. Pure; it knows no metric
// of ours. Limits are those of the specification.
import { InvariantError } from '../schemas/errors.ts'

export type EmfDocument = {
  namespace: string
  timestampMs: number
  /** Their values appear in the line; each set of names makes a time series of its own. */
  dimensions: Readonly<Record<string, string>>
  dimensionSets: readonly (readonly string[])[]
  metrics: readonly EmfMetric[]
  /** Found by searching the log, and no dimension: a dimension is billed by the value. */
  properties?: Readonly<Record<string, string | number>>
}

export type EmfMetric = {
  name: string
  unit: 'Count' | 'Milliseconds'
  /** One number, or every value of a distribution. */
  value: number | readonly number[]
}

const maxEmfMetrics = 100
export const maxEmfValues = 100
const maxEmfDimensions = 30
const maxEmfBytes = 256 * 1024

/** The line, without its line feed. Throws InvariantError for what CloudWatch would drop without a word. */
export function encodeEmf(document: EmfDocument): string {
  const { namespace, timestampMs, dimensions, dimensionSets, metrics, properties = {} } = document
  const names = [...Object.keys(dimensions), ...metrics.map(({ name }) => name), ...Object.keys(properties)]
  const line = JSON.stringify({
    _aws: {
      Timestamp: Math.round(timestampMs),
      CloudWatchMetrics: [
        {
          Namespace: namespace,
          Dimensions: dimensionSets,
          Metrics: metrics.map(({ name, unit }) => ({ Name: name, Unit: unit })),
        },
      ],
    },
    ...properties,
    ...dimensions,
    ...Object.fromEntries(metrics.map(({ name, value }) => [name, value])),
  })
  const wrong = [
    [new Set([...names, '_aws']).size === names.length + 1, 'two fields have one name'],
    [metrics.length > 0 && metrics.length <= maxEmfMetrics, `${metrics.length} metrics`],
    [dimensionSets.every((set) => set.length <= maxEmfDimensions), 'too many dimensions'],
    [dimensionSets.flat().every((name) => Object.hasOwn(dimensions, name)), 'a dimension has no value'],
    [metrics.every(({ value }) => isValue(value)), 'a value is no number, or there are too many'],
    [line.length * 3 <= maxEmfBytes || Buffer.byteLength(line) <= maxEmfBytes, 'the line is too long'],
  ] as const
  const found = wrong.find(([isRight]) => !isRight)
  if (found !== undefined) throw new InvariantError(`these metrics cannot be written: ${found[1]}`)
  return line
}

function isValue(value: EmfMetric['value']): boolean {
  const values = typeof value === 'number' ? [value] : value
  return values.length > 0 && values.length <= maxEmfValues && values.every(Number.isFinite)
}
