// Which images a run does not spend anything on: too small, too thin, of one colour, or seen already. It does not know
// how that is found out.
import { z } from 'zod'

export const DedupeKind = z
  .enum(['exact', 'near'])
  .describe('exact: equal bytes; near: also pictures that look alike, as resized or saved again')
export type DedupeKind = z.infer<typeof DedupeKind>

export const InputRules = z.strictObject({
  minSide: z.int().positive().exactOptional().describe('pixels, upright; of the shorter side'),
  maxAspect: z.number().min(1).exactOptional().describe('longer side by shorter side'),
  blank: z.literal(true).exactOptional().describe('leave out images of hardly more than one colour'),
  dedupe: DedupeKind.exactOptional(),
})
export type InputRules = z.infer<typeof InputRules>
