// What a record's label may be: its task's own schema, the form of a user's answer, and what one begins with who writes
// it by hand. It does not know pages or verdicts.
import type { z } from 'zod'
import { questionsOf } from '../dataset/exports/core/content.ts'
import { findBoxes } from '../gpu-worker/tasks/boxes.ts'
import { definitionOf } from '../gpu-worker/tasks/custom.ts'
import { customSchema } from '../gpu-worker/tasks/custom-answer.ts'
import { tasks } from '../gpu-worker/tasks/registry.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { AnswerForm, TaskDefinition } from '../schemas/task-file.ts'
import type { Box, QaTurn, TaskOutput, YesNoProbe } from '../schemas/task-output.ts'
import type { TaskSpec } from '../schemas/task-spec.ts'

/** A label that is still to be written: numbers and choices have no value yet. */
export type Draft =
  | TaskOutput
  | { counts: { object: string; count: number | null }[] }
  | { probes: (Omit<YesNoProbe, 'answer'> & { answer: YesNoProbe['answer'] | null })[] }

export type OutputShape =
  | 'text'
  | 'phrases'
  | 'ground'
  | 'turns'
  | 'probes'
  | 'counts'
  | 'regions'
  | 'tags'
  | 'lines'
  | 'questions'
  | 'value'

export type LabelForm = {
  /** Null where this version does not know the task. */
  schema: z.ZodType<TaskOutput> | null
  /** Of a task of the user's. */
  answer: AnswerForm | null
  boxes: TaskDefinition['boxes'] | null
  /** Null where nobody can tell what its labels look like. */
  shape: OutputShape | null
}

/** The form of a record's label in the run that made it. */
export function labelForm(record: LabelRecord, config: RunConfig): LabelForm {
  const spec =
    config.tasks.find(({ task, ordinal }) => task === record.task && ordinal === record.ordinal) ??
    config.tasks.find(({ task }) => task === record.task)
  const definition = spec === undefined ? null : definitionOf(spec)
  const schema =
    definition === null
      ? (tasks.find(({ name }) => name === record.task)?.outputSchema ?? null)
      : customSchema(definition)
  return {
    schema,
    answer: definition?.answer ?? null,
    boxes: definition?.boxes ?? null,
    shape: record.output === null ? shapeOfRecordless(schema, { spec, definition }) : shapeOf(record.output),
  }
}

/** By what is in it, never by the name of the task. */
export function shapeOf(output: TaskOutput): OutputShape {
  if ('turns' in output) return 'turns'
  if ('phrase' in output) return 'ground'
  if ('phrases' in output) return 'phrases'
  if ('text' in output) return 'text'
  if ('probes' in output) return 'probes'
  if ('counts' in output) return 'counts'
  if ('regions' in output) return 'regions'
  if ('tags' in output) return 'tags'
  if ('lines' in output) return 'lines'
  return 'questions' in output ? 'questions' : 'value'
}

/** What somebody begins with who writes the label of a record that has none; null where nobody can tell its shape. */
export function draftOf(record: LabelRecord, { shape, boxes }: LabelForm): Draft | null {
  // What comes after another task was never asked where that one failed; its prompt is a placeholder.
  const isAsked = record.error?.code !== 'task-upstream-failed'
  const asked = isAsked ? questionsOf(record).filter((question) => question.trim() !== '') : []
  switch (shape) {
    case 'text':
      return { text: '' }
    case 'phrases':
      return { text: '', phrases: [] }
    case 'ground':
      return { phrase: phraseIn(asked[0] ?? ''), boxes: [] }
    case 'turns':
      return { turns: asked.map((question): QaTurn => ({ question, answer: '', kind: 'asked' })) }
    case 'probes':
      return { probes: asked.map((question) => ({ question, answer: null, ...objectIn(question) })) }
    case 'counts':
      return { counts: asked.map((question) => ({ object: countedIn(question), count: null })) }
    case 'regions':
      return { regions: asked.flatMap(boxesIn).map((box) => ({ box, text: '' })) }
    case 'tags':
      return { tags: [] }
    case 'lines':
      return { lines: [] }
    case 'questions':
      return { questions: [] }
    case 'value':
      return boxes === null || boxes === 'never' ? { value: '' } : { value: '', boxes: [] }
    case null:
      return null
  }
}

/** One label of each shape, to ask a schema with. */
const specimens: readonly TaskOutput[] = [
  { phrase: 'a', boxes: [] },
  { text: 'a', phrases: [] },
  { text: 'a' },
  { turns: [{ question: 'a', answer: 'a', kind: 'a' }] },
  { probes: [] },
  { counts: [] },
  { regions: [] },
  { tags: [] },
  { lines: [] },
  { questions: [] },
]

type Asked = { spec: TaskSpec | undefined; definition: TaskDefinition | null }

/** Of a task whose labels have two shapes, that of a phrase only where a phrase was asked for. */
function shapeOfRecordless(schema: LabelForm['schema'], { spec, definition }: Asked): OutputShape | null {
  if (definition !== null) return 'value'
  if (schema === null) return null
  const isFollowed = spec?.options !== undefined && Object.hasOwn(spec.options, 'from')
  const fitting = specimens.filter((one) => schema.safeParse(one).success).map(shapeOf)
  return fitting.find((shape) => shape !== 'ground' || !isFollowed) ?? null
}

/** The questions below are those of `gpu-worker/tasks`; what has another form stands for itself. */
function phraseIn(question: string): string {
  return (
    /^(?:.*?\s)??Where is ([\s\S]+)\? Give its box\.$/.exec(question)?.[1] ??
    /Locate ([\s\S]+) and reply with its coordinates/.exec(question)?.[1] ??
    question
  )
}

function countedIn(question: string): string {
  return /How many ([\s\S]+) are there\?$/.exec(question)?.[1] ?? question
}

function objectIn(question: string): { object?: string } {
  const object = /^Is there (?:an? )?([\s\S]+)\?$/.exec(question)?.[1]
  return object === undefined ? {} : { object }
}

function boxesIn(question: string): Box[] {
  return findBoxes(question).groups.flatMap(({ boxes }) => boxes)
}
