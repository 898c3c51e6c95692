// Records as turns of a conversation about an image, and back. It knows no format and writes no file.
import type { LabelRecord } from '../../../schemas/label-record.ts'
import { contentOfRecord, questionOf } from './content.ts'
import { type Dialect, readInline, writeInline } from './dialect.ts'
import type { ReadLabel } from './format.ts'

export type Turn = { question: string; answer: string }

export const imageMarker = '<image>'

/**
 * Where LLaVA's trainer cuts a conversation apart again to see what was asked: one inside a text makes its pieces count
 * otherwise than its tokens, and nothing of the row is learned.
 */
export const vicunaSeparators: readonly string[] = ['</s>', ' ASSISTANT: ']

/** The first separator that a text holds, or null. */
export function separatorIn(texts: readonly string[]): string | null {
  return vicunaSeparators.find((separator) => texts.some((text) => text.includes(separator))) ?? null
}

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

/** The turns of a record, with boxes in a dialect, or without any where `dialect` is null. Texts are trimmed. */
export function turnsOf(record: LabelRecord, dialect: Dialect | null): Turn[] {
  const content = contentOfRecord(record)
  if (content.turns.length > 0)
    return content.turns.map(({ question, answer }) => ({ question: clean(question), answer: clean(answer) }))
  const plain = dialect === null ? { ...content, regions: [] } : content
  const answer = dialect === null ? (plain.text ?? '') : writeInline(plain, dialect)
  return answer.trim() === '' ? [] : [{ question: clean(questionOf(record)), answer: clean(answer) }]
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
