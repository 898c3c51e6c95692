// The flag that says when a run pauses by what its checks find: the same for a run of this machine and of a place. It
// does not know who watches.
import { z } from 'zod'
import { defaultHealthLimits } from '../dataset/checks/health.ts'
import { UserError } from '../schemas/errors.ts'
import { type HealthLimits, healthRates, type HealthSetting } from '../schemas/health.ts'
import { readNumber } from './flag-values.ts'

/** For parseArgs. */
export const healthOption = { health: { type: 'string' } } as const

/** The rates with their limits, as the flag takes them. */
export function describeHealth(): string {
  return Object.entries(defaultHealthLimits.most)
    .map(([name, most]) => `${name}=${most}`)
    .join(' ')
}

/** What the run of a place is told; undefined when the user says nothing of it. */
export function readHealthSetting(text: string | undefined): HealthSetting | undefined {
  return text === undefined ? undefined : (readHealth(text) ?? 'off')
}

/** Limits, or null for none. Throws UserError that says what is wrong. */
export function readHealth(text: string | undefined): HealthLimits | null {
  if (text === 'off') return null
  const limits = { window: defaultHealthLimits.window, most: { ...defaultHealthLimits.most } }
  for (const pair of text === undefined ? [] : text.split(',')) {
    const [name = '', value = ''] = pair.trim().split('=')
    const rate = healthRates.find((known) => known === name)
    const number = readNumber(
      `--health ${name}`,
      value,
      name === 'window' ? z.int().min(10).max(100_000) : z.number().min(0),
    )
    if (rate !== undefined && number !== undefined) limits.most[rate] = number
    else if (name === 'window' && number !== undefined) limits.window = number
    else throw new UserError(`--health has "${pair}"; expected off, window=N or one of ${describeHealth()}`)
  }
  return limits
}
