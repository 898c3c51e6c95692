// One word from the operator to a run: pause, resume or cancel. It does not know who obeys.
import { z } from 'zod'

export const runControlVersion = 1
export const runControlPrefix = 'control/'

export const RunAction = z
  .enum(['pause', 'resume', 'cancel'])
  .describe('pause: label nothing for now; resume: go on; cancel: drop what is left, for good')
export type RunAction = z.infer<typeof RunAction>

export const RunControlEntry = z.strictObject({
  v: z.literal(runControlVersion),
  action: RunAction,
  createdAt: z.iso.datetime(),
})
export type RunControlEntry = z.infer<typeof RunControlEntry>
