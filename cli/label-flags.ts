// The command line of `coglabel label`, parsed once into plain settings. It does not know how they are used.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { tasks } from '../gpu-worker/tasks/registry.ts'
import { UserError } from '../schemas/errors.ts'
import { Sampling } from '../schemas/sampling.ts'

export const labelUsage = `coglabel label SRC --out DIR [options]

Labels images with a model. SRC is a folder (searched recursively), one image, or a .jsonl manifest with a line
{"image": "relative/path.jpg"} for each image, and "questions": [...] or "phrases": [...] for qa and ground to ask
about that image. DIR becomes a run folder; DIR/labels.jsonl holds one line for each image and task. The same command
continues a run that was interrupted, and does nothing that is already done.

  --out DIR              where the run is kept (needed)
  --model DIR            a compiled model or a checkpoint folder (the model that comes with coglabel)
  --tasks a,b,c          what to do with each image (what the model can do of caption, qa, grounded-caption):
${tasks.map((task) => `                           ${task.name.padEnd(18)} ${task.summary}`).join('\n')}
  --ask "QUESTION"       a question for qa, in place of the usual ones; may be repeated
  --ground "PHRASE"      something to find, with its article: "the dog"; may be repeated
  --ground-from TASK     find what that task's caption names; one record, in place of phrases or beside them
  --limit N              only the first N images
  --seed N               of sampling (0); the same seed gives the same labels
  --temperature T        0 takes the likeliest token, more draws at random (0)
  --top-k K              draw among the K likeliest tokens only (all)
  --top-p P              draw among the tokens that make up the share P (1)
  --repetition-penalty R above 1 discourages repetition (1)
  --yes                  use DIR even when it holds other files

Exit code: 0 all done, 1 fatal, 2 wrong usage or settings, 3 done with failed records, 130 interrupted.`

export type LabelFlags = {
  src: string
  out: string
  modelFolder: string | undefined
  taskNames: string[] | undefined
  questions: string[]
  phrases: string[]
  /** The task in whose text things are to be found. */
  from: string | undefined
  maxImages: number | undefined
  sampling: Sampling
  isYes: boolean
}

/** Parses the arguments after `label`. Throws UserError that says what is wrong, and for --help null is returned. */
export function parseLabelFlags(args: readonly string[]): LabelFlags | null {
  const { values, positionals } = readArgs(args)
  if (values.help === true) return null
  const [src, ...rest] = positionals
  if (src === undefined)
    throw new UserError('label needs a source: coglabel label SRC --out DIR; see coglabel label --help')
  if (rest.length > 0)
    throw new UserError(
      `label takes one source, but there is also "${rest.join('" "')}"; give their common folder or a manifest`,
    )
  if (values.out === undefined)
    throw new UserError(`label needs a place for the labels: coglabel label ${src} --out DIR`)
  return {
    src,
    out: values.out,
    modelFolder: values.model,
    taskNames: values.tasks === undefined ? undefined : readTaskNames(values.tasks),
    questions: readTexts('--ask', values.ask),
    phrases: readTexts('--ground', values.ground),
    from: values['ground-from'],
    maxImages: readNumber('--limit', values.limit, z.int().min(1)),
    sampling: {
      temperature: readNumber('--temperature', values.temperature, Sampling.shape.temperature) ?? 0,
      topK: readNumber('--top-k', values['top-k'], Sampling.shape.topK) ?? 0,
      topP: readNumber('--top-p', values['top-p'], Sampling.shape.topP) ?? 1,
      repetitionPenalty:
        readNumber('--repetition-penalty', values['repetition-penalty'], Sampling.shape.repetitionPenalty) ??
        1,
      seed: readNumber('--seed', values.seed, Sampling.shape.seed) ?? 0,
    },
    isYes: values.yes === true,
  }
}

function readArgs(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      'out': { type: 'string' },
      'model': { type: 'string' },
      'tasks': { type: 'string' },
      'ask': { type: 'string', multiple: true },
      'ground': { type: 'string', multiple: true },
      'ground-from': { type: 'string' },
      'limit': { type: 'string' },
      'seed': { type: 'string' },
      'temperature': { type: 'string' },
      'top-k': { type: 'string' },
      'top-p': { type: 'string' },
      'repetition-penalty': { type: 'string' },
      'yes': { type: 'boolean' },
      'help': { type: 'boolean', short: 'h' },
    },
  })
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

function readNumber(flag: string, text: string | undefined, schema: z.ZodType<number>): number | undefined {
  if (text === undefined) return undefined
  const parsed = schema.safeParse(text.trim() === '' ? Number.NaN : Number(text))
  if (parsed.success) return parsed.data
  throw new UserError(
    `${flag} is "${text}"; ${parsed.error.issues.map((issue) => issue.message.toLowerCase()).join(', ')}`,
  )
}
