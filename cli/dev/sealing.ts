// Keeps a run sealed and its labels.jsonl up to date, and says what was sealed. It does not know who labels.
import { setTimeout as sleep } from 'node:timers/promises'
import { type ChainLink, type ChainPlace, readChain } from '../../dataset/chain.ts'
import { type LabelsView, writeLabelsView } from '../../dataset/labels-view.ts'
import { unpackLines } from '../../dataset/parts.ts'
import { openSealer } from '../../dataset/seal.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { LabelRecord } from '../../schemas/label-record.ts'

export type Sealing = {
  store: ObjectStore
  runId: string
  /** Where labels.jsonl is written. */
  out: string
  clock: () => Date
  /** When it fires, what is there is sealed once more. */
  until: AbortSignal
  onSealed: (records: readonly LabelRecord[]) => void
}

const sealEveryMs = 400

/** A large run takes longer to write out than the pause: it then rests as long as it worked, times this. */
const restShare = 2

/** Resolves to the labels as they stand at the end. */
export async function keepSealing(sealing: Sealing): Promise<LabelsView> {
  const { store, out, until } = sealing
  const sealer = openSealer(sealing)
  let view = await writeLabelsView(store, out)
  let last: ChainPlace | null = null
  for (let isLast = false; !isLast;) {
    isLast = until.aborted
    const startMs = performance.now()
    const { generations } = await sealer.seal()
    if (generations > 0) {
      view = await writeLabelsView(store, out)
      for await (const link of readChain(store, last)) {
        last = { generation: link.manifest.generation, sha256: link.sha256 }
        sealing.onSealed(await readGeneration(store, link))
      }
    }
    const pauseMs = Math.max(sealEveryMs, restShare * (performance.now() - startMs))
    if (!isLast) await sleep(pauseMs, undefined, { signal: until }).catch(() => {})
  }
  return view
}

async function readGeneration(store: ObjectStore, { manifest }: ChainLink): Promise<LabelRecord[]> {
  const shards = await Promise.all(
    manifest.shards.map(async ({ key }) => unpackLines((await store.get(key)) ?? new Uint8Array(), key)),
  )
  return shards.flat().map((line) => LabelRecord.parse(JSON.parse(line)))
}
