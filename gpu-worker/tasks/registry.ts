// The list of tasks, and the specs of a run. A new task is one file here and one line below.
import { UserError } from '../../schemas/errors.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import type { Box } from '../../schemas/task-output.ts'
import type { TaskDefinition } from '../../schemas/task-file.ts'
import { graphProblem } from '../../schemas/task-graph.ts'
import type { TaskSpec } from '../../schemas/task-spec.ts'
import type { Brings, OwnFields } from '../../schemas/work-item.ts'
import { askQuestionsTask } from './ask-questions.ts'
import { customTask, customTaskOf } from './custom.ts'
import { captionTask } from './caption.ts'
import { countTask } from './count.ts'
import { describeRegionTask } from './describe-region.ts'
import { detailedCaptionTask } from './detailed-caption.ts'
import { groundTask } from './ground.ts'
import { groundedCaptionTask } from './grounded-caption.ts'
import { qaTask } from './qa.ts'
import { readTextTask } from './read-text.ts'
import { tagsTask } from './tags.ts'
import type { Task, TaskRequest } from './task.ts'
import { prevTasksOf } from './variables.ts'
import { yesNoTask } from './yes-no.ts'

export const tasks: readonly Task[] = [
  captionTask,
  detailedCaptionTask,
  qaTask,
  groundedCaptionTask,
  groundTask,
  describeRegionTask,
  yesNoTask,
  countTask,
  tagsTask,
  readTextTask,
  askQuestionsTask,
]

/** The task of this name. Throws UserError when there is none. */
export function findTask(name: string): Task {
  const task = tasks.find((candidate) => candidate.name === name)
  if (task !== undefined) return task
  throw new UserError(
    `there is no task "${name}"; choose from ${tasks.map((known) => known.name).join(', ')}`,
  )
}

/** The task that a spec is of: one that comes with us, or the user's own that the spec carries. */
export function taskOf(spec: TaskSpec): Task {
  return customTaskOf(spec) ?? findTask(spec.task)
}

type WantedModel = { name: string; template: PromptTemplate; capabilities: readonly string[] }

/** A task asked about what another one says; `why` is who wants it, where that is not the user. */
export type Follow = { task: string; after: string; why?: string }

export type Wanted = {
  /** Task names in the user's order; undefined for the default ones that the model can do. */
  names: readonly string[] | undefined
  questions: readonly string[]
  phrases: readonly string[]
  objects?: readonly string[]
  regions?: readonly Box[]
  probing?: TaskRequest['probing']
  styles?: TaskRequest['styles']
  existing?: TaskRequest['existing']
  /** Puts questions with short answers in the vqa template, whatever the model's own is. */
  shortAnswers?: boolean
  /** Put before the questions of grounding tasks, for one model that answers both roles. */
  groundingPrefix?: string | undefined
  follows?: readonly Follow[]
  /** Tasks of the user's own, asked besides. */
  definitions?: readonly TaskDefinition[]
  /** False lets the model say what it likes, whatever form a task's answers have. */
  constrain?: boolean
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
  const { questions, phrases, objects = [], regions = [], probing, styles, existing } = wanted
  const chosen = chooseTasks(wanted)
  for (const task of chosen) refuseUncapable(task, modelOf(task, wanted))
  const follows = followsOf(chosen, wanted)
  for (const follow of follows) refuseFollow(follow, chosen)
  for (const definition of wanted.definitions ?? []) refusePrevious(definition, chosen)
  const itemTasks = listItemTasks(wanted)
  const specs = chosen.flatMap((task) => {
    // A run of one model names no roles: the first model answers everything.
    const role = wanted.grounding === undefined ? undefined : task.role
    const from = follows.filter((follow) => follow.task === task.name).map(({ after }) => after)
    const request = {
      template: templateOf(task, modelOf(task, wanted), wanted.shortAnswers),
      questions,
      phrases,
      from: [...new Set(from)],
      objects,
      regions,
      ...(probing === undefined ? {} : { probing }),
      ...(styles === undefined ? {} : { styles }),
      ...(existing === undefined ? {} : { existing }),
    }
    const prefix = task.role === 'grounding' ? wanted.groundingPrefix : undefined
    const planned = planTask(task, request, { role, isConstrained: wanted.constrain !== false, prefix })
    if (planned.length === 0 && !itemTasks.includes(task.name))
      throw new UserError(`the task "${task.name}" needs ${task.needs ?? 'more than it was given'}`)
    return planned
  })
  refuseKnots(specs)
  return specs
}

