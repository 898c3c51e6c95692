// One step of a plan: how far the planner is in one shard of a run's source. Written once its messages are sent.
import { z } from 'zod'

export const planPageVersion = 1
export const planPrefix = 'plan/'

const PlanShardName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,99}$/)
  .describe('one listing of the source: prefix, or list-00000 for the first file of a list')

const Count = z.int().nonnegative()

/** Counts are of the shard so far, so that its last page tells all. */
export const PlanPage = z.strictObject({
  v: z.literal(planPageVersion),
  shard: PlanShardName,
  page: z.int().positive().describe('1 is the first'),
  cursor: z.string().max(4096).describe('the next page begins behind it: a key, or the number of a line'),
  isLast: z.boolean().describe('the shard holds nothing more'),
  images: Count,
  records: Count.optional().describe("what the images get; when left out, one for each of the run's tasks"),
  messages: Count,
  skipped: z.record(z.string(), Count).describe('keys that are no work, by reason'),
  createdAt: z.iso.datetime(),
})
export type PlanPage = z.infer<typeof PlanPage>

/** Key of a page in the run; eight digits keep the listing in order. */
export function planPageKey(shard: string, page: number): string {
  return `${planPrefix}${shard}/${String(page).padStart(8, '0')}.json`
}
