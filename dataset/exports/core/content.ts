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
}

/** What was asked, and as which task: outputs that are nothing but an answer do not say. */
type Asked = { questions: readonly string[]; task: string }

const nothing: Content = { text: null, regions: [], turns: [] }

export function contentOf(output: TaskOutput, { questions, task }: Asked): Content {
  const turns = turnsOf(output, questions)
  if ('value' in output && output.boxes !== undefined && output.boxes.length > 0)
    return {
      ...nothing,
      regions: [{ text: valueText(output.value) || task, span: null, boxes: output.boxes }],
    }
  if (turns !== null) return { ...nothing, turns }
  if ('phrase' in output)
    return { ...nothing, regions: [{ text: output.phrase, span: null, boxes: output.boxes }] }
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

/** What a task of the user answered, as words. */
export function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** What trainers can take as questions and answers; null where the output has none. */
function turnsOf(output: TaskOutput, questions: readonly string[]): Content['turns'] | null {
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
  const question = questions.join(' ')
  if ('tags' in output && output.tags.length > 0) return [{ question, answer: output.tags.join(', ') }]
  if ('value' in output && valueText(output.value) !== '')
    return [{ question, answer: valueText(output.value) }]
  return null
}

/** The content of a record that has a label; records without one never reach a writer. */
export function contentOfRecord(record: LabelRecord): Content {
  const { output, task } = record
  return output === null ? nothing : contentOf(output, { questions: questionsOf(record), task })
}

/** What the model was asked, each question without the template around it. */
export function questionsOf({ prompt: { template, text } }: LabelRecord): string[] {
  // Who was never asked, as of an image that could not be read, has no template around the questions.
  if (template === 'base' || !text.startsWith('Question: ')) return text.split('\n')
  return text.split(/(?<= (?:Short answer|Answer):)\n(?=Question: )/).map(bareQuestion)
}

function bareQuestion(text: string): string {
  return /^Question: ([\s\S]*?) (?:Short answer|Answer):$/.exec(text)?.[1] ?? text
}

/** What stands for many questions whose answers make one text: that is how it would be asked for at once. */
const questionOfMany = 'Describe the image with boxes.'

/** What was asked, as one question. */
export function questionOf(record: LabelRecord): string {
  const { output } = record
  const questions = questionsOf(record)
  const isText = output !== null && 'text' in output
  // Of a caption that names one thing the one question was about that thing; the answer is the caption.
  if (isText && (questions.length > 1 || ('phrases' in output && isFollowed(record)))) return questionOfMany
  return questions.join(' ')
}

/** Whether the record is about what another one says, which its inputs then hold under that one's name. */
function isFollowed({ inputs = {} }: LabelRecord): boolean {
  return Object.keys(inputs).length > 0
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
