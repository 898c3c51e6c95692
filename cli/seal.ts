// `coglabel seal`: makes what workers have finished part of a run's labels.
import { parseArgs } from 'node:util'
import { sealRun } from '../dataset/seal.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needOne, needRun, type VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const sealUsage = `coglabel seal RUN --place URI

Seals the parts that workers have written. Any number may seal at once; each record is sealed once.

${placeUsage}

Exit code: 0 done, 1 fatal, 2 wrong usage or settings, 3 done, and there are failed records.`

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
    await needRun(place, runId)
    const { generations, totals } = await sealRun({
      store: place.runStoreOf(runId),
      runId,
      clock: root.clock,
    })
    const rows = Object.entries(totals).map(
      ([task, { ok, filtered, failed }]) => `${task}: ${ok} ok, ${filtered} filtered, ${failed} failed`,
    )
    root.print([`sealed ${counted(generations, 'generation')} of ${runId}`, ...rows].join('\n'))
    return Object.values(totals).some(({ failed }) => failed > 0) ? 3 : 0
  } finally {
    place.close()
  }
}
