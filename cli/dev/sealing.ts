// Keeps a run sealed and its labels.jsonl up to date, says what was sealed, and pauses it as the sealer of a deployment
// does; other runs of the place are sealed and watched too. It does not know who labels.
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { type ChainLink, type ChainPlace, readChain } from '../../dataset/chain.ts'
import { type LabelsView, writeLabelsView } from '../../dataset/labels-view.ts'
import { guardRun, tallyLines } from '../../dataset/checks/run-health.ts'
import { sealRuns } from '../../dataset/each-run.ts'
import { listRuns, type Place } from '../../dataset/place.ts'
import { unpackLines } from '../../dataset/parts.ts'
import { openSealer } from '../../dataset/seal.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import type { RunConfig } from '../../schemas/run-config.ts'

export type Sealing = {
  place: Place
  config: RunConfig
  /** Where labels.jsonl is written. */
  out: string
  clock: () => Date
  /** When it fires, what is there is sealed once more. */
  until: AbortSignal
  onSealed: (records: readonly LabelRecord[]) => void
  /** The breaker has paused a run. */
  onPaused: (runId: string, reason: string) => void
}

const sealEveryMs = 400
/** Runs that somebody else began at the place. */
const sealOthersEveryMs = 2000

/** A large run takes longer to write out than the pause: it then rests as long as it worked, times this. */
const restShare = 2

/** Resolves to the labels as they stand at the end. */
export async function keepSealing(sealing: Sealing): Promise<LabelsView> {
  const { place, config, out, clock, until } = sealing
  const { runId } = config
  const store = place.runStoreOf(runId)
  const sealer = openSealer({ store, runId, clock, tally: tallyLines })
  let view = await writeLabelsView(store, out)
  let last: ChainPlace | null = null
  let othersAtMs = -Infinity
  for (let isLast = false; !isLast;) {
    isLast = until.aborted
    const startMs = performance.now()
    const { generations, lastGeneration } = await sealer.seal()
    if (generations > 0) {
      view = await writeLabelsView(store, out)
      for await (const link of readChain(store, last)) {
        last = { generation: link.manifest.generation, sha256: link.sha256 }
        sealing.onSealed(await readGeneration(store, link))
      }
      const reason = await guardRun({ store, config, lastGeneration, now: clock() })
      if (reason !== null) sealing.onPaused(runId, reason)
    }
    if (isLast || startMs - othersAtMs >= sealOthersEveryMs) {
      othersAtMs = startMs
      await sealOthers(sealing)
    }
    const pauseMs = Math.max(sealEveryMs, restShare * (performance.now() - startMs))
    if (!isLast) await sleep(pauseMs, undefined, { signal: until }).catch(() => {})
  }
  return view
}

async function sealOthers({ place, config, clock, onPaused }: Sealing): Promise<void> {
  const runIds: string[] = []
  for await (const runId of listRuns(place)) if (runId !== config.runId) runIds.push(runId)
  // Short, and what is begun is ended: the buckets are gone with this process.
  const stop = new AbortController().signal
  const outcomes = await sealRuns({ place, runIds, clock, stop, tally: tallyLines, guard: guardRun })
  for (const [runId, outcome] of Object.entries(outcomes)) {
    const paused = Paused.safeParse(outcome)
    if (paused.success) onPaused(runId, paused.data.paused)
  }
}

const Paused = z.object({ paused: z.string() })

async function readGeneration(store: ObjectStore, { manifest }: ChainLink): Promise<LabelRecord[]> {
  const shards = await Promise.all(
    manifest.shards.map(async ({ key }) => unpackLines((await store.get(key)) ?? new Uint8Array(), key)),
  )
  return shards.flat().map((line) => LabelRecord.parse(JSON.parse(line)))
}
