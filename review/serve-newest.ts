// A run that may still be labelled while people review it: whoever loads the page sees what was sealed by then. It does
// not know what the page shows.
import type { Hono } from 'hono'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { ReviewedRun } from './reviewed-run.ts'
import { stateOf } from './run-index.ts'

export type ServeOptions = {
  open: () => Promise<ReviewedRun>
  appOf: (run: ReviewedRun) => Hono
  /** What was sealed since cannot be shown; the page goes on with what it had. */
  onProblem: (error: unknown) => void
  clock: () => Date
}

export type ServedRun = {
  /** The one that is shown now. */
  readonly run: ReviewedRun
  fetch(request: Request): Promise<Response>
  close(): Promise<void>
}

/** Reading the chain takes a moment in a long run, and pages are loaded in bursts. */
const lookEveryMs = 2000

/** What a page has open still reads from the run it came from: pictures and records must not change under it. */
const keptRuns = 2

export async function serveNewest(
  store: ObjectStore,
  { open, appOf, onProblem, clock }: ServeOptions,
): Promise<ServedRun> {
  let state = await stateOf(store)
  let run = await open()
  let app = appOf(run)
  const runs = [run]
  let lookedMs = clock().getTime()
  let opening: Promise<void> | null = null
  const lookAgain = async () => {
    lookedMs = clock().getTime()
    const found = await stateOf(store)
    if (found === state) return
    run = await open()
    ;[state, app] = [found, appOf(run)]
    runs.push(run)
    if (runs.length > keptRuns) await runs.shift()?.close()
  }
  return {
    get run() {
      return run
    },
    async fetch(request) {
      const isPageLoad = request.method === 'GET' && new URL(request.url).pathname === '/'
      if (isPageLoad && clock().getTime() - lookedMs >= lookEveryMs) {
        opening ??= lookAgain()
          .catch(onProblem)
          .finally(() => {
            opening = null
          })
        await opening
      }
      return await app.fetch(request)
    },
    async close() {
      for (const run of runs) await run.close()
    },
  }
}
