// The list of tasks, and the specs of a run. A new task is one file here and one line below.
import { UserError } from '../../schemas/errors.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import type { Brings, OwnFields } from '../../schemas/work-item.ts'
import { captionTask } from './caption.ts'
import { detailedCaptionTask } from './detailed-caption.ts'
import { groundTask } from './ground.ts'
import { groundedCaptionTask } from './grounded-caption.ts'
import { qaTask } from './qa.ts'
import type { Task, TaskRequest } from './task.ts'

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

type WantedModel = { name: string; template: PromptTemplate; capabilities: readonly string[] }

type Wanted = {
  /** Task names in the user's order; undefined for the default ones that the model can do. */
  names: readonly string[] | undefined
  questions: readonly string[]
  phrases: readonly string[]
  /** The task in whose text ground finds its phrases. */
  from?: string | undefined
  model: WantedModel
  /** Answers the tasks of the role grounding, where the run has a second model. */
  grounding?: WantedModel | undefined
  /** What images bring themselves, which switches tasks on as `questions` and `phrases` do. */
  brings?: Brings
}

/**
 * The specs of a run, in the order of its tasks: one record for each of them and each image.
 * Throws UserError for a task that does not exist, that the model cannot do, or that lacks its input.
 */
export function planTasks(wanted: Wanted): TaskSpec[] {
  const { questions, phrases, from } = wanted
  const chosen = chooseTasks(wanted)
  for (const task of chosen) refuseUncapable(task, modelOf(task, wanted))
  if (from !== undefined) refuseNoText(from, chosen)
  const itemTasks = listItemTasks(wanted)
  return chosen.flatMap((task) => {
    const { template } = modelOf(task, wanted)
    // A run of one model names no roles: the first model answers everything.
    const role = wanted.grounding === undefined ? undefined : task.role
    const specs = planTask(task, { template, questions, phrases, from }, role)
    if (specs.length === 0 && !itemTasks.includes(task.name))
      throw new UserError(`the task "${task.name}" needs ${task.needs ?? 'more than it was given'}`)
    return specs
  })
}

/** The chosen tasks that ask images what those bring themselves. */
export function listItemTasks(wanted: Wanted): string[] {
  const { brings } = wanted
  if (brings === undefined) return []
  return chooseTasks(wanted)
    .filter(({ takes }) => takes !== undefined && brings[takes])
    .map((task) => task.name)
}

type ItemRun = Pick<RunConfig, 'itemTasks' | 'template' | 'grounding' | 'groundingTemplate'>
type Brought = Pick<OwnFields, 'questions' | 'phrases'>

/** The specs of a run's item tasks for one image; none for a task it brings nothing for. */
export function planItemTasks(run: ItemRun, { questions = [], phrases = [] }: Brought): TaskSpec[] {
  const { itemTasks = [], template, grounding, groundingTemplate = template } = run
  const brought = { questions, phrases }
  return itemTasks
    .map(findTask)
    .filter(({ takes }) => takes !== undefined && brought[takes].length > 0)
    .flatMap((task) => {
      if (grounding === undefined) return planTask(task, { template, ...brought })
      const isSecond = task.role === 'grounding'
      return planTask(task, { template: isSecond ? groundingTemplate : template, ...brought }, task.role)
    })
}

/** How many records an image gets: of a task for which it brings its own, only those. */
export function countItemRecords(run: ItemRun & Pick<RunConfig, 'tasks'>, brought: Brought): number {
  const own = planItemTasks(run, brought)
  const replaced = new Set(own.map(({ task }) => task))
  return run.tasks.filter(({ task }) => !replaced.has(task)).length + own.length
}

/** Which of what an image brings no task of the run takes; null when nothing is left over. */
export function leftOver({ itemTasks = [] }: Pick<RunConfig, 'itemTasks'>, brought: Brought): string | null {
  const taken = new Set(itemTasks.map((name) => findTask(name).takes))
  return (['questions', 'phrases'] as const).find((name) => brought[name] && !taken.has(name)) ?? null
}

function planTask(task: Task, request: TaskRequest, role?: Task['role']): TaskSpec[] {
  return task.plan(request).map((plan, ordinal) => ({
    task: task.name,
    taskVersion: task.version,
    ordinal,
    template: request.template,
    maxNewTokens: task.maxNewTokens,
    ...(role === undefined ? {} : { role }),
    ...plan,
  }))
}

/** The model that answers a task. */
function modelOf({ role }: Task, { model, grounding = model }: Wanted): WantedModel {
  return role === 'grounding' ? grounding : model
}

function refuseNoText(from: string, chosen: readonly Task[]): void {
  const task = findTask(from)
  const names = tasks.filter(({ givesText }) => givesText === true).map(({ name }) => name)
  if (task.givesText !== true)
    throw new UserError(`the task "${from}" gives no text to find things in; choose from ${names.join(', ')}`)
  if (!chosen.includes(task))
    throw new UserError(`things are to be found in what "${from}" says, but it is no task of the run; add it`)
}

function chooseTasks(wanted: Wanted): Task[] {
  const { names, questions, phrases, from, model, brings } = wanted
  const isGiven = {
    questions: questions.length > 0 || brings?.questions === true,
    phrases: phrases.length > 0 || brings?.phrases === true || from !== undefined,
  }
  const hasInput = ({ takes }: Task) => takes !== undefined && isGiven[takes]
  const isAble = (task: Task) => modelOf(task, wanted).capabilities.includes(task.name)
  const named = names?.map(findTask) ?? tasks.filter((task) => task.isDefault && isAble(task))
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
