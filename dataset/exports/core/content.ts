// What a record says, whatever its task: a text, regions with boxes, turns of questions and answers.
// It goes by the shape of the output, never by the name of the task.
import type { LabelRecord } from '../../../schemas/label-record.ts'
import type { Box, TaskOutput } from '../../../schemas/task-output.ts'

export type Region = {
  text: string
  /** Where the words stand in the text; null where they were asked for and no text holds them. */
  span: { start: number; end: number } | null
  boxes: Box[]
}

export type Content = {
  text: string | null
  regions: Region[]
  turns: { question: string; answer: string }[]
  /** True where something was looked for and may be absent. */
  isAsked: boolean
}

export function contentOf(output: TaskOutput): Content {
  const turns = turnsOf(output)
  if (turns !== null) return { ...nothing, turns }
  if ('phrase' in output) {
    const regions = [{ text: output.phrase, span: null, boxes: output.boxes }]
    return { ...nothing, regions, isAsked: true }
  }
  if ('regions' in output) {
    return {
      ...nothing,
      regions: output.regions.map(({ text, box }) => ({ text, span: null, boxes: [box] })),
    }
  }
  if (!('text' in output)) return nothing
  const phrases = 'phrases' in output ? output.phrases : []
  const regions = phrases.map(({ text, start, end, boxes }) => ({ text, span: { start, end }, boxes }))
  return { ...nothing, text: output.text, regions }
}

/** Of tags, questions without answers and tasks of the user: formats that hold whole outputs have them. */
const nothing: Content = { text: null, regions: [], turns: [], isAsked: false }

/** What trainers can take as questions and answers; null where the output has none. */
function turnsOf(output: TaskOutput): Content['turns'] | null {
  if ('turns' in output) return output.turns.map(({ question, answer }) => ({ question, answer }))
  if ('probes' in output)
    return output.probes.map(({ question, answer }) => ({
      question,
      answer: answer === 'yes' ? 'Yes.' : 'No.',
    }))
  if ('counts' in output) {
    return output.counts.map(({ object, count }) => ({
      question: `How many ${object} are there?`,
      answer: String(count),
    }))
  }
  if ('lines' in output && output.lines.length > 0)
    return [{ question: 'What text is in the image?', answer: output.lines.join('\n') }]
  return null
}

/** The content of a record that has a label; records without one never reach a writer. */
export function contentOfRecord(record: LabelRecord): Content {
  return record.output === null ? nothing : contentOf(record.output)
}

/** What the model was asked, without the template around it. */
export function questionOf({ prompt }: LabelRecord): string {
  const found =
    prompt.template === 'base' ? null : /^Question: ([\s\S]*?) (?:Short answer|Answer):$/.exec(prompt.text)
  return found?.[1] ?? prompt.text
}

/** The first text of an image that nobody had to ask for: its caption. */
export function captionOf(records: readonly LabelRecord[]): string | null {
  for (const record of records) {
    const { text } = contentOfRecord(record)
    if (text !== null) return text
  }
  return null
}

/** Every region of an image that has a box, with the record it came from. */
export function regionsOf(records: readonly LabelRecord[]): { region: Region; record: LabelRecord }[] {
  return records.flatMap((record) =>
    contentOfRecord(record)
      .regions.filter(({ boxes }) => boxes.length > 0)
      .map((region) => ({ region, record })),
  )
}
