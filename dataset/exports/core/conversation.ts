// Records as turns of a conversation about an image, and back. It knows no format and writes no file.
import type { LabelRecord } from '../../../schemas/label-record.ts'
import type { Box } from '../../../schemas/task-output.ts'
import { existingHint } from '../../../schemas/task-spec.ts'
import { contentOfRecord, questionOf, questionsOf, type Region, valueText } from './content.ts'
import { absentAnswer, type Dialect, perMilleDialect, readInline, writeInline } from './dialect.ts'
import type { ReadLabel } from './format.ts'

export type Turn = { question: string; answer: string }

export const imageMarker = '<image>'

/** A trainer puts an image wherever it finds its marker, so a text of the model must not hold one. */
export function defuse(text: string, markers: readonly string[]): string {
  return markers.reduce((safe, marker) => safe.replaceAll(marker, defused(marker)), text)
}

export function restore(text: string, markers: readonly string[]): string {
  return markers.reduce((plain, marker) => plain.replaceAll(defused(marker), marker), text)
}

function defused(marker: string): string {
  return `${marker.slice(0, 1)}\u{200b}${marker.slice(1)}`
}

/** A question as parts of a message of an API: none of a base model's caption, which has none, for empty texts are refused. */
export function questionParts(question: string): { type: 'text'; text: string }[] {
  return question === '' ? [] : [{ type: 'text', text: question }]
}

/** One question and its answer, before a format writes them; spans of regions are places in the answer. */
export type Exchange = {
  question: string
  /** Of a question about a place: its box, which stands in the question as the model was asked. */
  at: Box | null
  answer: string
  regions: readonly Region[]
}

/** What a record asked and answered. Tasks that ask many things at once give many. */
export function exchangesOf(record: LabelRecord): Exchange[] {
  const { output } = record
  if (output === null) return []
  const { text, regions, turns } = contentOfRecord(record)
  if (turns.length > 0)
    return turns.map(({ question, answer }) => ({ question, at: null, answer, regions: [] }))
  const question = questionToLearn(record)
  if (text !== null) return [{ question, at: null, answer: text, regions }]
  if ('regions' in output) {
    const questions = questionsOf(record)
    return output.regions.map(({ text: answer, box }, index) => ({
      question: questions.length === output.regions.length ? (questions[index] ?? '') : '',
      at: box,
      answer,
      regions: [],
    }))
  }
  const [region] = regions
  if (region === undefined) return []
  const answer =
    region.boxes.length === 0 ? absentAnswer : 'value' in output ? valueText(output.value) : region.text
  const span = { start: 0, end: answer.length }
  return [{ question, at: null, answer, regions: region.boxes.length === 0 ? [] : [{ ...region, span }] }]
}

/**
 * What a model that learns from the record is asked. It is not told the caption that ours was told, and a caption that
 * was kept, which nobody asked for, is the answer to the question that the others of its kind had.
 */
function questionToLearn(record: LabelRecord): string {
  const question = questionOf(record)
  const { output, inputs, prompt } = record
  const existing = inputs?.['existing']
  if (typeof existing !== 'string' || output === null || !('text' in output)) return question
  // Base models are asked nothing, whoever wrote the caption.
  if (question === '') return prompt.template === 'base' ? '' : questionOfKept
  return question.replace(existingHint(existing), () => '')
}

const questionOfKept = 'Describe the image.'

/** The turns of a record, with boxes in a dialect. Texts are trimmed. */
export function turnsOf(record: LabelRecord, dialect: Dialect): Turn[] {
  return exchangesOf(record).flatMap((exchange) => {
    const answer = clean(writeInline({ text: exchange.answer, regions: exchange.regions }, dialect))
    return answer === ''
      ? []
      : [{ question: clean(askedOf(exchange, (box) => dialect.write([box]))), answer }]
  })
}

/** The turns of a record without its boxes. */
export function plainTurnsOf(record: LabelRecord): Turn[] {
  return exchangesOf(record).flatMap(({ question, at, answer }) =>
    at !== null || clean(answer) === '' ? [] : [{ question: clean(question), answer: clean(answer) }],
  )
}

/** The question with its box as `write` writes it. */
export function askedOf({ question, at }: Exchange, write: (box: Box) => string): string {
  if (at === null) return question
  // Other models' boxes stand there in their own way.
  if (question.search(perMilleDialect.pattern) === -1) return `What is at ${write(at)}?`
  return question.replace(perMilleDialect.pattern, () => ` ${write(at)}`)
}

function clean(text: string): string {
  return defuse(text, [imageMarker]).trim()
}

/** The label that turns hold; regions end at offsets of the last answer that has boxes. */
export function labelOfTurns(
  turns: readonly Turn[],
  { recordId, dialect }: { recordId: string | null; dialect: Dialect | null },
): ReadLabel {
  const label: ReadLabel = { recordId, text: null, turns: [], regions: [] }
  for (const { question, answer } of turns) {
    const { text, regions } = dialect === null ? { text: answer, regions: [] } : readInline(answer, dialect)
    label.turns.push({ question: restore(question, [imageMarker]), answer: restore(text, [imageMarker]) })
    label.regions.push(...regions)
  }
  return label
}

/** Pairs of turns; throws away nothing: an odd one out becomes a turn without an answer. */
export function pairTurns(texts: readonly string[]): Turn[] {
  const turns: Turn[] = []
  for (let at = 0; at < texts.length; at += 2)
    turns.push({ question: texts[at] ?? '', answer: texts[at + 1] ?? '' })
  return turns
}
