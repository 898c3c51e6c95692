// What became of the runs that a function went through, told so that somebody notices. It does not know what was done.
import { z } from 'zod'
import type { RunOutcomes } from '../dataset/each-run.ts'
import { RetryableError } from '../schemas/errors.ts'

const Failed = z.object({ error: z.string() })

/**
 * The outcomes, when no run failed. Throws RetryableError that names those that did, after all others have had their
 * turn: what a function returns on a schedule nobody reads, and its alarm goes by errors.
 */
export function needNoFailure(outcomes: RunOutcomes): RunOutcomes {
  const failures = Object.entries(outcomes).flatMap(([runId, outcome]) => {
    const failed = Failed.safeParse(outcome)
    return failed.success ? [`${runId}: ${failed.data.error}`] : []
  })
  if (failures.length === 0) return outcomes
  const done = Object.keys(outcomes).length - failures.length
  throw new RetryableError(
    `${failures.length} of the runs failed, ${done} had their turn; ${failures.join('; ')}`,
  )
}
