// How a run on this machine went, planned against actual: run.json beside its labels. A view for people and scripts,
// rewritten after every command; the sealed labels are the truth.
import { z } from 'zod'
import { Estimate } from './estimate.ts'
import { StatusCounts } from './sealed-manifest.ts'
import { RunId } from './work-message.ts'

export const runReportVersion = 1
export const runReportName = 'run.json'

/** Commands on one run folder that a report remembers; older ones are summed into the first. */
export const maxRunSessions = 1000

export const RunEnd = z
  .enum(['all-done', 'limit', 'interrupted', 'stopped'])
  .describe('limit: one that the user set; interrupted: drained; stopped: at once, at the second interrupt')
export type RunEnd = z.infer<typeof RunEnd>

export const RunSession = z.strictObject({
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  ended: RunEnd,
  limit: z.string().nullable().describe('the one that ended it, as the flag was given'),
  labelled: z.int().nonnegative().describe('images, those that were done before left out'),
  durationMs: z.number().nonnegative().describe('of labelling; loading the model is not in it'),
  usd: z
    .number()
    .nonnegative()
    .nullable()
    .describe('duration times the price of an hour, where one was given'),
})
export type RunSession = z.infer<typeof RunSession>

export const RunReport = z.strictObject({
  v: z.literal(runReportVersion),
  runId: RunId,
  planned: z.strictObject({
    images: z.int().nonnegative().describe('of the source that this command was to label'),
    estimate: Estimate.nullable().describe('of `coglabel plan`, where one was given'),
  }),
  actual: z.strictObject({
    images: z.int().nonnegative().describe('with sealed records'),
    byTask: z.record(z.string(), StatusCounts),
    failures: z.record(z.string(), z.int().positive()).describe('failed records by code'),
    labelled: z.int().nonnegative().describe('images in all sessions'),
    durationMs: z.number().nonnegative().describe('of all sessions'),
    imageMs: z.number().nonnegative().nullable().describe('mean time of an image that was labelled'),
    usd: z.number().nonnegative().nullable().describe('of the sessions whose price is known'),
  }),
  sessions: z.array(RunSession).max(maxRunSessions).describe('oldest first'),
})
export type RunReport = z.infer<typeof RunReport>
