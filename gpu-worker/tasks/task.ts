// What a labeling task is to the pipeline: it plans its prompts and parses its answers. It does not know engines or files.
import type { ObjectStatistics, ProbeSampling } from './absent-objects.ts'
import type { QuestionStyle } from './question-templates.ts'
import type { Constraint } from '../../schemas/constraint.ts'
import type { FailureCode } from '../../schemas/failure.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import type { Box, TaskOutput } from '../../schemas/task-output.ts'
import type { ExistingMode, TaskPrompt, TaskRole, TaskSpec } from '../../schemas/task-spec.ts'
import type { z } from 'zod'
import type { JsonValue, PromptItem } from './variables.ts'

/** What the user gave besides the task's name; each task takes what is its own. */
export type TaskRequest = {
  template: PromptTemplate
  questions: readonly string[]
  phrases: readonly string[]
  /** Tasks of the run whose output this one is asked about, one plan for each. */
  from: readonly string[]
  /** Things to ask about, given by name. */
  objects: readonly string[]
  /** Boxes to ask about. */
  regions: readonly Box[]
  /** Of yes-no: which things that nobody named are asked about too. */
  probing?: { sampling?: ProbeSampling; statistics?: ObjectStatistics }
  /** What becomes of captions that stand beside the images. */
  existing?: ExistingMode
  /** Of questions that are made up. */
  styles?: readonly QuestionStyle[]
}

/** The part of a spec that the task itself decides; one plan for each record it makes of an image. */
export type TaskPlan = {
  prompts: TaskPrompt[]
  options?: NonNullable<TaskSpec['options']>
  /** The task whose output this plan waits for; `follow` then fills in the prompts. */
  after?: string
  besides?: string[]
  samples?: NonNullable<TaskSpec['samples']>
}

/** What a plan becomes once the output that it waits for is known: nothing to ask is a plan too. */
export type FollowedPlan =
  | { ok: true; plan: Required<Omit<TaskPlan, 'after' | 'besides' | 'samples'>> }
  | { ok: false; message: string }

/** The prompts for one image, and what they took from it. */
export type FilledPlan =
  | {
      ok: true
      prompts: TaskPrompt[]
      options: NonNullable<TaskSpec['options']>
      inputs: Record<string, JsonValue>
    }
  | { ok: false; message: string }

export type ParsedAnswer =
  | { ok: true; output: TaskOutput; repairs: string[] }
  | {
      ok: false
      code: Extract<FailureCode, 'answer-unparsable' | 'answer-empty'>
      message: string
      repairs: string[]
    }

/** A task: one file, one line in the registry. Its name is the capability that a model declares, unless it has another. */
export type Task = {
  name: string
  /** Raised whenever a prompt or the parsing changes, so that old labels are not taken for new ones. */
  version: number
  /** What a model must be able to do; the task's own name when left out. */
  ability?: string
  /** One line for the help text. */
  summary: string
  /** Which input of the user switches this task on by itself. */
  takes?: 'questions' | 'phrases' | 'regions'
  /** What to say when a run has nothing for this task to work on. */
  needs?: string
  /** Answered by this model of a run that has several; by its first when left out. */
  role?: TaskRole
  /** Asked about what the first of these says that is in the run, when the user gives nothing else to ask about. */
  followsByDefault?: readonly string[]
  /** Whether its output has a `text` in which other tasks find phrases. */
  givesText?: true
  /** Whether its questions can be put in the template for short answers. */
  hasShortAnswers?: true
  /** Whether a run that names no tasks includes this one when the model can do it. */
  isDefault: boolean
  /** Answer limit of each prompt, in tokens. */
  maxNewTokens: number
  /** The form its answers have; tokens that lead elsewhere are not chosen, unless the run is told otherwise. */
  constraint?: Constraint
  outputSchema: z.ZodType<TaskOutput>
  /** An empty list when the request lacks what the task cannot do without; the registry tells `needs`. */
  plan(request: TaskRequest): TaskPlan[]
  /** Of a task whose prompts take something from the image's name or manifest line. Pure. */
  fill?(spec: TaskSpec, item: PromptItem): FilledPlan
  /** Of a task that plans to come after others, whose outputs it gets by task. Pure; refuses an output it cannot use. */
  follow?(spec: TaskSpec, upstream: Readonly<Record<string, TaskOutput>>): FollowedPlan
  /** `answers` holds one text for each prompt of the spec, in order. Pure; never throws for what a model can say. */
  parse(spec: TaskSpec, answers: readonly string[]): ParsedAnswer
}

/** The `follow` of a task that takes the output of one other. */
export function followsOne(
  follow: (spec: TaskSpec, upstream: TaskOutput) => FollowedPlan,
): NonNullable<Task['follow']> {
  return (spec, outputs) => {
    const output = outputs[spec.after ?? '']
    return output === undefined
      ? { ok: false, message: `there is no output of ${spec.after}` }
      : follow(spec, output)
  }
}

/** A failure to parse, as a value. */
export function unparsable(message: string, repairs: string[] = []): ParsedAnswer {
  return { ok: false, code: 'answer-unparsable', message, repairs }
}

/** The failure of an answer with nothing in it. */
export function emptyAnswer(question: string): ParsedAnswer {
  return {
    ok: false,
    code: 'answer-empty',
    message: `the model answered nothing to ${JSON.stringify(question)}; expected text`,
    repairs: [],
  }
}
