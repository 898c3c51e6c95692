// How a run's labels are doing, as numbers: what is counted of records, and from which shares a run had better stop.
// It does not know how that is found out, nor who stops.
import { z } from 'zod'

export const HealthRate = z.enum([
  'loops',
  'stock-openings',
  'refusals',
  'duplicates',
  'bad-boxes',
  'length-drift',
])
export type HealthRate = z.infer<typeof HealthRate>
export const healthRates = HealthRate.options

export const HealthLimits = z.strictObject({
  window: z
    .int()
    .min(10)
    .max(100_000)
    .describe('records that a rate is taken over; none is judged before there are so many'),
  most: z
    .record(HealthRate, z.number().nonnegative())
    .describe(
      'shares from which the run had better stop; of length-drift, how many times longer or shorter captions became',
    ),
})
export type HealthLimits = z.infer<typeof HealthLimits>

/** Limits, or the word that nothing stops the run. */
export const HealthSetting = z.union([z.literal('off'), HealthLimits])
export type HealthSetting = z.infer<typeof HealthSetting>

const Count = z.int().nonnegative()

export const HealthTally = z
  .strictObject({
    records: Count.describe('that have an output'),
    checks: z
      .record(z.string().min(1), z.strictObject({ judged: Count, found: Count }))
      .describe('by check: records it looked at, and those that it found fault with'),
    words: z
      .record(z.string().min(1), z.strictObject({ texts: Count, words: Count }))
      .describe('by task: running texts, and words in all of them'),
  })
  .describe('counted over some records, so that sums of tallies are tallies')
export type HealthTally = z.infer<typeof HealthTally>
