// The flags that say what is asked of each image, the same for every verb that begins a run. Parsed once into plain
// settings; it does not know where images or labels are.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { checks, parseChecks } from '../dataset/checks/registry.ts'
import { ObjectStatistics, ProbeSampling } from '../gpu-worker/tasks/absent-objects.ts'
import { questionStyles, type QuestionStyle } from '../gpu-worker/tasks/question-templates.ts'
import { tasks } from '../gpu-worker/tasks/registry.ts'
import type { TaskRequest } from '../gpu-worker/tasks/task.ts'
import type { CheckSetting } from '../schemas/check-setting.ts'
import { UserError } from '../schemas/errors.ts'
import { Sampling } from '../schemas/sampling.ts'
import type { TaskDefinition } from '../schemas/task-file.ts'
import { Box } from '../schemas/task-output.ts'
import { ExistingMode, SampleChoice, type TaskSpec } from '../schemas/task-spec.ts'
import { readChoice, readNumber } from './flag-values.ts'
import { readTaskFile } from './task-file.ts'

/** For parseArgs. */
export const askOptions = {
  'tasks': { type: 'string' },
  'ask': { type: 'string', multiple: true },
  'ground': { type: 'string', multiple: true },
  'ground-from': { type: 'string' },
  'box': { type: 'string', multiple: true },
  'objects': { type: 'string' },
  'task-file': { type: 'string' },
  'grounding-prefix': { type: 'string' },
  'existing': { type: 'string' },
  'probe': { type: 'string' },
  'question-kinds': { type: 'string' },
  'constrain': { type: 'string' },
  'answers': { type: 'string' },
  'samples': { type: 'string' },
  'choose': { type: 'string' },
  'checks': { type: 'string' },
  'seed': { type: 'string' },
  'temperature': { type: 'string' },
  'top-k': { type: 'string' },
  'top-p': { type: 'string' },
  'repetition-penalty': { type: 'string' },
} as const

const indent = ' '.repeat(27)
const describeCheck = ({ name, summary, isDefault, action }: (typeof checks)[number]) =>
  `${indent}${name.padEnd(18)} ${isDefault ? '' : 'not by default: '}${summary}${action === 'note' ? ' (only noted)' : ''}`

/** Lines of a usage text. */
export const askUsage = `  --tasks a,b,c          what to do with each image (what the model can do of caption, qa, grounded-caption):
${tasks.map((task) => `${indent}${task.name.padEnd(18)} ${task.summary}`).join('\n')}
  --ask "QUESTION"       a question for qa, in place of the usual ones; may be repeated
  --ground "PHRASE"      something to find, with its article: "the dog"; may be repeated
  --ground-from TASK     find what that task's caption names; one record, in place of phrases or beside them
  --task-file FILE       tasks of your own, YAML or JSON (schemas/json/task-file.schema.json); examples/tasks.yaml is one
  --existing HOW         captions beside the images (a.txt or a.json for a.jpg): keep, overwrite, append, or context
                         for the prompt (overwrite)
  --grounding-prefix TEXT  put before the questions about places, for a model that is told so: "<grounding> "
  --box x0,y0,x1,y1      a box for describe-region, each from 0 to 1; may be repeated
  --objects a,b,c        things for yes-no and count; or a .json file {"objects": [{"name", "count"}], "together": {…}}
  --probe KIND           things that nobody named, for yes-no: random, popular or adversarial (random)
  --question-kinds a,b   of questions about a caption: conversation, detail, reasoning (conversation)
  --constrain on|off     hold answers to the form of their task, for example [[ddd,ddd,ddd,ddd]] (on); off takes
                         what comes and mends it, saying how
  --answers short|full   short puts qa, yes-no and count in CogVLM's template for short answers (full: the model's own)
  --samples N            answers to each prompt, one of which stands (1); the others are kept beside it
  --choose HOW           majority or medoid (medoid: what shares most words with the others)
  --checks a,b,c         gates of each label: default, all, none or names; NAME=note keeps what it finds and no more,
                         NAME=filter turns the label down:
${checks.map(describeCheck).join('\n')}
  --seed N               of sampling (0); the same seed gives the same labels
  --temperature T        0 takes the likeliest token, more draws at random (0)
  --top-k K              draw among the K likeliest tokens only (all)
  --top-p P              draw among the tokens that make up the share P (1)
  --repetition-penalty R above 1 discourages repetition (1)`

export type AskFlags = {
  taskNames: string[] | undefined
  questions: string[]
  phrases: string[]
  /** The task in whose text things are to be found. */
  from: string | undefined
  definitions: TaskDefinition[]
  groundingPrefix: string | undefined
  existing: ExistingMode | undefined
  regions: Box[]
  objects: string[]
  probing: NonNullable<TaskRequest['probing']>
  styles: QuestionStyle[] | undefined
  constrain: boolean
  shortAnswers: boolean
  samples: TaskSpec['samples']
  /** Undefined when the user says nothing of them. */
  checks: CheckSetting[] | undefined
  sampling: Sampling
}

