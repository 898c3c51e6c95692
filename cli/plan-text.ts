// What `coglabel plan` says: a pilot's figures, and what the cloud comes to, as lines. Pure text; it measures nothing.
import type { CloudCost, CloudWork, FixedCost } from '../dataset/cost.ts'
import type { CloudEstimate, EstimateRange, PilotEstimate } from '../schemas/estimate.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { InstancePrice } from '../schemas/prices.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { Pilot } from './pilot.ts'
import { formatDuration, formatImageTime, formatRate, formatUsd } from './progress.ts'
import { counted, printable } from './words.ts'

const nameWidth = 13
const field = (name: string, text: string) => `  ${name.padEnd(nameWidth)}${text}`

/** "4 h 40 min (3 h 56 min to 5 h 25 min)". */
function spread({ low, mid, high }: EstimateRange, format: (value: number) => string): string {
  const [middle, least, most] = [mid, low, high].map(format)
  return least === most ? String(middle) : `${middle} (${least} to ${most})`
}

/** A pilot with what it was made of. */
export type Measured = {
  src: string
  config: RunConfig
  /** Runtime and kernel class. */
  engine: string
  imageCount: number
  loadMs: number
  seed: number
  result: Pilot
}

/** What the pilot found, and what it means for all images. */
export function renderPilot(plan: Measured & { images: number; pilot: PilotEstimate }): string[] {
  const { src, config, images, imageCount, pilot, loadMs, result } = plan
  const { model, tasks } = config
  const names = [...new Set(tasks.map(({ task }) => task))]
  const records = images * tasks.length
  const asIf = images === imageCount ? '' : `, as if ${grouped(imageCount)} were so many`
  return [
    `plan: ${groupedCount(images, 'image')} of ${src}${asIf}, with ${model.name} (${model.weights}): ${names.join(', ')}`,
    '',
    field(
      'pilot',
      `${counted(pilot.images, 'image')}, seed ${pilot.seed}, after one to warm up; the model took ${formatDuration(loadMs)} to load`,
    ),
    field('an image', `${spread(pilot.imageMs, formatImageTime)}, on this machine as busy as it is now`),
    field('all', `${spread(pilot.durationMs, formatDuration)}, ${groupedCount(records, 'record')}`),
    field(
      'cost',
      pilot.usd === null
        ? 'not known; --hour-cost USD says what an hour of this machine costs'
        : spread(pilot.usd, formatUsd),
    ),
    ...failureLines(result.records),
    ...exampleLines(result.records),
  ]
}

function failureLines(records: readonly LabelRecord[]): string[] {
  const failed = records.filter(({ error }) => error !== null)
  if (failed.length === 0) return []
  const byCode = Map.groupBy(failed, ({ error }) => error?.code ?? '')
  const codes = [...byCode].map(([code, ones]) => `${ones.length} ${code}`).join(', ')
  return [field('failed', `${failed.length} of ${records.length} records of the pilot: ${codes}`)]
}

/** The records of one image, as the model said them. */
function exampleLines(records: readonly LabelRecord[]): string[] {
  const first = records.find(({ status }) => status === 'ok')
  if (first === undefined) return []
  const same = records.filter(({ source, raw }) => source.key === first.source.key && raw !== null)
  const width = Math.max(...same.map(({ task }) => task.length))
  return [
    field('for example', printable(first.source.key)),
    ...same.slice(0, 6).map(({ task, raw }) => `    ${task.padEnd(width)}  ${oneLine(raw ?? '')}`),
  ]
}

function oneLine(text: string): string {
  const line = printable(text.replaceAll('\n', ' / '))
  return line.length > 90 ? `${line.slice(0, 89)}…` : line
}

export type CloudRow = { instance: InstancePrice; asOf: string; cost: CloudCost }
export type CloudTable = CloudWork & {
  region: string
  rateFrom: CloudEstimate['rateFrom']
  /** Prompts about one image, of all tasks. */
  answers: number
  rows: CloudRow[]
  /** What the estimate is for: the cheapest, or the one that was named. */
  chosen: CloudRow
  fixed: FixedCost[]
  modelBytes: number
}

