// Which quality gates a run has, and what each does to a label that it turns down. It does not know how they judge.
import { z } from 'zod'
import { TaskName } from './task-spec.ts'

const CheckName = z
  .string()
  .regex(/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/)
  .max(60)
  .describe('lower-case words joined by hyphens, for example repetition-loop')

export const CheckSetting = z.strictObject({
  name: CheckName,
  action: z
    .enum(['filter', 'note'])
    .describe('filter: a label that does not pass is filtered; note: the finding is kept beside the label'),
  share: z
    .number()
    .gt(0)
    .max(1)
    .exactOptional()
    .describe('of the images, chosen by their bytes; all when left out'),
  tasks: z
    .array(TaskName)
    .min(1)
    .max(64)
    .exactOptional()
    .describe('only labels of these tasks; of all when left out'),
})
export type CheckSetting = z.infer<typeof CheckSetting>
