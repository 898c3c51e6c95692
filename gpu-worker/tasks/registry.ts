// The list of tasks, and the specs of a run. A new task is one file here and one line below.
import { UserError } from '../../schemas/errors.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import { captionTask } from './caption.ts'
import { detailedCaptionTask } from './detailed-caption.ts'
import { groundTask } from './ground.ts'
import { groundedCaptionTask } from './grounded-caption.ts'
import { qaTask } from './qa.ts'
import type { Task } from './task.ts'

export const tasks: readonly Task[] = [
  captionTask,
  detailedCaptionTask,
  qaTask,
  groundedCaptionTask,
  groundTask,
]

/** The task of this name. Throws UserError when there is none. */
export function findTask(name: string): Task {
  const task = tasks.find((candidate) => candidate.name === name)
  if (task !== undefined) return task
  throw new UserError(
    `there is no task "${name}"; choose from ${tasks.map((known) => known.name).join(', ')}`,
  )
}

type Wanted = {
  /** Task names in the user's order; undefined for the default ones that the model can do. */
  names: readonly string[] | undefined
  questions: readonly string[]
  phrases: readonly string[]
  model: { name: string; template: PromptTemplate; capabilities: readonly string[] }
}

/**
 * The specs of a run, in the order of its tasks: one record for each of them and each image.
 * Throws UserError for a task that does not exist, that the model cannot do, or that lacks its input.
 */
export function planTasks({ names, questions, phrases, model }: Wanted): TaskSpec[] {
  const chosen = chooseTasks({ names, questions, phrases, model })
  for (const task of chosen) refuseUncapable(task, model)
  return chosen.flatMap((task) =>
    task.plan({ template: model.template, questions, phrases }).map((plan, ordinal) => ({
      task: task.name,
      taskVersion: task.version,
      ordinal,
      template: model.template,
      maxNewTokens: task.maxNewTokens,
      ...plan,
    })),
  )
}

function chooseTasks({ names, questions, phrases, model }: Wanted): Task[] {
  const hasInput = (task: Task) =>
    (task.takes === 'questions' && questions.length > 0) || (task.takes === 'phrases' && phrases.length > 0)
  const named =
    names?.map(findTask) ?? tasks.filter((task) => task.isDefault && model.capabilities.includes(task.name))
  const chosen = [...new Set([...named, ...tasks.filter(hasInput)])]
  if (chosen.length > 0) return chosen
  throw new UserError(
    `the model ${model.name} can do none of the default tasks; name one of ${listCapabilities(model)} with --tasks`,
  )
}

function refuseUncapable(task: Task, model: Wanted['model']): void {
  if (model.capabilities.includes(task.name)) return
  throw new UserError(
    `the model ${model.name} cannot do the task "${task.name}"; it can do ${listCapabilities(model)}`,
  )
}

function listCapabilities(model: Wanted['model']): string {
  const known = tasks.filter((task) => model.capabilities.includes(task.name)).map((task) => task.name)
  return known.length === 0 ? 'none of the tasks' : known.join(', ')
}
