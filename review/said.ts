// What a label says, whatever its shape, as lines of text. The page's own text.js says the same; a test holds them together.
import type { TaskOutput } from '../schemas/task-output.ts'

/** An entry for each thing said. */
export function linesOf(output: TaskOutput): string[] {
  if ('text' in output) return [output.text]
  if ('turns' in output) return output.turns.map(({ question, answer }) => `${question} ${answer}`)
  if ('phrase' in output) {
    const { length } = output.boxes
    return [`${output.phrase}: ${length === 0 ? 'not there' : length === 1 ? '1 box' : `${length} boxes`}`]
  }
  if ('probes' in output) return output.probes.map(({ question, answer }) => `${question} ${answer}`)
  if ('counts' in output) return output.counts.map((counted) => `${counted.object}: ${counted.count}`)
  if ('regions' in output) return output.regions.map(({ text }) => text)
  if ('tags' in output) return output.tags
  if ('lines' in output) return output.lines
  if ('questions' in output) return output.questions
  return [typeof output.value === 'string' ? output.value : JSON.stringify(output.value)]
}

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
