// Tasks that a user defines in a file of their own: a prompt with variables, the form of the answer, limits and checks.
// It does not know how they are asked.
import { z } from 'zod'
import { CheckSetting } from './check-setting.ts'
import { SampleChoice, TaskName, TaskRole } from './task-spec.ts'

export const AnswerForm = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('text') }),
  z.strictObject({ kind: z.literal('yes-no') }),
  z.strictObject({ kind: z.literal('number').describe('a whole number from 0') }),
  z.strictObject({
    kind: z.literal('choice'),
    choices: z.array(z.string().min(1).max(200)).min(2).max(256),
  }),
  z.strictObject({
    kind: z.literal('json'),
    schema: z
      .record(z.string(), z.json())
      .describe(
        'JSON Schema of the answer: type, properties, required, items, minItems, maxItems, maxLength, enum, const, anyOf, oneOf',
      ),
  }),
])
export type AnswerForm = z.infer<typeof AnswerForm>

const BoxPolicy = z
  .enum(['never', 'allowed', 'always'])
  .describe('never: boxes are taken out of the answer; always: an answer without one is a failure')

export const TaskDefinition = z.strictObject({
  name: TaskName.refine(
    (name) => !(name in {}),
    'is a word that every object of JavaScript has; choose another',
  ).describe('of your own, not that of a task that comes with coglabel'),
  version: z.int().positive().default(1).describe('raise it when the prompt changes'),
  prompt: z
    .string()
    .min(1)
    .max(4000)
    .describe(
      'what the model is asked; {{filename}}, {{folder}}, {{meta.x}} of a manifest line and {{prev.TASK.field}} are filled in',
    ),
  answer: AnswerForm.default({ kind: 'text' }),
  boxes: BoxPolicy.default('never'),
  role: TaskRole.exactOptional(),
  maxNewTokens: z.int().positive().max(4096).default(256).describe('answer limit'),
  samples: z
    .strictObject({ count: z.int().min(2).max(16), choice: SampleChoice })
    .exactOptional()
    .describe('several answers, one of which stands'),
  checks: z
    .array(CheckSetting.omit({ tasks: true }))
    .max(32)
    .exactOptional()
    .describe('gates of this task alone'),
})
export type TaskDefinition = z.infer<typeof TaskDefinition>

export const TaskFile = z.strictObject({ tasks: z.array(TaskDefinition).min(1).max(32) })
export type TaskFile = z.infer<typeof TaskFile>
