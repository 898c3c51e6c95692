// How the next token is chosen. Greedy unless a temperature is given.
import { z } from 'zod'

export const Sampling = z.strictObject({
  temperature: z.number().min(0).max(10).describe('0 is greedy; otherwise logits are divided by it'),
  topK: z.int().min(0).describe('keep the k most likely tokens; 0 keeps all'),
  topP: z
    .number()
    .gt(0)
    .max(1)
    .describe('keep the smallest set of tokens whose probability reaches p; 1 keeps all'),
  repetitionPenalty: z
    .number()
    .gt(0)
    .describe('divides positive and multiplies negative logits of tokens seen so far; 1 is off'),
  seed: z.int().min(0).max(0xffff_ffff).describe('of this one record; the same seed gives the same text'),
})
export type Sampling = z.infer<typeof Sampling>

export const greedySampling: Sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 }