/** What the run comes to on every instance that holds the model, and what stands beside it. */
export function renderCloud(table: CloudTable): string[] {
  const { region, images, chosen, rows, fixed, imagesPerSecond } = table
  const { cost, instance } = chosen
  const month = fixed.reduce((sum, { monthUsd }) => sum + monthUsd, 0)
  return [
    `in the cloud: ${groupedCount(images, 'image')}, ${counted(cost.workers, 'worker')} in ${region}, ${formatRate(imagesPerSecond.mid)} images/s each`,
    ...rateLines(table),
    '',
    ...instanceTable(rows),
    '',
    `on ${instance.type}`,
    field('time', spread(cost.durationMs, formatDuration)),
    field(
      'workers',
      spread(cost.workerHours, (hours) => `${hours.toFixed(hours < 10 ? 1 : 0)} h`),
    ),
    field('labelling', spread(cost.parts.labelling, formatUsd)),
    field('boots, tails', spread(cost.parts.bootsAndTails, formatUsd)),
    field('requests', spread(cost.parts.requests, formatUsd)),
    field(
      'together',
      `${spread(cost.usd, formatUsd)}, ${formatUsd((cost.usd.mid / images) * 1e6)} a million images`,
    ),
    '',
    `and each month, labelling or not: ${formatUsd(month)}`,
    ...fixed
      .filter(({ monthUsd }) => monthUsd >= 0.005)
      .map(({ what, monthUsd }) => `  ${formatUsd(monthUsd).padStart(8)}  ${what}`),
    '',
    `prices as of ${chosen.asOf}${region === 'us-east-1' ? '' : `; on-demand prices that are not known of ${region} are those of us-east-1`}.`,
    'low: spot in the cheapest zone, workers busy 95 % of their time; high: all on demand, busy 70 %, every worker boots twice.',
  ]
}

function rateLines({ rateFrom, answers, imagesPerSecond }: CloudTable): string[] {
  if (rateFrom === 'given') return []
  if (rateFrom === 'pilot')
    return [
      `the rate is that of this machine (${spread(imagesPerSecond, formatRate)}): right when it is such an instance`,
    ]
  const shared = answers > 1 ? `, shared among the ${answers} answers of an image` : ''
  return [
    `the rate of these GPUs is unmeasured. A yardstick stands in: 0.40 answers/s, CogVLM's own chat() on an A100${shared}.`,
    'It may flatter: parts of CogVLM on WebGPU on an H100 project to 0.24 captions/s in int4, 0.10 in fp16.',
    'Measure with coglabel plan on such an instance, then give --rate; cost falls as the rate rises.',
  ]
}

function instanceTable(rows: readonly CloudRow[]): string[] {
  const cells = rows.map(({ instance, cost }) => [
    instance.type,
    `${instance.gpu} ${instance.gpuGiB} GiB`,
    instance.spotHour === null
      ? 'not known'
      : `${price(instance.spotHour.low)} to ${price(instance.spotHour.high)}`,
    instance.onDemandHour === null ? 'not known' : price(instance.onDemandHour),
    formatUsd(cost.usd.low),
    formatUsd(cost.usd.mid),
    formatUsd(cost.usd.high),
    `${(hourOf(instance) / hourOf(rows[0]?.instance ?? instance)).toFixed(1)}x`,
  ])
  const head = ['instance', 'GPU', 'spot $/h', 'on demand', 'low', 'mid', 'high', 'pays from']
  const all = [head, ...cells]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const lines = all.map(
    (row) =>
      `  ${row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ')}`,
  )
  return [
    ...lines,
    '  all at the same rate; "pays from": so many times the rate of the first makes it the cheaper one',
  ]
}

/** The middle of what an hour costs. */
function hourOf({ spotHour, onDemandHour }: InstancePrice): number {
  return spotHour === null ? (onDemandHour ?? 1) : (spotHour.low + spotHour.high) / 2
}

function price(usd: number): string {
  return usd.toFixed(3)
}

function grouped(count: number): string {
  return count.toLocaleString('en-US')
}

function groupedCount(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`
}
