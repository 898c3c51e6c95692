// What labelling so many images is expected to take: measured on a few of them, or worked out from a rate. It does not
// know how it was measured, nor what became of it.
import { z } from 'zod'
import { RunModel } from './run-config.ts'

export const estimateVersion = 1

/** Where a run at a place keeps it. */
export const estimateKey = 'estimate.json'

export const EstimateRange = z
  .strictObject({
    low: z.number().nonnegative(),
    mid: z.number().nonnegative(),
    high: z.number().nonnegative(),
  })
  .refine(({ low, mid, high }) => low <= mid && mid <= high, { message: 'low, mid and high are in order' })
export type EstimateRange = z.infer<typeof EstimateRange>

export const PilotEstimate = z.strictObject({
  images: z.int().positive().describe('that were labelled to measure'),
  seed: z.int().describe('of their choice'),
  failedRecords: z.int().nonnegative(),
  engine: z.string().min(1).describe('runtime and kernel class'),
  loadMs: z.number().nonnegative().describe('until the model was there'),
  imageMs: EstimateRange.describe('mean time of an image in the run; low to high is its 95 % interval'),
  durationMs: EstimateRange.describe('all images on this machine'),
  hourUsd: z.number().positive().nullable().describe('what an hour of this machine costs, as the user says'),
  usd: EstimateRange.nullable().describe('null where no price is known'),
})
export type PilotEstimate = z.infer<typeof PilotEstimate>

export const CloudEstimate = z.strictObject({
  region: z.string().min(1),
  instance: z.string().min(1).describe('type that the figures are for'),
  pricesAsOf: z.string().min(1).describe("date of the instance's prices"),
  imagesPerSecond: z.number().positive().describe('of one worker'),
  rateFrom: z
    .enum(['given', 'pilot', 'yardstick'])
    .describe(
      "given: by the user; pilot: this machine's; yardstick: another program's, for nothing better is known",
    ),
  workers: z.int().positive().describe('at once'),
  durationMs: EstimateRange,
  workerHours: EstimateRange.describe('paid: labelling, booting and the idle tail'),
  usd: EstimateRange.describe('of the run; what a deployment costs when idle is apart'),
  fixedMonthUsd: z.number().nonnegative().describe('what the deployment costs a month, with no image at all'),
})
export type CloudEstimate = z.infer<typeof CloudEstimate>

export const Estimate = z.strictObject({
  v: z.literal(estimateVersion),
  createdAt: z.iso.datetime(),
  images: z.int().positive(),
  recordsPerImage: z.number().nonnegative().nullable().describe('null where no model was asked'),
  model: RunModel.nullable().describe('null where no model was asked'),
  tasks: z.array(z.string()).describe('one for each record of an image'),
  pilot: PilotEstimate.nullable().describe('null where no image was labelled to measure'),
  cloud: CloudEstimate.nullable(),
})
export type Estimate = z.infer<typeof Estimate>
