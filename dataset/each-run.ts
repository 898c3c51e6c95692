// One job for each run of a place, one after the other, until time is up. It does not know the jobs.
import { UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { WorkImage } from '../schemas/work-message.ts'
import { listRuns, type Place } from './place.ts'
import { openShards } from './plan-sources.ts'
import { planRun } from './plan.ts'
import { readControl, type RunState } from './run-control.ts'
import { readRun } from './run-folder.ts'
import { sealRun, type TallyLines } from './seal.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** How many records each image of a run gets, where some bring their own questions or phrases. */
export type CountRecords = (config: RunConfig, image: WorkImage) => number

export type EachRun = {
  place: Place
  /** All of the place when left out. */
  runIds?: readonly string[] | undefined
  clock: () => Date
  /** Begin no further run. */
  stop: AbortSignal
}

/** What became of each run: what its job says, or why it failed. One that fails does not keep the others from theirs. */
export type RunOutcomes = Record<string, unknown>

/** Goes on with the plans of runs whose images lie in buckets; what a verb uploads it plans itself, when all is there. */
export async function planRuns(options: EachRun & { countRecords: CountRecords }): Promise<RunOutcomes> {
  const { place, clock, stop } = options
  return await eachRun(options, async (config, state) => {
    if (state !== 'running' || !['bucket', 'list'].includes(config.source.kind)) return null
    const { runId } = config
    const [store, queue] = [place.runStoreOf(runId), place.queueOf(runId)]
    const countRecords = config.itemTasks && ((image: WorkImage) => options.countRecords(config, image))
    return await planRun(await openShards(config, place), { runId, store, queue, clock, countRecords, stop })
  })
}

export type SealRuns = EachRun & {
  tally: TallyLines
  /** Looks at a running run that has new generations; returns why it was paused, or null. */
  guard: (run: {
    store: ObjectStore
    config: RunConfig
    lastGeneration: number
    now: Date
  }) => Promise<string | null>
}

/** Seals whatever is finished, also of runs that are paused or cancelled: it was paid for. */
export async function sealRuns({ tally, guard, ...options }: SealRuns): Promise<RunOutcomes> {
  const { place, clock } = options
  return await eachRun(options, async (config, state) => {
    const { runId } = config
    const store = place.runStoreOf(runId)
    const { generations, lastGeneration } = await sealRun({ store, runId, clock, tally })
    if (generations === 0) return null
    const paused = state === 'running' ? await guard({ store, config, lastGeneration, now: clock() }) : null
    return { generations, ...(paused === null ? {} : { paused }) }
  })
}

async function eachRun(
  { place, runIds, stop }: EachRun,
  job: (config: RunConfig, state: RunState) => Promise<unknown>,
): Promise<RunOutcomes> {
  const outcomes: RunOutcomes = {}
  for await (const runId of runIds ?? listRuns(place)) {
    if (stop.aborted) break
    try {
      const store = place.runStoreOf(runId)
      const config = await readRun(store)
      if (config === null) throw new UserError(`there is no run ${runId} at ${place.uri}`)
      const { state } = await readControl(store)
      const outcome = await job(config, state)
      if (outcome !== null) outcomes[runId] = outcome
    } catch (error) {
      outcomes[runId] = { error: error instanceof Error ? error.message : String(error) }
    }
  }
  return outcomes
}
