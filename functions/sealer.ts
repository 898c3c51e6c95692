// Lambda root: seals what workers have finished, of the runs it is given or of all, and pauses those whose labels have
// gone bad. Any number may run at once.
import { guardRun, tallyLines } from '../dataset/checks/run-health.ts'
import { type RunOutcomes, sealRuns } from '../dataset/each-run.ts'
import { needNoFailure } from './run-outcomes.ts'
import { type FunctionContext, functionPlace, RunsEvent, untilTimeIsShort } from './settings.ts'

/** Returns the generations added to each run that had something to seal. Throws when a run fails, after the others. */
export async function handler(event: unknown, context?: FunctionContext): Promise<RunOutcomes> {
  const { runIds } = RunsEvent.parse(event)
  const place = await functionPlace()
  const outcomes = await sealRuns({
    place,
    runIds,
    clock: () => new Date(),
    stop: untilTimeIsShort(context),
    tally: tallyLines,
    guard: guardRun,
  })
  return needNoFailure(outcomes)
}