/** The specs must have an order in which each is asked after what it takes. */
function refuseKnots(specs: readonly TaskSpec[]): void {
  const problem = graphProblem(specs)
  if (problem !== null)
    throw new UserError(`${problem}; take one of them out, or what it takes: {{prev.…}}, --ground-from`)
}

/** The chosen tasks that ask images what those bring themselves. */
export function listItemTasks(wanted: Wanted): string[] {
  const { brings } = wanted
  if (brings === undefined) return []
  return chooseTasks(wanted)
    .filter(({ takes }) => takes !== undefined && takes !== 'regions' && brings[takes])
    .map((task) => task.name)
}

type ItemRun = Pick<
  RunConfig,
  'tasks' | 'itemTasks' | 'itemAsk' | 'template' | 'grounding' | 'groundingTemplate'
>
type Brought = Pick<OwnFields, 'questions' | 'phrases'>

/** The specs of a run's item tasks for one image; none for a task it brings nothing for. */
export function planItemTasks(run: ItemRun, { questions = [], phrases = [] }: Brought): TaskSpec[] {
  const { itemTasks = [], itemAsk, template, grounding, groundingTemplate = template } = run
  const { prefix, samples, hasShortAnswers } = itemAsk ?? {}
  const brought = { questions, phrases, regions: [] }
  // A run of an earlier build tells it by its own tasks.
  const isConstrained = itemAsk?.isConstrained ?? run.tasks.some(({ constraint }) => constraint !== undefined)
  return itemTasks
    .map(findTask)
    .filter(({ takes }) => takes !== undefined && brought[takes].length > 0)
    .flatMap((task) => {
      const isSecond = grounding !== undefined && task.role === 'grounding'
      const own = { template: isSecond ? groundingTemplate : template }
      const asked = { questions, phrases, from: [], objects: [], regions: [] }
      const planned = planTask(
        task,
        { template: templateOf(task, own, hasShortAnswers), ...asked },
        {
          isConstrained,
          role: grounding === undefined ? undefined : task.role,
          prefix: task.role === 'grounding' ? prefix : undefined,
        },
      )
      return planned.map((spec) => withSamples(spec, samples))
    })
}

/** Several answers to each prompt, but where the task says how many it wants itself. */
export function withSamples(spec: TaskSpec, samples: TaskSpec['samples']): TaskSpec {
  return samples === undefined || spec.samples !== undefined ? spec : { ...spec, samples }
}

/** How many records an image gets: of a task for which it brings its own, only those. */
export function countItemRecords(run: ItemRun, brought: Brought): number {
  const own = planItemTasks(run, brought)
  const replaced = new Set(own.map(({ task }) => task))
  return run.tasks.filter(({ task }) => !replaced.has(task)).length + own.length
}

/** Which of what an image brings no task of the run takes; null when nothing is left over. */
export function leftOver({ itemTasks = [] }: Pick<RunConfig, 'itemTasks'>, brought: Brought): string | null {
  const taken = new Set(itemTasks.map((name) => findTask(name).takes))
  return (['questions', 'phrases'] as const).find((name) => brought[name] && !taken.has(name)) ?? null
}

type Planned = { role?: Task['role'] | undefined; isConstrained: boolean; prefix?: string | undefined }

