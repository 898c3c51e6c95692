// What was planned of a run at a place, kept in the run, and how it compares with what comes. It does not know how a
// plan is made.
import { Estimate, estimateKey, type EstimateRange } from '../schemas/estimate.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** Keeps the first plan of a run; a run is compared with one only. */
export async function keepEstimate(store: ObjectStore, estimate: Estimate): Promise<void> {
  await store.putIfAbsent(estimateKey, Buffer.from(`${JSON.stringify(estimate, null, 2)}\n`))
}

/** Null where there is none of a version that is known: nothing hangs on it. */
export async function readKeptEstimate(store: ObjectStore): Promise<Estimate | null> {
  const bytes = await store.get(estimateKey)
  if (bytes === null) return null
  try {
    return Estimate.parse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  } catch {
    return null
  }
}

export type Comparison = {
  /** Worker-hours and USD, for the images that the plan was about. */
  planned: { images: number; workerHours: EstimateRange; usd: EstimateRange; instance: string }
  /** Where the run is heading, at what an image has taken so far; null while nothing is known. */
  heading: { workerHours: number; usd: number | null } | null
  /** Of the heading, in worker-hours. */
  verdict: 'below' | 'within' | 'above' | null
}

/**
 * Compares hours so far, by image, with the plan. A run of another number of images than planned is compared with its
 * share. Null for a plan that says nothing of the cloud.
 */
export function comparePlan(
  { images, cloud }: Estimate,
  actual: { images: number; expectedImages: number | null; workerHours: number | null; usd: number | null },
): Comparison | null {
  if (cloud === null) return null
  const share = (actual.expectedImages ?? images) / images
  const scale = ({ low, mid, high }: EstimateRange) => ({
    low: low * share,
    mid: mid * share,
    high: high * share,
  })
  const planned = {
    images: Math.round(images * share),
    workerHours: scale(cloud.workerHours),
    usd: scale(cloud.usd),
    instance: cloud.instance,
  }
  if (actual.workerHours === null || actual.images <= 0) return { planned, heading: null, verdict: null }
  const growth = Math.max(1, planned.images / actual.images)
  const workerHours = actual.workerHours * growth
  const { low, high } = planned.workerHours
  return {
    planned,
    heading: { workerHours, usd: actual.usd === null ? null : actual.usd * growth },
    verdict: workerHours < low ? 'below' : workerHours > high ? 'above' : 'within',
  }
}
