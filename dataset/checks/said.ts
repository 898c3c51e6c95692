// The words of a label, whatever its shape. It does not know tasks or gates.
import type { TaskOutput } from '../../schemas/task-output.ts'

/** Running text: a caption. Null where the output has none. */
export function proseOf(output: TaskOutput): string | null {
  return 'text' in output ? output.text : null
}

/** Everything that the model said in words, one entry for each answer. What it read off the image is not its own word. */
export function textsOf(output: TaskOutput): string[] {
  if ('text' in output) return [output.text]
  if ('turns' in output) return output.turns.map(({ answer }) => answer)
  if ('regions' in output) return output.regions.map(({ text }) => text)
  if ('value' in output) return stringsIn(output.value)
  return []
}

/** The strings of an answer in JSON, keys left out. */
function stringsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(stringsIn)
}

/** Scripts that put no space between words: only a dictionary tells where one ends. */
const unspaced =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u
const segmenter = new Intl.Segmenter('en', { granularity: 'word' })

/** In lower case, without what stands between them. */
export function wordsOf(text: string): string[] {
  const lower = text.toLowerCase()
  if (!unspaced.test(lower)) return lower.match(/[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}\p{N}]+)*/gu) ?? []
  return [...segmenter.segment(lower)].flatMap(({ segment, isWordLike }) =>
    isWordLike === true ? [segment] : [],
  )
}

/** A piece of a text for a person to read. */
export function quote(text: string, maxChars = 120): string {
  return JSON.stringify(text.length > maxChars ? `${text.slice(0, maxChars)}…` : text)
}