type Repeated = 'ask' | 'ground' | 'box'
type Values = { [name in Repeated]?: string[] | undefined } & {
  [name in Exclude<keyof typeof askOptions, Repeated>]?: string | undefined
}

/** What is asked, from the values of parseArgs. Throws UserError that says which flag is wrong. */
export function readAskFlags(values: Values): AskFlags {
  const { objects, statistics } = readObjects(values.objects)
  const probe = readChoice('--probe', values.probe, ProbeSampling.options)
  return {
    taskNames: values.tasks === undefined ? undefined : readNames('--tasks', values.tasks),
    questions: readTexts('--ask', values.ask),
    phrases: readTexts('--ground', values.ground),
    from: values['ground-from'],
    definitions: values['task-file'] === undefined ? [] : readTaskFile(values['task-file']),
    existing: readChoice('--existing', values.existing, ExistingMode.options),
    groundingPrefix: values['grounding-prefix'],
    regions: readTexts('--box', values.box).map(readRegion),
    objects,
    probing: {
      ...(probe === undefined ? {} : { sampling: probe }),
      ...(statistics === undefined ? {} : { statistics }),
    },
    styles: readStyles(values['question-kinds']),
    shortAnswers: readChoice('--answers', values.answers, ['short', 'full']) === 'short',
    constrain: readChoice('--constrain', values.constrain, ['on', 'off']) !== 'off',
    samples: readSamples(values),
    checks: values.checks === undefined ? undefined : parseChecks(values.checks),
    sampling: {
      temperature: readNumber('--temperature', values.temperature, Sampling.shape.temperature) ?? 0,
      topK: readNumber('--top-k', values['top-k'], Sampling.shape.topK) ?? 0,
      topP: readNumber('--top-p', values['top-p'], Sampling.shape.topP) ?? 1,
      repetitionPenalty:
        readNumber('--repetition-penalty', values['repetition-penalty'], Sampling.shape.repetitionPenalty) ??
        1,
      seed: readNumber('--seed', values.seed, Sampling.shape.seed) ?? 0,
    },
  }
}

function readNames(flag: string, text: string): string[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  if (names.length === 0)
    throw new UserError(`${flag} names nothing; give a list with commas, as in --tasks caption,qa`)
  return [...new Set(names)]
}

function readTexts(flag: string, texts: readonly string[] = []): string[] {
  const trimmed = texts.map((text) => text.trim())
  if (trimmed.includes('')) throw new UserError(`${flag} is empty; give it a text in quotes`)
  return [...new Set(trimmed)]
}

function readRegion(text: string): Box {
  const box = Box.safeParse(
    text.split(',').map((number) => (number.trim() === '' ? Number.NaN : Number(number))),
  )
  if (box.success && box.data[0] < box.data[2] && box.data[1] < box.data[3]) return box.data
  throw new UserError(`--box is "${text}"; expected x0,y0,x1,y1 from 0 to 1, as in 0.1,0.2,0.5,0.6`)
}

const maxStatisticsChars = 1_000_000

/** Names in a list, or a file that also says how common they are. */
function readObjects(text: string | undefined): { objects: string[]; statistics?: ObjectStatistics } {
  if (text === undefined) return { objects: [] }
  if (!text.endsWith('.json')) return { objects: readNames('--objects', text) }
  try {
    const content = readFileSync(text, 'utf8')
    if (content.length > maxStatisticsChars)
      throw new UserError(`it has ${content.length} characters, at most ${maxStatisticsChars} are read`)
    const statistics = ObjectStatistics.parse(JSON.parse(content))
    return { objects: statistics.objects.map(({ name }) => name), statistics }
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error)
    throw new UserError(`--objects ${text} cannot be used: ${why.slice(0, 400)}`, { cause: error })
  }
}

function readStyles(text: string | undefined): QuestionStyle[] | undefined {
  if (text === undefined) return undefined
  return readNames('--question-kinds', text).map((name) => {
    const style = questionStyles.find((known) => known === name)
    if (style !== undefined) return style
    throw new UserError(`--question-kinds has "${name}"; choose from ${questionStyles.join(', ')}`)
  })
}

function readSamples({ samples, choose }: Values): TaskSpec['samples'] {
  const count = readNumber('--samples', samples, z.int().min(1).max(16)) ?? 1
  const choice = readChoice('--choose', choose, SampleChoice.options) ?? 'medoid'
  if (count > 1) return { count, choice }
  if (choose !== undefined) throw new UserError('--choose chooses among several answers; add --samples 5')
  return undefined
}
