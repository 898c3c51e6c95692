// NoCaps (Agrawal et al. 2019): CIDEr-D by how far an image's things are from those of COCO. It does not know images.
import { ciderD, type CiderInput, rarityOf } from './cider.ts'

export const nocapsDomains = ['in-domain', 'near-domain', 'out-domain'] as const
export type NocapsDomain = (typeof nocapsDomains)[number]

export type NocapsScore = { overall: number } & { [domain in NocapsDomain]: number | null }

/** Rarity is that of all images, so that the domains can be compared; a domain without images has no score. */
export function scoreNocaps(inputs: readonly (CiderInput & { domain: NocapsDomain })[]): NocapsScore {
  const rarity = rarityOf(inputs)
  const scoreOf = (domain: NocapsDomain) => {
    const own = inputs.filter((input) => input.domain === domain)
    return own.length === 0 ? null : ciderD(own, rarity).mean
  }
  return {
    'overall': ciderD(inputs, rarity).mean,
    'in-domain': scoreOf('in-domain'),
    'near-domain': scoreOf('near-domain'),
    'out-domain': scoreOf('out-domain'),
  }
}
