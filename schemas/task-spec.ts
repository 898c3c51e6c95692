// One unit of work on every image: a task with its prompts spelled out. It does not know how an answer is parsed.
import { z } from 'zod'
import { Constraint } from './constraint.ts'
import { PromptTemplate } from './model-manifest.ts'

export const TaskName = z
  .string()
  .regex(/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/)
  .max(60)
  .describe('lower-case words joined by hyphens, for example grounded-caption')
export type TaskName = z.infer<typeof TaskName>

export const TaskRole = z
  .enum(['chat', 'grounding'])
  .describe("which of a run's models: chat is its first, grounding the one for boxes")
export type TaskRole = z.infer<typeof TaskRole>

export const SampleChoice = z
  .enum(['majority', 'medoid'])
  .describe('majority: what is said most often; medoid: what shares most words with the others')
export type SampleChoice = z.infer<typeof SampleChoice>

/** What becomes of captions that stand beside the images. */
export const ExistingMode = z
  .enum(['keep', 'overwrite', 'append', 'context'])
  .describe(
    'keep: the model is not asked; append: its caption comes behind; context: it is told to the model',
  )
export type ExistingMode = z.infer<typeof ExistingMode>

/** What stands behind the question where a caption is told to the model. */
export function existingHint(caption: string): string {
  return ` It has been described as ${JSON.stringify(caption)}.`
}

export const TaskPrompt = z.strictObject({
  question: z.string().max(8000).describe('what the model is asked, before its template is put around it'),
  kind: z.string().min(1).max(60).optional().describe('of a question: where it came from'),
})
export type TaskPrompt = z.infer<typeof TaskPrompt>

/** A task plans one spec for each record it makes of an image: `ground` makes one for each phrase. */
export const TaskSpec = z.strictObject({
  task: TaskName,
  taskVersion: z.int().positive().describe('raised when the prompt or the parsing of the task changes'),
  ordinal: z.int().nonnegative().describe('tells apart several specs of one task; 0 for the first'),
  template: PromptTemplate,
  prompts: z
    .array(TaskPrompt)
    .min(1)
    .max(64)
    .describe('asked independently of each other, about the same image'),
  maxNewTokens: z.int().positive().max(8192).describe('answer limit of each prompt'),
  prefix: z
    .string()
    .min(1)
    .max(60)
    .optional()
    .describe('put before each question: how one model is told to answer in the manner of a role'),
  constraint: Constraint.optional(),
  samples: z
    .strictObject({
      count: z.int().min(2).max(16).describe('answers drawn for each prompt'),
      choice: SampleChoice,
    })
    .optional()
    .describe('one answer to each prompt when left out'),
  options: z
    .record(z.string(), z.json())
    .optional()
    .describe("the task's own settings, for example the phrase to find"),
  // Optional without a default: a default would give the specs of older runs other hashes.
  role: TaskRole.optional().describe('the model that answers; chat when left out'),
  after: TaskName.optional().describe(
    'the task of the same run whose first output for the same image fills in the prompts',
  ),
  besides: z
    .array(TaskName)
    .min(1)
    .max(7)
    .optional()
    .describe('further tasks of the run whose first outputs fill in the prompts too'),
})
export type TaskSpec = z.infer<typeof TaskSpec>

/** The tasks whose outputs a spec waits for. */
export function upstreamOf({ after, besides = [] }: Pick<TaskSpec, 'after' | 'besides'>): string[] {
  return after === undefined ? [] : [after, ...besides]
}
