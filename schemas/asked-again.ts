// What one reconciling asked for again: how much of it is left shows in what is made later. Written once its messages
// are sent. It does not know which images.
import { z } from 'zod'
import { planPrefix } from './plan-page.ts'

export const askedAgainVersion = 1
/** Beside the shards of the plan, of which none has this name. */
export const askedAgainPrefix = `${planPrefix}asked-again/`

export const AskedAgain = z.strictObject({
  v: z.literal(askedAgainVersion),
  images: z.int().positive(),
  records: z.int().positive().describe('that the images lacked: as many are made if no message is lost'),
  afterGeneration: z
    .int()
    .nonnegative()
    .describe('the last that was sealed before: what is made of it is sealed later'),
  createdAt: z.iso.datetime(),
})
export type AskedAgain = z.infer<typeof AskedAgain>
