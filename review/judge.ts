// Whether an edit can stand in a record's place. It does not know who judges or where verdicts go.
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { Box, TaskOutput } from '../schemas/task-output.ts'
import { draftOf, type LabelForm, shapeOf } from './label-form.ts'

/** Throws UserError, which says what to mend, for an output that is no label of the record's task. */
export function checkEdit(record: LabelRecord, output: TaskOutput, form: LabelForm): void {
  if (record.image === null)
    throw new UserError(`${record.source.key} could not be decoded, so nobody can label it here`)
  const got = shapeOf(output)
  if (form.shape !== got)
    throw new UserError(
      `the edit has the shape ${got}; ${record.task} expected ${form.shape ?? 'no edit, since this version does not know the task'}`,
    )
  const parsed = form.schema?.safeParse(output)
  if (parsed !== undefined && !parsed.success)
    throw new UserError(`this is no label of ${record.task}: ${complaints(parsed.error)}`)
  if ('phrases' in output) checkPhrases(output)
  if (
    ('turns' in output || 'probes' in output) &&
    record.output !== null &&
    !asksOnlyOf(record.output, output)
  )
    throw new UserError('the edit changes the questions; expected other answers to the same ones')
  if ('phrase' in output) checkGround(record, { output, form })
  for (const box of boxesOf(output)) checkBox(box)
}

/** One line for each thing that is wrong, with the place in the label. */
function complaints({ issues }: z.ZodError): string {
  const lines = issues.map(({ path, message }) => {
    const place = z.core.toDotPath(path.map((step) => (typeof step === 'symbol' ? String(step) : step)))
    return place === '' ? message : `${place}: ${message}`
  })
  return lines.slice(0, 8).join('; ')
}

type Ground = Extract<TaskOutput, { phrase: string }>
type Phrases = Extract<TaskOutput, { phrases: readonly unknown[] }>
type Asking = Extract<TaskOutput, { turns: unknown } | { probes: unknown }>

function checkGround(
  record: LabelRecord,
  { output: { phrase }, form }: { output: Ground; form: LabelForm },
): void {
  const before = record.output ?? draftOf(record, form)
  if (before !== null && 'phrase' in before && before.phrase !== phrase)
    throw new UserError(
      `the edit is about ${JSON.stringify(phrase.slice(0, 100))}; expected ${JSON.stringify(before.phrase.slice(0, 100))}, what was asked for`,
    )
}

function checkPhrases({ text, phrases }: Phrases): void {
  let last = 0
  for (const phrase of phrases) {
    const { start, end } = phrase
    if (text.slice(start, end) !== phrase.text || end <= start)
      throw new UserError(
        `the phrase ${JSON.stringify(phrase.text.slice(0, 100))} does not stand at ${start} to ${end} of the text; mark its words again`,
      )
    if (start < last) throw new UserError(`phrases overlap at character ${start}; each word has one phrase`)
    last = end
  }
}

/** Questions may be left out; what was answered stays as it was asked. Who writes a whole label asks what they like. */
function asksOnlyOf(before: TaskOutput, output: Asking): boolean {
  if (!('turns' in before || 'probes' in before)) return false
  const asked = questionsIn(before)
  let from = 0
  return questionsIn(output).every((question) => {
    const at = asked.indexOf(question, from)
    from = at + 1
    return at !== -1
  })
}

function questionsIn(output: Asking): string[] {
  return ('turns' in output ? output.turns : output.probes).map(({ question }) => question)
}

function boxesOf(output: TaskOutput): Box[] {
  if ('phrases' in output) return output.phrases.flatMap(({ boxes }) => boxes)
  if ('regions' in output) return output.regions.map(({ box }) => box)
  return 'boxes' in output ? (output.boxes ?? []) : []
}

function checkBox([x0, y0, x1, y1]: Box): void {
  if (x0 < x1 && y0 < y1) return
  throw new UserError(
    `a box is [${[x0, y0, x1, y1].join(', ')}]; expected x0 below x1 and y0 below y1; draw it again`,
  )
}
