// The price table that comes with coglabel, or another of the same form. It does not know what is planned.
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { parseJson } from '../dataset/parse-json.ts'
import { UserError } from '../schemas/errors.ts'
import { type InstancePrice, Prices, type RegionPrices } from '../schemas/prices.ts'

const shippedPrices = new URL('../schemas/prices/aws.json', import.meta.url)

/** Reads a table. Throws UserError for a file that is none. */
export async function readPrices(path?: string): Promise<Prices> {
  const text = await readFile(path ?? shippedPrices, 'utf8').catch((cause: unknown) => {
    throw new UserError(`the prices ${path} cannot be read; give a JSON file`, { cause })
  })
  const parsed = Prices.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  throw new UserError(
    `${path} is no table of prices (schemas/json/prices.schema.json): ${z.prettifyError(parsed.error)}`,
  )
}

/**
 * The instances of a region; one whose on-demand price is not known there takes that of the first region that has it.
 * Throws UserError for a region without prices.
 */
export function instancesOf({ regions }: Prices, region: string): RegionPrices['instances'] {
  const found = regions.find((one) => one.region === region)
  if (found === undefined)
    throw new UserError(
      `there are no prices of ${region}, but of ${regions.map((one) => one.region).join(', ')}; give one of them, or a table of yours with --prices FILE`,
    )
  return found.instances.map((instance) => {
    if (instance.onDemandHour !== null) return instance
    const elsewhere = regions
      .flatMap((one) => one.instances)
      .find(({ type, onDemandHour }) => type === instance.type && onDemandHour !== null)
    if (elsewhere === undefined) return instance
    const sources = [...new Set([...instance.sources, ...elsewhere.sources])]
    return { ...instance, onDemandHour: elsewhere.onDemandHour, sources }
  })
}

/** The dates of an instance's prices, as their sources have them. */
export function datesOf({ sources }: Prices, instance: InstancePrice): string {
  return [...new Set(instance.sources.map((id) => sources[id]?.asOf ?? 'unknown'))].join('; ')
}
