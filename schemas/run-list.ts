// The list of a run whose manifest was uploaded: which lines say what is asked of each image. Written when all of its
// lines are there, so that whoever finds it finds them.
import { z } from 'zod'

export const runListVersion = 1
/** Beside the pages of the plan, where planners may read; no shard of a plan has these names. */
export const runListKey = 'plan/list.json'

const Count = z.int().nonnegative()

export const RunList = z.strictObject({
  v: z.literal(runListVersion),
  images: Count,
  files: z
    .array(
      z.strictObject({
        key: z.string().regex(/^plan\/lines\/[0-9]{5}\.jsonl$/),
        images: Count,
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .max(100_000)
    .describe('in order; a line is {"bucket", "key"} and what its image has of its own'),
})
export type RunList = z.infer<typeof RunList>

/** Key of the lines of one file in the run. */
export function runListLinesKey(index: number): string {
  return `plan/lines/${String(index).padStart(5, '0')}.jsonl`
}
