// `coglabel seal`: makes what workers have finished part of a run's labels.
import { parseArgs } from 'node:util'
import { guardRun, tallyLines } from '../dataset/checks/run-health.ts'
import { sealRun } from '../dataset/seal.ts'
import { compareKeys } from '../dataset/stores/object-store.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needOne, needRun, type VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const sealUsage = `coglabel seal RUN --place URI

Seals the parts that workers have written. Any number may seal at once; each record is sealed once. When the last
records are past the run's limits (--health of coglabel submit), it is paused.

${placeUsage}

Exit code: 0 done, 1 fatal, 2 wrong usage or settings, 3 done, and there are failed records, 5 done, and the run is
paused for what its checks found.`

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runSeal(args: readonly string[], root: VerbRoot): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: placeOptions,
  })
  const runId = needOne(positionals, { verb: 'seal', name: 'RUN' })
  const place = await openPlaceOf(values)
  try {
    const config = await needRun(place, runId)
    const store = place.runStoreOf(runId)
    const { generations, lastGeneration, totals } = await sealRun({
      store,
      runId,
      clock: root.clock,
      tally: tallyLines,
    })
    const paused =
      generations === 0 ? null : await guardRun({ store, config, lastGeneration, now: root.clock() })
    const rows = Object.entries(totals)
      .toSorted(([left], [right]) => compareKeys(left, right))
      .map(([task, { ok, filtered, failed }]) => `${task}: ${ok} ok, ${filtered} filtered, ${failed} failed`)
    const pause = paused === null ? [] : [`${runId} is paused: ${paused}; coglabel resume goes on with it`]
    root.print([`sealed ${counted(generations, 'generation')} of ${runId}`, ...rows, ...pause].join('\n'))
    if (paused !== null) return 5
    return Object.values(totals).some(({ failed }) => failed > 0) ? 3 : 0
  } finally {
    place.close()
  }
}
