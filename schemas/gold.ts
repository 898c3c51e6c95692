// What is known to be right about one image: its objects, and questions with their answers. It does not know who asks.
import { z } from 'zod'
import { Box } from './task-output.ts'

export const GoldObject = z.object({
  name: z.string().min(1).describe('what it is, in the words of world.json'),
  box: Box.refine(
    ([x0, y0, x1, y1]) => x0 < x1 && y0 < y1,
    'expected x0 < x1 and y0 < y1: two corners, not a corner with a width and a height',
  ),
  colour: z.string().min(1).optional().describe('only where it has a clear one'),
})
export type GoldObject = z.infer<typeof GoldObject>

export const GoldQuestion = z.object({
  question: z.string().min(1).describe('exactly as it is asked; answers are joined on it'),
  answer: z.string().min(1),
  kind: z
    .string()
    .min(1)
    .describe('what it is about: exists, count, colour, where, ground, name or a kind of your own'),
})
export type GoldQuestion = z.infer<typeof GoldQuestion>

/** Not strict: gold comes from other tools too, and fields of theirs do no harm. */
export const GoldLine = z.object({
  key: z.string().min(1).describe("the image's key in the source it is labelled from"),
  width: z.int().positive().describe('pixels, upright'),
  height: z.int().positive().describe('pixels, upright'),
  objects: z.array(GoldObject),
  questions: z.array(GoldQuestion),
})
export type GoldLine = z.infer<typeof GoldLine>
