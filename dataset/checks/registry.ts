// The list of quality gates, and which of them a run has. A new gate is one file here and one line below.
import type { CheckSetting } from '../../schemas/check-setting.ts'
import { UserError } from '../../schemas/errors.ts'
import { batchInvariance } from './batch-invariance.ts'
import { blindAnswer } from './blind-answer.ts'
import { boxSanity } from './box-sanity.ts'
import { captionBoxes } from './caption-boxes.ts'
import type { Check } from './check.ts'
import { entityProbes } from './entity-probes.ts'
import { injection } from './injection.ts'
import { language } from './language.ts'
import { length } from './length.ts'
import { nearDuplicate } from './near-duplicate.ts'
import { refusal } from './refusal.ts'
import { regionCycle } from './region-cycle.ts'
import { regionName } from './region-name.ts'
import { repetitionLoop } from './repetition-loop.ts'
import { selfConsistency } from './self-consistency.ts'
import { stockOpening } from './stock-opening.ts'

export const checks: readonly Check[] = [
  repetitionLoop,
  stockOpening,
  refusal,
  length,
  language,
  injection,
  boxSanity,
  captionBoxes,
  nearDuplicate,
  regionCycle,
  regionName,
  entityProbes,
  selfConsistency,
  batchInvariance,
  blindAnswer,
]

/** What each looks for, by its name. */
export const checkSummaries: ReadonlyMap<string, string> = new Map(
  checks.map(({ name, summary }) => [name, summary]),
)

/** Those of a run that names none. */
export const defaultChecks: readonly CheckSetting[] = checks
  .filter(({ isDefault }) => isDefault)
  .map(({ name, action }) => ({ name, action }))

/** The gate of this name. Throws UserError when there is none. */
export function findCheck(name: string): Check {
  const check = checks.find((candidate) => candidate.name === name)
  if (check !== undefined) return check
  throw new UserError(
    `there is no check "${name}"; choose from ${checks.map((known) => known.name).join(', ')}`,
  )
}

/** Parses `default,region-cycle,stock-opening=filter`, `all` or `none`; a later mention of a check wins. */
export function parseChecks(text: string): CheckSetting[] {
  const settings = new Map<string, CheckSetting>()
  const words = text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
  for (const word of words) {
    if (word === 'none') continue
    for (const setting of settingsOf(word)) settings.set(setting.name, setting)
  }
  if (words.length === 0)
    throw new UserError('--checks names no check; give for example --checks default,region-cycle, or none')
  return [...settings.values()]
}

function settingsOf(word: string): readonly CheckSetting[] {
  if (word === 'default') return defaultChecks
  if (word === 'all') return checks.map(({ name, action }) => ({ name, action }))
  const [name = '', action] = word.split('=')
  const check = findCheck(name)
  const share = Number(action)
  if (action !== undefined && share > 0 && share <= 1) return [{ name, action: check.action, share }]
  if (action === undefined) return [{ name, action: check.action }]
  if (action === 'filter' || action === 'note') return [{ name, action }]
  throw new UserError(`--checks has "${word}"; after = comes filter, note or the share of images it looks at`)
}

/** The tasks whose answers the run's gates compare. */
export function tasksNeeded(
  settings: readonly CheckSetting[],
): { task: string; after: string; check: string }[] {
  return settings.flatMap(({ name }) => {
    const { needs } = findCheck(name)
    return needs === undefined ? [] : [{ ...needs, check: name }]
  })
}
