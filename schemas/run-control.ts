// One word to a run, from a person or from what watches it: pause, resume or cancel. It does not know who obeys.
import { z } from 'zod'
import { HealthSetting } from './health.ts'

export const runControlVersion = 3
/** Read too: the same without a generation. */
const olderRunControlVersion = 2
export const runControlPrefix = 'control/'

export const RunAction = z
  .enum(['pause', 'resume', 'cancel'])
  .describe('pause: label nothing for now; resume: go on; cancel: drop what is left, for good')
export type RunAction = z.infer<typeof RunAction>

export const PauseCause = z
  .enum(['person', 'health', 'cost-cap'])
  .describe('who switched: a person, what the checks found, or the spend')
export type PauseCause = z.infer<typeof PauseCause>

export const RunControlEntry = z.strictObject({
  v: z.literal([runControlVersion, olderRunControlVersion]),
  action: RunAction,
  cause: PauseCause.optional().describe('a person when left out'),
  reason: z.string().max(1000).optional().describe('for people, why'),
  health: HealthSetting.optional().describe(
    'from here on, in the place of what the run began with; of a resume',
  ),
  afterGeneration: z
    .int()
    .nonnegative()
    .optional()
    .describe('of a resume, the last that was sealed: what came up to it is not held against the run again'),
  createdAt: z.iso.datetime().describe('by the clock of whoever switched, so nothing is ordered by it'),
})
export type RunControlEntry = z.infer<typeof RunControlEntry>