function planTask(task: Task, request: TaskRequest, { role, isConstrained, prefix }: Planned): TaskSpec[] {
  return task.plan(request).map((plan, ordinal) => ({
    task: task.name,
    taskVersion: task.version,
    ordinal,
    template: request.template,
    maxNewTokens: task.maxNewTokens,
    ...(role === undefined ? {} : { role }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(task.constraint === undefined || !isConstrained ? {} : { constraint: task.constraint }),
    ...plan,
  }))
}

/** The template of a task's prompts: the model's own, unless short answers are wanted of a task that has them. */
function templateOf(
  task: Task,
  { template }: Pick<WantedModel, 'template'>,
  wantsShort = false,
): PromptTemplate {
  return wantsShort && task.hasShortAnswers === true ? 'vqa' : template
}

/** The model that answers a task. */
function modelOf({ role }: Task, { model, grounding = model }: Wanted): WantedModel {
  return role === 'grounding' ? grounding : model
}

/** What was asked to follow, and, for a task that nobody gave anything to work on, the first of the run it can follow. */
function followsOf(chosen: readonly Task[], wanted: Wanted): Follow[] {
  const { follows = [], questions } = wanted
  const isFed = (task: Task) =>
    follows.some((follow) => follow.task === task.name) ||
    (task.takes === 'questions' && questions.length > 0)
  const byDefault = chosen.flatMap((task) => {
    if (task.followsByDefault === undefined || isFed(task)) return []
    const after = task.followsByDefault.find((name) => chosen.some((other) => other.name === name))
    return after === undefined ? [] : [{ task: task.name, after }]
  })
  return [...follows, ...byDefault]
}

function refuseFollow({ task, after, why }: Follow, chosen: readonly Task[]): void {
  // One of the user's own is known only where it is asked.
  const earlier = chosen.find(({ name }) => name === after) ?? findTask(after)
  const names = [...new Set([...tasks, ...chosen])].filter(({ givesText }) => givesText === true)
  const isUsable = earlier.givesText === true || findTask(task).followsByDefault?.includes(after) === true
  if (!isUsable)
    throw new UserError(
      `the task "${after}" gives no text to find things in; choose from ${names.map(({ name }) => name).join(', ')}`,
    )
  if (!chosen.includes(earlier)) {
    throw new UserError(
      why === undefined
        ? `things are to be found in what "${after}" says, but it is no task of the run; add it`
        : `${why} needs the task "${after}", which is no task of the run; add it to --tasks`,
    )
  }
}

function refusePrevious({ name, prompt }: TaskDefinition, chosen: readonly Task[]): void {
  for (const before of prevTasksOf(prompt)) {
    if (chosen.some((task) => task.name === before)) continue
    throw new UserError(
      `the prompt of "${name}" takes what "${before}" says, which is no task of the run; add it to --tasks`,
    )
  }
}

function chooseTasks(wanted: Wanted): Task[] {
  const { names, questions, phrases, regions = [], follows = [], model, brings } = wanted
  const isGiven = {
    questions: questions.length > 0 || brings?.questions === true,
    phrases: phrases.length > 0 || brings?.phrases === true,
    regions: regions.length > 0,
  }
  const hasInput = ({ name, takes }: Task) =>
    (takes !== undefined && isGiven[takes]) || follows.some(({ task }) => task === name)
  const isAble = (task: Task) => modelOf(task, wanted).capabilities.includes(abilityOf(task))
  const named = names?.map(findTask) ?? tasks.filter((task) => task.isDefault && isAble(task))
  const chosen = [...new Set([...named, ...tasks.filter(hasInput), ...ownTasks(wanted)])]
  if (chosen.length > 0) return chosen
  throw new UserError(
    `the model ${model.name} can do none of the default tasks; name one of ${listCapabilities(model)} with --tasks`,
  )
}

function ownTasks({ definitions = [] }: Wanted): Task[] {
  for (const { name } of definitions) {
    if (tasks.some((task) => task.name === name))
      throw new UserError(`"${name}" is a task that comes with coglabel; give yours another name`)
    if (definitions.filter((other) => other.name === name).length > 1)
      throw new UserError(`two tasks are called "${name}"; give each its own name`)
  }
  return definitions.map(customTask)
}

function abilityOf({ name, ability = name }: Task): string {
  return ability
}

function refuseUncapable(task: Task, model: WantedModel): void {
  if (model.capabilities.includes(abilityOf(task))) return
  throw new UserError(
    `the model ${model.name} cannot do the task "${task.name}"; it can do ${listCapabilities(model)}`,
  )
}

/** What a model that can do everything is able to do: without boxes, and with them. */
export function listAbilities(): { plain: string[]; boxes: string[] } {
  const abilitiesOf = (some: readonly Task[]) => [...new Set(some.map(abilityOf))]
  return {
    plain: abilitiesOf(tasks.filter(({ role }) => role !== 'grounding')),
    boxes: abilitiesOf(tasks.filter(({ role }) => role === 'grounding')),
  }
}

function listCapabilities(model: WantedModel): string {
  const known = tasks.filter((task) => model.capabilities.includes(abilityOf(task))).map((task) => task.name)
  return known.length === 0 ? 'none of the tasks' : known.join(', ')
}
