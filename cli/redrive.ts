// `coglabel redrive`: what lies in the dead letters and why, and back to the queue what may work now.
import { parseArgs } from 'node:util'
import {
  type DeadLetterClass,
  deadLetterClasses,
  defaultRedriveClasses,
  redriveDeadLetters,
} from '../dataset/redrive.ts'
import { UserError } from '../schemas/errors.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needRun, type VerbRoot } from './verb-root.ts'

export const redriveUsage = `coglabel redrive [RUN] --place URI [--class a,b]

Looks at every message that was delivered too often, says what is wrong with each as things stand now, and sends again
those of the classes asked for. A message is deleted from the dead letters only once it was sent.

  --class a,b            send these again (${defaultRedriveClasses.join(', ')}); none sends nothing:
${Object.entries(deadLetterClasses)
  .map(([name, sentence]) => `                           ${name.padEnd(16)} ${sentence}`)
  .join('\n')}
${placeUsage}

Exit code: 0 none is left of what was looked at, 1 fatal, 2 wrong usage or settings, 3 some stay.`

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runRedrive(args: readonly string[], root: VerbRoot): Promise<number> {
  const options = { ...placeOptions, class: { type: 'string' } } as const
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options })
  if (positionals.length > 1)
    throw new UserError('redrive takes one RUN or none; see coglabel redrive --help')
  const classes = new Set(readClasses(values.class))
  const place = await openPlaceOf(values)
  try {
    const [runId] = positionals
    if (runId !== undefined) await needRun(place, runId)
    const stop = new AbortController()
    const silence = root.onInterrupt(() => stop.abort())
    const { found, sent } = await redriveDeadLetters({ ...place, classes, runId, stop: stop.signal }).finally(
      silence,
    )
    const lines = namesOf(found).map(
      (name) =>
        `${name.padEnd(16)} ${found[name] ?? 0} found, ${sent[name] ?? 0} sent again: ${deadLetterClasses[name]}`,
    )
    root.print(lines.length === 0 ? 'there are no dead letters' : lines.join('\n'))
    return namesOf(found).some((name) => (found[name] ?? 0) > (sent[name] ?? 0)) ? 3 : 0
  } finally {
    place.close()
  }
}

function readClasses(text: string | undefined): readonly DeadLetterClass[] {
  if (text === undefined) return defaultRedriveClasses
  if (text === 'none') return []
  return text.split(',').map((name) => {
    const found = namesOf(deadLetterClasses).find((known) => known === name.trim())
    if (found !== undefined) return found
    const known = namesOf(deadLetterClasses).join(', ')
    throw new UserError(`there is no class "${name}" of dead letters; choose from ${known}, none`)
  })
}

function namesOf(counts: Partial<Record<DeadLetterClass, unknown>>): DeadLetterClass[] {
  // The keys of a record are those of its type.
  return Object.keys(counts) as DeadLetterClass[]
}
