// What the cloud costs: prices as data, each with its source, date and region. It does not know what anybody needs.
import { z } from 'zod'

const pricesVersion = 1

const Usd = z.number().nonnegative()
const SourceId = z.string().regex(/^[a-z0-9-]+$/)

const PriceSource = z.strictObject({
  name: z.string().min(1).describe('what it is, for people'),
  asOf: z.string().min(1).describe('date of the prices, as the source has it'),
})

export const InstancePrice = z.strictObject({
  type: z.string().regex(/^[a-z0-9-]+\.[a-z0-9]+$/),
  gpu: z.string().min(1),
  gpuGiB: z.number().positive().describe('memory of its one GPU, as the driver reports it'),
  memoryGiB: z.number().positive().describe('of the host, which weights pass through'),
  vcpus: z.int().positive().describe('what quotas count'),
  onDemandHour: Usd.nullable().describe('USD; null where no source has it'),
  spotHour: z
    .strictObject({ low: Usd, high: Usd })
    .nullable()
    .describe('USD, cheapest and dearest zone; null where no source has it'),
  sources: z.array(SourceId).min(1),
})
export type InstancePrice = z.infer<typeof InstancePrice>

export const RegionPrices = z.strictObject({
  region: z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/),
  instances: z.array(InstancePrice).min(1),
})
export type RegionPrices = z.infer<typeof RegionPrices>

const ServicePrice = z.strictObject({ usd: Usd, unit: z.string().min(1), source: SourceId })

export const ServicePrices = z.strictObject({
  sqsRequest: ServicePrice,
  sqsFairShare: ServicePrice.describe('on top, for a message that names its run'),
  s3Put: ServicePrice,
  s3Get: ServicePrice,
  s3GbMonth: ServicePrice,
  interfaceEndpointHour: ServicePrice.describe('in one zone'),
  natGatewayHour: ServicePrice,
  publicIpHour: ServicePrice,
  keyMonth: ServicePrice,
  metricMonth: ServicePrice,
  alarmMonth: ServicePrice.describe('for each metric that an alarm reads'),
  lambdaRequest: ServicePrice,
  lambdaGbSecond: ServicePrice.describe('arm64'),
  volumeGbMonth: ServicePrice,
})
export type ServicePrices = z.infer<typeof ServicePrices>

export const Prices = z
  .strictObject({
    v: z.literal(pricesVersion),
    currency: z.literal('USD'),
    sources: z.record(SourceId, PriceSource),
    servicesRegion: z.string().min(1).describe('that the services are priced in; others differ little'),
    services: ServicePrices,
    regions: z.array(RegionPrices).min(1),
  })
  .refine(
    ({ sources, services, regions }) => namedSources({ services, regions }).every((id) => id in sources),
    {
      message: 'a price names a source that is not listed',
      path: ['sources'],
    },
  )
export type Prices = z.infer<typeof Prices>

type Named = { services: ServicePrices; regions: readonly RegionPrices[] }

function namedSources({ services, regions }: Named): string[] {
  const instances = regions.flatMap((region) => region.instances)
  return [
    ...Object.values(services).map(({ source }) => source),
    ...instances.flatMap(({ sources }) => sources),
  ]
}
