// Flags that say which images nothing is spent on, shared by `label` and `submit`. It does not know how that is found
// out.
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { DedupeKind, type InputRules } from '../schemas/input-rules.ts'
import { readChoice, readNumber } from './flag-values.ts'

/** Without dedupe, which is another thing in a folder than among many workers. */
export const inputUsage = `  --min-side N           leave out images with fewer pixels along a side
  --max-aspect R         leave out images that are more than R times as long as wide, or wide as long
  --skip-blank           leave out images of hardly more than one colour`

export const inputOptions = {
  'dedupe': { type: 'string' },
  'min-side': { type: 'string' },
  'max-aspect': { type: 'string' },
  'skip-blank': { type: 'boolean' },
} as const

type InputValues = { [name in 'dedupe' | 'min-side' | 'max-aspect']?: string | undefined } & {
  'skip-blank'?: boolean | undefined
}

/** Undefined where no flag asks for any. */
export function readInputRules(values: InputValues): InputRules | undefined {
  const dedupe = readChoice('--dedupe', values.dedupe, DedupeKind.options)
  const minSide = readNumber('--min-side', values['min-side'], z.int().positive())
  const maxAspect = readNumber('--max-aspect', values['max-aspect'], z.number().min(1))
  const rules: InputRules = {
    ...(minSide === undefined ? {} : { minSide }),
    ...(maxAspect === undefined ? {} : { maxAspect }),
    ...(values['skip-blank'] === true ? { blank: true } : {}),
    ...(dedupe === undefined ? {} : { dedupe }),
  }
  return Object.keys(rules).length === 0 ? undefined : rules
}

/** Of a run that many workers share. Throws UserError for what they cannot find out from each other. */
export function readSharedInputRules(values: InputValues): InputRules | undefined {
  const rules = readInputRules(values)
  if (rules?.dedupe === 'near')
    throw new UserError(
      '--dedupe is near; workers of a place find equal bytes only (--dedupe exact), since looks are compared with those of all other images; coglabel label --dedupe near does that on one machine, and its records name what to leave out',
    )
  return rules
}
