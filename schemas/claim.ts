// What a worker writes before it labels an image, and after. Claims save work and nothing else: whoever loses one, or
// reads a stale one, costs a second labelling.
import { z } from 'zod'

export const claimVersion = 1
export const claimsPrefix = 'claims/'

export const ClaimEntry = z.strictObject({
  v: z.literal(claimVersion),
  state: z
    .enum(['held', 'done', 'open'])
    .describe('held: somebody is at it; done: the records are durable; open: it was given up'),
  untilMs: z.int().nonnegative().describe('when the entry stops to count, in milliseconds since 1970'),
})
export type ClaimEntry = z.infer<typeof ClaimEntry>
