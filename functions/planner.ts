// Lambda root: goes on with plans that are not complete, of the runs it is given or of all. Scheduled and on demand.
import { planRuns, type RunOutcomes } from '../dataset/each-run.ts'
import { countItemRecords } from '../gpu-worker/tasks/registry.ts'
import { needNoFailure } from './run-outcomes.ts'
import { type FunctionContext, functionPlace, RunsEvent, untilTimeIsShort } from './settings.ts'

/** Returns how far each plan is. What a killed planner has sent is sent again, which harms nothing. Throws when a plan fails. */
export async function handler(event: unknown, context?: FunctionContext): Promise<RunOutcomes> {
  const { runIds } = RunsEvent.parse(event)
  const place = await functionPlace()
  const stop = untilTimeIsShort(context)
  const plans = { place, runIds, countRecords: countItemRecords, clock: () => new Date(), stop }
  return needNoFailure(await planRuns(plans))
}
