// The flags that say what is asked of each image, the same for every verb that begins a run. Parsed once into plain
// settings; it does not know where images or labels are.
import type { z } from 'zod'
import { tasks } from '../gpu-worker/tasks/registry.ts'
import { UserError } from '../schemas/errors.ts'
import { Sampling } from '../schemas/sampling.ts'

/** For parseArgs. */
export const askOptions = {
  'tasks': { type: 'string' },
  'ask': { type: 'string', multiple: true },
  'ground': { type: 'string', multiple: true },
  'ground-from': { type: 'string' },
  'seed': { type: 'string' },
  'temperature': { type: 'string' },
  'top-k': { type: 'string' },
  'top-p': { type: 'string' },
  'repetition-penalty': { type: 'string' },
} as const

/** Lines of a usage text. */
export const askUsage = `  --tasks a,b,c          what to do with each image (what the model can do of caption, qa, grounded-caption):
${tasks.map((task) => `                           ${task.name.padEnd(18)} ${task.summary}`).join('\n')}
  --ask "QUESTION"       a question for qa, in place of the usual ones; may be repeated
  --ground "PHRASE"      something to find, with its article: "the dog"; may be repeated
  --ground-from TASK     find what that task's caption names; one record, in place of phrases or beside them
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
  sampling: Sampling
}

type Values = { ask?: string[] | undefined; ground?: string[] | undefined } & {
  [name in Exclude<keyof typeof askOptions, 'ask' | 'ground'>]?: string | undefined
}

/** What is asked, from the values of parseArgs. Throws UserError that says which flag is wrong. */
export function readAskFlags(values: Values): AskFlags {
  return {
    taskNames: values.tasks === undefined ? undefined : readTaskNames(values.tasks),
    questions: readTexts('--ask', values.ask),
    phrases: readTexts('--ground', values.ground),
    from: values['ground-from'],
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

function readTaskNames(text: string): string[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  if (names.length === 0) throw new UserError('--tasks names no task; give for example --tasks caption,qa')
  return [...new Set(names)]
}

function readTexts(flag: string, texts: readonly string[] = []): string[] {
  const trimmed = texts.map((text) => text.trim())
  if (trimmed.includes('')) throw new UserError(`${flag} is empty; give it a text in quotes`)
  return [...new Set(trimmed)]
}

/** A flag's number, or undefined where the flag is not given. Throws UserError for any other text. */
export function readNumber(
  flag: string,
  text: string | undefined,
  schema: z.ZodType<number>,
): number | undefined {
  if (text === undefined) return undefined
  const parsed = schema.safeParse(text.trim() === '' ? Number.NaN : Number(text))
  if (parsed.success) return parsed.data
  throw new UserError(
    `${flag} is "${text}"; ${parsed.error.issues.map((issue) => issue.message.toLowerCase()).join(', ')}`,
  )
}
