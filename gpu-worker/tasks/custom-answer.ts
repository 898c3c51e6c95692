// Reading the answer to a task of a user's: text, a choice, yes or no, a number or JSON, mended where it can be. It does
// not know prompts.
import { z } from 'zod'
import type { TaskDefinition } from '../../schemas/task-file.ts'
import { Box, type CustomOutput } from '../../schemas/task-output.ts'
import { findBoxes, removeBoxes } from './boxes.ts'
import { readNumber } from './count.ts'
import { emptyAnswer, type ParsedAnswer, unparsable } from './task.ts'
import type { JsonValue } from './variables.ts'
import { readYesNo } from './yes-no.ts'

/** The output, or why the answer is none. */
export function parseCustom(definition: TaskDefinition, answer: string): ParsedAnswer {
  if (answer.trim() === '') return emptyAnswer(definition.name)
  const { text, boxes, repairs } = takeBoxes(definition, answer)
  if (definition.boxes === 'always' && boxes.length === 0)
    return unparsable(`the answer ${quote(answer)} has no box, and the task wants one`, repairs)
  const read = readForm(definition.answer, text)
  if (!read.ok) return unparsable(read.message, [...repairs, ...read.repairs])
  const output = { value: read.value, ...(definition.boxes === 'never' ? {} : { boxes }) }
  return { ok: true, output, repairs: [...repairs, ...read.repairs] }
}

/** What an output of the task may be, whoever wrote it. */
export function customSchema({ answer, boxes }: TaskDefinition): z.ZodType<CustomOutput> {
  const value = valueSchema(answer)
  if (boxes === 'never') return z.strictObject({ value })
  return z.strictObject({ value, boxes: boxes === 'always' ? z.array(Box).min(1) : z.array(Box) })
}

function valueSchema(form: TaskDefinition['answer']): z.ZodType<JsonValue> {
  switch (form.kind) {
    case 'text':
      return z.string()
    case 'yes-no':
      return z.enum(['yes', 'no'])
    case 'number':
      return z.int().nonnegative()
    case 'choice':
      return z.enum(form.choices)
    case 'json':
      return z.fromJSONSchema(form.schema) as z.ZodType<JsonValue> // outputs are JSON before they come here
    default:
      return form satisfies never
  }
}

function takeBoxes(
  { boxes, answer: form }: TaskDefinition,
  answer: string,
): { text: string; boxes: Box[]; repairs: string[] } {
  const { groups } = findBoxes(answer)
  if (groups.length === 0) return { text: answer.trim(), boxes: [], repairs: [] }
  const found = groups.flatMap((group) => group.boxes)
  const { text, repairs } = removeBoxes(answer)
  // JSON has lists of lists, which look like boxes: without them it would be none.
  if (form.kind === 'json' && tryJson(answer) !== undefined && tryJson(text) === undefined)
    return { text: answer.trim(), boxes: found, repairs: [] }
  const took = boxes === 'never' ? ['took boxes out of an answer that shall have none'] : []
  return { text, boxes: found, repairs: [...took, ...repairs] }
}

type Read =
  | { ok: true; value: JsonValue; repairs: string[] }
  | { ok: false; message: string; repairs: string[] }

function readForm(form: TaskDefinition['answer'], text: string): Read {
  switch (form.kind) {
    case 'text':
      return { ok: true, value: text, repairs: [] }
    case 'yes-no':
      return found(readYesNo(text), { text, expected: 'yes or no' })
    case 'number':
      return found(readNumber(text), { text, expected: 'a number' })
    case 'choice':
      return readChoice(form.choices, text)
    case 'json':
      return readJson(form.schema, text)
    default:
      return form satisfies never
  }
}

function found(value: JsonValue, { text, expected }: { text: string; expected: string }): Read {
  if (value === null)
    return { ok: false, message: `the answer ${quote(text)} is not ${expected}`, repairs: [] }
  return { ok: true, value, repairs: [] }
}

/** The choice that the answer is, or the only one that it names. */
function readChoice(choices: readonly string[], text: string): Read {
  const plain = (words: string) =>
    words
      .toLowerCase()
      .replace(/[.!\s]+$/, '')
      .trim()
  // As it is written first: choices may differ by case or by their last mark alone.
  const exact =
    choices.find((choice) => choice === text || `${choice}.` === text) ??
    choices.find((choice) => plain(choice) === plain(text))
  if (exact !== undefined) return { ok: true, value: exact, repairs: [] }
  const words = ` ${text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, ' ')} `
  const named = choices.filter((choice) => words.includes(` ${choice.toLowerCase()} `))
  const [only] = named
  if (only !== undefined && named.length === 1)
    return { ok: true, value: only, repairs: [`took ${quote(text)} for ${JSON.stringify(only)}`] }
  return {
    ok: false,
    message: `the answer ${quote(text)} is none of ${choices.join(', ').slice(0, 300)}`,
    repairs: [],
  }
}

function readJson(schema: Record<string, JsonValue>, text: string): Read {
  const repairs: string[] = []
  const value = parseTolerantly(text, repairs)
  if (value === undefined) return { ok: false, message: `the answer ${quote(text)} is not JSON`, repairs }
  const parsed = z.fromJSONSchema(schema).safeParse(value)
  if (parsed.success) return { ok: true, value, repairs }
  const why = z.prettifyError(parsed.error).replaceAll(/\s+/g, ' ').slice(0, 300)
  return { ok: false, message: `the answer ${quote(text)} is not as its schema says: ${why}`, repairs }
}

/** JSON as it is, out of a fence or a sentence, without commas before a closing bracket, or closed where it was cut off. */
function parseTolerantly(text: string, repairs: string[]): JsonValue | undefined {
  const whole = tryJson(text)
  if (whole !== undefined) return whole
  const start = text.search(/[{[]/)
  if (start === -1) return undefined
  const end = Math.max(text.lastIndexOf('}'), text.lastIndexOf(']'))
  const inner = text.slice(start, end > start ? end + 1 : undefined)
  const mendings: [string, string][] = [
    ['took the JSON out of what is around it', inner],
    ['took out commas before closing brackets', inner.replaceAll(/,\s*([}\]])/g, '$1')],
    ['closed the JSON, which was cut off', closeBrackets(text.slice(start))],
  ]
  for (const [repair, mended] of mendings) {
    const value = tryJson(mended)
    if (value === undefined) continue
    repairs.push(repair)
    return value
  }
  return undefined
}

function tryJson(text: string): JsonValue | undefined {
  try {
    return z.json().parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** Ends an open string and every open bracket; a key without a value is left out. */
function closeBrackets(text: string): string {
  const open: string[] = []
  let isInString = false
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at)
    if (isInString && character === '\\') at += 1
    else if (character === '"') isInString = !isInString
    else if (!isInString && (character === '{' || character === '[')) open.push(character === '{' ? '}' : ']')
    else if (!isInString && (character === '}' || character === ']')) open.pop()
  }
  const closed = isInString ? `${text}"` : text
  return closed.replace(/,\s*(?:"[^"]*"\s*:?\s*)?$/, '') + open.toReversed().join('')
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 200))
}
