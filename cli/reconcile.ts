// `coglabel reconcile`: asks again for the images of a run that have no labels, whatever became of their messages.
import { parseArgs } from 'node:util'
import { tallyLines } from '../dataset/checks/run-health.ts'
import { openShards } from '../dataset/plan-sources.ts'
import { reconcileRun } from '../dataset/reconcile.ts'
import { readControl } from '../dataset/run-control.ts'
import { sealRun } from '../dataset/seal.ts'
import { UserError } from '../schemas/errors.ts'
import { hashSpecs, recordsOfItem } from '../gpu-worker/pipeline/item-specs.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needOne, needRun, startTicker, type VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const reconcileUsage = `coglabel reconcile RUN --place URI

Seals what is done, compares the run's source with what is sealed, and asks for every image that lacks a record. What
is still on its way in the queue lacks one too: wait until the queue is empty, or some images are looked at twice.

  --failed               ask also for images with failed records; a better record takes their place
${placeUsage}

Exit code: 0 done, 1 fatal, 2 wrong usage or settings.`

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runReconcile(args: readonly string[], root: VerbRoot): Promise<number> {
  const options = { ...placeOptions, failed: { type: 'boolean' } } as const
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options })
  const runId = needOne(positionals, { verb: 'reconcile', name: 'RUN' })
  const place = await openPlaceOf(values)
  try {
    const config = await needRun(place, runId)
    const store = place.runStoreOf(runId)
    const { state } = await readControl(store)
    if (state === 'cancelled')
      throw new UserError(
        `the run ${runId} is cancelled, for good: workers would drop what is asked for again`,
      )
    if (state === 'paused')
      root.tell(`the run is paused; what is asked for again waits for coglabel resume ${runId}`)
    const { visible, inFlight, delayed } = await place.queue.stats()
    const onTheirWay = visible + inFlight + delayed
    if (onTheirWay > 0)
      root.tell(`${counted(onTheirWay, 'message')} in the queue; images of theirs may be asked for twice`)
    await sealRun({ store, runId, clock: root.clock, tally: tallyLines })
    const ticker = startTicker(root)
    const specs = hashSpecs(config.tasks, config)
    const { listed, missing, messages } = await reconcileRun({
      config,
      wantedOf: (image) => recordsOfItem(image, { config, specs }),
      shards: await openShards(config, place),
      store,
      queue: place.queueOf(runId),
      clock: root.clock,
      retriesFailed: values.failed === true,
      onProgress: (tally) => ticker.show(`${tally.missing} of ${counted(tally.listed, 'image')} asked for`),
    })
    ticker.end()
    root.print(
      missing === 0
        ? `all ${counted(listed, 'image')} of ${config.source.uri} have their records`
        : `asked for ${missing} of ${counted(listed, 'image')} in ${counted(messages, 'message')}`,
    )
    return 0
  } finally {
    place.close()
  }
}
