// What labelling so many images in the cloud costs, from a rate and prices: a pure function, with every assumption
// named. What a deployment costs while it does nothing is apart.
import type { EstimateRange } from '../schemas/estimate.ts'
import type { InstancePrice, ServicePrices } from '../schemas/prices.ts'
import { maxImagesPerMessage } from '../schemas/work-message.ts'
import { defaultCapacityPolicy, planCapacity } from './capacity.ts'

export type CloudWork = {
  images: number
  /** Of one worker; an interval where it was measured. */
  imagesPerSecond: EstimateRange
  maxWorkers: number
  compute: 'instances' | 'managed-instances'
  /** Whether the images are on this machine and have to go up first. */
  isUpload: boolean
  hasClaims: boolean
}

export type CloudCost = {
  workers: number
  durationMs: EstimateRange
  workerHours: EstimateRange
  usd: EstimateRange
  parts: {
    labelling: EstimateRange
    /** From the start of an instance to its first image, and from its last one to its end. */
    bootsAndTails: EstimateRange
    requests: EstimateRange
  }
}

/**
 * How it may go. Low: spot in the cheapest zone, hardly a pause. Mid: spot at the middle of its range. High: spot does
 * not come, and every worker boots twice. The shares are guesses until a deployment has been watched.
 */
const cases = {
  low: { busyShare: 0.95, repeatedShare: 0, bootsPerWorker: 1 },
  mid: { busyShare: 0.85, repeatedShare: 0.03, bootsPerWorker: 1 },
  high: { busyShare: 0.7, repeatedShare: 0.1, bootsPerWorker: 2 },
} as const
type Case = keyof typeof cases

const secondsPerHour = 3600
const hoursPerMonth = 730

/** After its last task: an auto scaling group waits fifteen minutes, managed instances as infra/managed-pool.ts says. */
export const idleTailSeconds = { 'instances': 900, 'managed-instances': 300 }

/** Root volume of an instance, in infra/instance-pool.ts. */
export const volumeGb = 64

/** Images whose records make a part (gpu-worker/README.md). */
const imagesPerPart = 128
/** Of SQS. */
const messagesPerBatch = 10
/** A lease of 300 s is extended three times in each. */
const extensionsPerHour = 36
/** Messages with so many images are held at once (gpu-worker/README.md). */
const imagesHeld = 256

/** What the run costs on one type of instance. */
export function planCost(work: CloudWork, instance: InstancePrice, services: ServicePrices): CloudCost {
  const workers = workersFor(work)
  const of = (name: Case) => costOfCase(name, { work, workers, instance, services })
  const found = { low: of('low'), mid: of('mid'), high: of('high') }
  const range = (pick: (cost: CaseCost) => number): EstimateRange => ({
    low: pick(found.low),
    mid: pick(found.mid),
    high: pick(found.high),
  })
  return {
    workers,
    durationMs: range(({ durationMs }) => durationMs),
    workerHours: range(({ hours, bootHours }) => hours + bootHours),
    usd: range(({ hours, bootHours, hourUsd, requestsUsd }) => (hours + bootHours) * hourUsd + requestsUsd),
    parts: {
      labelling: range(({ hours, hourUsd }) => hours * hourUsd),
      bootsAndTails: range(({ bootHours, hourUsd }) => bootHours * hourUsd),
      requests: range(({ requestsUsd }) => requestsUsd),
    },
  }
}

/** As many as the scaler would ask for when all images come at once. */
function workersFor({ images, imagesPerSecond, maxWorkers }: CloudWork): number {
  const none = { desired: 0, running: 0, pendingSinceMs: null }
  const { spot } = planCapacity(
    {
      waiting: images,
      held: 0,
      oldestAgeMs: 0,
      emptySinceMs: null,
      spot: none,
      onDemand: none,
      restReason: null,
    },
    0,
    { ...defaultCapacityPolicy, imagesPerSecond: imagesPerSecond.mid, maxSpot: maxWorkers },
  )
  return spot
}

type CaseCost = { hours: number; bootHours: number; durationMs: number; hourUsd: number; requestsUsd: number }
type CaseFacts = { work: CloudWork; workers: number; instance: InstancePrice; services: ServicePrices }

