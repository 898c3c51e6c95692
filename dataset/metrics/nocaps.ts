// NoCaps (Agrawal et al. 2019): captions' scores by how far an image's things are from those of COCO. It does not know
// images.

export const nocapsDomains = ['in-domain', 'near-domain', 'out-domain'] as const
export type NocapsDomain = (typeof nocapsDomains)[number]

/** Null for a domain without images. */
export type NocapsScore = { [domain in NocapsDomain]: number | null }

/** The mean of each domain; the scores are CIDEr-D over all images, so that the domains can be compared. */
export function scoreNocaps(scored: readonly { domain: NocapsDomain; score: number }[]): NocapsScore {
  const meanOf = (wanted: NocapsDomain) => {
    const own = scored.filter(({ domain }) => domain === wanted)
    return own.length === 0 ? null : own.reduce((sum, { score }) => sum + score, 0) / own.length
  }
  return {
    'in-domain': meanOf('in-domain'),
    'near-domain': meanOf('near-domain'),
    'out-domain': meanOf('out-domain'),
  }
}
