// Whether an edit can stand in a record's place. It does not know who judges or where verdicts go.
import { UserError } from '../schemas/errors.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { Box, TaskOutput } from '../schemas/task-output.ts'
import { type OutputShape, shapeOf } from './index-entry.ts'

/** Throws UserError, which says what to mend, for an output that is no label of the record's task. */
export function checkEdit(record: LabelRecord, output: TaskOutput, shapeOfTask: OutputShape | null): void {
  if (record.image === null)
    throw new UserError(`${record.source.key} could not be decoded, so nobody can label it here`)
  const wanted = record.output === null ? shapeOfTask : shapeOf(record.output)
  const got = shapeOf(output)
  if (wanted !== got)
    throw new UserError(
      `the edit has the shape ${got}; ${record.task} expected ${wanted ?? 'no edit, since no record of it has a label'}`,
    )
  if (got === 'other')
    throw new UserError(`labels of ${record.task} can be accepted or rejected; the page cannot edit them`)
  if ('phrase' in output) checkGround(record, output)
  if ('phrases' in output) checkPhrases(output)
  if ('turns' in output) checkTurns(record, output)
}

type Ground = Extract<TaskOutput, { phrase: string }>
type Phrases = Extract<TaskOutput, { phrases: readonly unknown[] }>
type Turns = Extract<TaskOutput, { turns: readonly unknown[] }>

function checkGround({ output: before }: LabelRecord, { phrase, boxes }: Ground): void {
  if (before !== null && 'phrase' in before && before.phrase !== phrase)
    throw new UserError(
      `the edit is about ${JSON.stringify(phrase.slice(0, 100))}; expected ${JSON.stringify(before.phrase.slice(0, 100))}, what was asked for`,
    )
  checkBoxes(boxes)
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
    checkBoxes(phrase.boxes)
  }
}

function checkTurns({ output: before }: LabelRecord, { turns }: Turns): void {
  const asked = before !== null && 'turns' in before ? before.turns.map(({ question }) => question) : null
  if (asked !== null && JSON.stringify(asked) !== JSON.stringify(turns.map(({ question }) => question)))
    throw new UserError('the edit changes the questions; expected other answers to the same ones')
}

function checkBoxes(boxes: readonly Box[]): void {
  for (const [x0, y0, x1, y1] of boxes)
    if (x0 >= x1 || y0 >= y1)
      throw new UserError(
        `a box is [${[x0, y0, x1, y1].join(', ')}]; expected x0 below x1 and y0 below y1; draw it again`,
      )
}