function costOfCase(name: Case, { work, workers, instance, services }: CaseFacts): CaseCost {
  const { busyShare, repeatedShare, bootsPerWorker } = cases[name]
  // The best case has the best rate.
  const rate = work.imagesPerSecond[name === 'low' ? 'high' : name === 'high' ? 'low' : 'mid']
  const hours = (work.images * (1 + repeatedShare)) / (rate * busyShare * secondsPerHour)
  const bootSeconds = defaultCapacityPolicy.bootMs / 1000
  const bootHours =
    (workers * bootsPerWorker * (bootSeconds + idleTailSeconds[work.compute])) / secondsPerHour
  const volumeHour = (volumeGb * services.volumeGbMonth.usd) / hoursPerMonth
  return {
    hours,
    bootHours,
    durationMs: (bootSeconds + (hours / workers) * secondsPerHour) * 1000,
    hourUsd: priceOfCase(name, instance) + volumeHour,
    requestsUsd: requestsOf(work, { workerHours: hours, services }),
  }
}

/** Where no source has a spot price, the one on demand stands in. */
function priceOfCase(name: Case, { spotHour, onDemandHour }: InstancePrice): number {
  const known = onDemandHour ?? spotHour?.high ?? 0
  if (name === 'high') return known
  if (spotHour === null) return known
  return name === 'low' ? spotHour.low : (spotHour.low + spotHour.high) / 2
}

function requestsOf(
  { images, isUpload, hasClaims }: CloudWork,
  { workerHours, services }: { workerHours: number; services: ServicePrices },
): number {
  const messages = images / maxImagesPerMessage
  // Sent, received and deleted in batches; extended while they are held.
  const heldBatches = Math.ceil(imagesHeld / maxImagesPerMessage / messagesPerBatch)
  const sqs = (3 * messages) / messagesPerBatch + workerHours * extensionsPerHour * heldBatches
  const parts = images / imagesPerPart
  // A thumbnail each, the parts, and what was uploaded or claimed.
  const puts = images + parts + (isUpload ? images : 0) + (hasClaims ? 2 * images : 0)
  const gets = images + parts + (hasClaims ? 2 * images : 0)
  return (
    sqs * (services.sqsRequest.usd + services.sqsFairShare.usd) +
    puts * services.s3Put.usd +
    gets * services.s3Get.usd
  )
}

export const networkKinds = ['endpoints', 'nat', 'existing-vpc'] as const
export type NetworkKind = (typeof networkKinds)[number]

/** Interface endpoints of a zone (infra/network-stack.ts). */
export const endpointsPerZone = 7
/** Metrics that the alarms of one fleet and of the functions read (infra/observe-stack.ts), and those that scale. */
export const alarmMetrics = 22
/** What the scaler says of both pools, every minute. */
const idleMetrics = 2
/** Scaler each minute, sealer and planner each five, redriver each hour: runs and GB-seconds a month. */
export const idleFunctions = { requests: 62_000, gbSeconds: 25_000 }

export type FixedCost = { what: string; monthUsd: number }

/** What a deployment of one fleet costs a month though it labels nothing. */
export function fixedCosts(
  { network, zones, weightsBytes }: { network: NetworkKind; zones: number; weightsBytes: number },
  services: ServicePrices,
): FixedCost[] {
  const networkUsd = {
    'endpoints': endpointsPerZone * zones * services.interfaceEndpointHour.usd * hoursPerMonth,
    'nat': (services.natGatewayHour.usd + services.publicIpHour.usd) * hoursPerMonth,
    'existing-vpc': 0,
  }[network]
  const functionsUsd =
    idleFunctions.requests * services.lambdaRequest.usd +
    idleFunctions.gbSeconds * services.lambdaGbSecond.usd
  return [
    {
      what: `network (${network}${network === 'endpoints' ? `, ${zones} zones` : ''})`,
      monthUsd: networkUsd,
    },
    { what: 'encryption key', monthUsd: services.keyMonth.usd },
    {
      what: 'alarms and metrics',
      monthUsd: alarmMetrics * services.alarmMonth.usd + idleMetrics * services.metricMonth.usd,
    },
    { what: 'functions that look around', monthUsd: functionsUsd },
    { what: 'weights in S3', monthUsd: (weightsBytes / 1e9) * services.s3GbMonth.usd },
  ]
}
