// What a look at one thing found, and how a list of that reads. It does not know what is looked at.
import { RetryableError, UserError } from '../schemas/errors.ts'

export type Finding = {
  what: string
  state: 'ok' | 'warn' | 'bad' | 'skip'
  saw: string
  /** What mends it; a command where one does. */
  todo?: string
}

const marks = { ok: 'ok   ', warn: 'look ', bad: 'BAD  ', skip: '-    ' } as const

/** A line for each finding, and one below for what to do. */
export function renderFindings(findings: readonly Finding[]): string[] {
  return findings.flatMap(({ what, state, saw, todo }) => [
    `${marks[state]} ${what.padEnd(nameWidth)} ${saw}`,
    ...(todo === undefined ? [] : [`${' '.repeat(6)}${' '.repeat(nameWidth)} -> ${todo}`]),
  ])
}

const nameWidth = 24

/** What the user can mend, or what may work later, is a finding; all else is ours and thrown. */
export function badFinding(what: string, error: unknown): Finding {
  if (!(error instanceof UserError) && !(error instanceof RetryableError)) throw error
  const [saw = '', ...todo] = error.message.split('; ')
  return { what, state: 'bad', saw, ...(todo.length === 0 ? {} : { todo: todo.join('; ') }) }
}
