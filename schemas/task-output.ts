// What each task puts into a record's `output`. Shapes only; how an answer becomes one is the task's own file.
import { z } from 'zod'

const Fraction = z.number().min(0).max(1)

export const Box = z
  .tuple([Fraction, Fraction, Fraction, Fraction])
  .describe('[x0, y0, x1, y1] as fractions of the upright image, origin top left, x0 < x1 and y0 < y1')
export type Box = z.infer<typeof Box>

export const CaptionOutput = z.strictObject({
  text: z.string().min(1).describe('the caption, no boxes in it'),
})
export type CaptionOutput = z.infer<typeof CaptionOutput>

export const GroundedPhrase = z.strictObject({
  text: z.string().min(1).describe('the words of the caption that the boxes belong to'),
  start: z.int().nonnegative().describe('offset of the first UTF-16 code unit of the phrase in the caption'),
  end: z.int().positive().describe('offset one past the last UTF-16 code unit'),
  boxes: z.array(Box).min(1),
})
export type GroundedPhrase = z.infer<typeof GroundedPhrase>

export const GroundedCaptionOutput = z.strictObject({
  text: z.string().min(1).describe('the caption with its boxes taken out'),
  phrases: z.array(GroundedPhrase).describe('in the order of the caption; the same words may occur twice'),
})
export type GroundedCaptionOutput = z.infer<typeof GroundedCaptionOutput>

export const GroundOutput = z.strictObject({
  phrase: z.string().min(1).describe('what was asked for, as it was given'),
  boxes: z.array(Box).describe('empty when the model said that it is not there'),
})
export type GroundOutput = z.infer<typeof GroundOutput>

export const QaTurn = z.strictObject({
  question: z.string().min(1),
  answer: z.string().min(1),
  kind: z.string().min(1).describe("where the question came from: 'asked' is the user's own"),
})
export type QaTurn = z.infer<typeof QaTurn>

export const QaOutput = z.strictObject({ turns: z.array(QaTurn).min(1) })
export type QaOutput = z.infer<typeof QaOutput>

export const YesNoProbe = z.strictObject({
  question: z.string().min(1),
  answer: z.enum(['yes', 'no']),
  object: z
    .string()
    .min(1)
    .exactOptional()
    .describe('what was asked about, of a probe that was made from a thing'),
  expected: z
    .enum(['yes', 'no'])
    .exactOptional()
    .describe('yes: an earlier task names the object; no: it does not; absent: nobody said anything of it'),
})
export type YesNoProbe = z.infer<typeof YesNoProbe>

export const YesNoOutput = z.strictObject({ probes: z.array(YesNoProbe) })
export type YesNoOutput = z.infer<typeof YesNoOutput>

export const CountOutput = z.strictObject({
  counts: z.array(
    z.strictObject({
      object: z.string().min(1).describe('what was counted, in the plural'),
      count: z.int().nonnegative(),
    }),
  ),
})
export type CountOutput = z.infer<typeof CountOutput>

export const TagsOutput = z.strictObject({
  tags: z.array(z.string().min(1)).describe('lower case, without articles and numbers, each once'),
})
export type TagsOutput = z.infer<typeof TagsOutput>

export const ReadTextOutput = z.strictObject({
  lines: z.array(z.string().min(1)).describe('as it stands in the image; empty when there is no text'),
})
export type ReadTextOutput = z.infer<typeof ReadTextOutput>

export const RegionsOutput = z.strictObject({
  regions: z.array(
    z.strictObject({ box: Box, text: z.string().min(1).describe('what the model says is there') }),
  ),
})
export type RegionsOutput = z.infer<typeof RegionsOutput>

export const QuestionsOutput = z.strictObject({
  questions: z.array(z.string().min(1)).describe('that the model thought of; another task answers them'),
})
export type QuestionsOutput = z.infer<typeof QuestionsOutput>

export const CustomOutput = z.strictObject({
  value: z.json().describe('what a task of the user answers: text, yes or no, a choice, a number or JSON'),
  boxes: z.array(Box).exactOptional().describe('of the answer, where the task allows them'),
})
export type CustomOutput = z.infer<typeof CustomOutput>

export const TaskOutput = z.union([
  GroundedCaptionOutput,
  CaptionOutput,
  GroundOutput,
  QaOutput,
  YesNoOutput,
  CountOutput,
  TagsOutput,
  ReadTextOutput,
  RegionsOutput,
  QuestionsOutput,
  CustomOutput,
])
export type TaskOutput = z.infer<typeof TaskOutput>
