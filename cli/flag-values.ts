// Values of flags, from text to numbers and choices, with one way of saying what was expected. It does not know the flags.
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'

/** A flag's text where a verb cannot do without it. Throws UserError with the complaint where it is not given, or empty. */
export function needText(text: string | undefined, complaint: string): string {
  if (text === undefined || text === '') throw new UserError(complaint)
  return text
}

/** A flag's number, or undefined where the flag is not given. Throws UserError for any other text. */
export function readNumber(
  flag: string,
  text: string | undefined,
  schema: z.ZodType<number>,
): number | undefined {
  if (text === undefined) return undefined
  const parsed = schema.safeParse(text.trim() === '' ? Number.NaN : Number(text))
  if (parsed.success) return parsed.data
  throw new UserError(`${flag} is "${text}"; expected ${describeRange(schema)}`)
}

/** One of a few words, or undefined where the flag is not given. Throws UserError for any other text. */
export function readChoice<T extends string>(
  flag: string,
  text: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (text === undefined) return undefined
  const found = choices.find((choice) => choice === text)
  if (found !== undefined) return found
  throw new UserError(`${flag} is "${text}"; expected ${choices.join(choices.length === 2 ? ' or ' : ', ')}`)
}

/** a whole number from 1 to 256; a number above 0 */
function describeRange(schema: z.ZodType<number>): string {
  const { type, minimum, exclusiveMinimum, maximum, exclusiveMaximum } = z.toJSONSchema(schema)
  // zod gives whole numbers the range of what a float holds exactly, which says nothing to a reader.
  const isBound = (value: unknown): value is number =>
    typeof value === 'number' && Math.abs(value) < Number.MAX_SAFE_INTEGER
  return [
    type === 'integer' ? 'a whole number' : 'a number',
    isBound(minimum) ? `from ${minimum}` : '',
    isBound(exclusiveMinimum) ? `above ${exclusiveMinimum}` : '',
    isBound(maximum)
      ? `${isBound(minimum) ? 'to' : isBound(exclusiveMinimum) ? 'and up to' : 'up to'} ${maximum}`
      : '',
    isBound(exclusiveMaximum) ? `below ${exclusiveMaximum}` : '',
  ]
    .filter((part) => part !== '')
    .join(' ')
}
