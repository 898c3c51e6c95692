// Runs of a place that are reviewed from one process: opened when they are asked for, a few kept. It does not know HTTP.
import { join } from 'node:path'
import { sha256Hex } from '../dataset/canonical-json.ts'
import { readRun } from '../dataset/run-folder.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { openReviewedRun, type ReviewedRun } from './reviewed-run.ts'

/** Each holds its index; see `run-index.ts` for what that takes. */
const maxRuns = 2

/** A page that is loaded this long after the run was opened sees what was sealed since. */
const freshMs = 60_000

export function keepReviewedRuns({ cacheFolder, clock }: { cacheFolder: string; clock: () => Date }): {
  /** Null where there is no run. */
  open(store: ObjectStore, request: { isPageLoad: boolean }): Promise<ReviewedRun | null>
} {
  const kept = new Map<string, { run: Promise<ReviewedRun>; openedMs: number }>()
  const drop = (uri: string) => {
    const old = kept.get(uri)
    kept.delete(uri)
    // Whoever still reads from it gets an error and loads the page again.
    void old?.run.then(async (run) => await run.close()).catch(() => {})
  }
  return {
    async open(store, { isPageLoad }) {
      const nowMs = clock().getTime()
      const known = kept.get(store.uri)
      if (known !== undefined && !(isPageLoad && nowMs - known.openedMs > freshMs)) return await known.run
      if ((await readRun(store)) === null) return null
      drop(store.uri)
      const folder = join(cacheFolder, sha256Hex(store.uri).slice(0, 24))
      const run = openReviewedRun({ store, against: null, cacheFolder: folder, clock })
      kept.set(store.uri, { run, openedMs: nowMs })
      const [oldest] = kept.keys()
      if (kept.size > maxRuns && oldest !== undefined) drop(oldest)
      return await run.catch((error: unknown) => {
        kept.delete(store.uri)
        throw error
      })
    },
  }
}
