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
  .enum(['all-done', 'limit', 'quality', 'interrupted', 'stopped'])
  .describe(
    'limit: one that the user set; quality: too many labels that checks find fault with; interrupted: drained; stopped: at once, at the second interrupt',
  )
export type RunEnd = z.infer<typeof RunEnd>

export const RunSession = z.strictObject({
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  ended: RunEnd,
  limit: z
    .string()
    .nullable()
    .describe('what ended it: a flag as it was given, or the rate that went past its limit'),
  command: z.string().exactOptional().describe("without the program's name; earlier builds did not note it"),
  labelled: z.int().nonnegative().describe('images, those that were done before left out'),
  durationMs: z.number().nonnegative().describe('of labelling; loading the model is not in it'),
  usd: z
    .number()
    .nonnegative()
    .nullable()
    .describe('duration times the price of an hour, where one was given'),
  health: z
    .strictObject({
      records: z.int().nonnegative().describe('that were judged'),
      rates: z
        .record(z.string(), z.number().nonnegative().nullable())
        .describe('over the last of them: shares, and how many times captions changed their length'),
    })
    .exactOptional()
    .describe('what the checks found of late; left out where it was not watched'),
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
