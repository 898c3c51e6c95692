// Parsing the JSON of benchmark files with a sentence about what is wrong. It does not know which fields there are.
import { z } from 'zod'
import { UserError } from '../../../schemas/errors.ts'

/** The value as the schema has it. Throws UserError that names the file. */
export function parseAs<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new UserError(`${where} is not as expected: ${z.prettifyError(parsed.error).slice(0, 400)}`)
}

/** A line of JSON. */
export function parseLineAs<T>(schema: z.ZodType<T>, line: string, where: string): T {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new UserError(`${where} is not JSON: ${line.slice(0, 80)}`, { cause: error })
  }
  return parseAs(schema, value, where)
}

export const YesNo = z
  .string()
  .transform((text) => text.trim().toLowerCase())
  .pipe(z.enum(['yes', 'no']))
