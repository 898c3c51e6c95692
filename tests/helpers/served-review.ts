// The review page served as the command line serves it, for tests. It does not know what they look at.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serve } from '@hono/node-server'
import { openPictures } from '../../cli/review-pictures.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { createReviewApp } from '../../review/app.ts'
import { readPageFiles } from '../../review/page-files.ts'
import { openReviewedRun, type ReviewedRun } from '../../review/reviewed-run.ts'

export type ServedReview = { url: string; origin: string; run: ReviewedRun; close(): Promise<void> }

export async function serveReview(
  runFolder: string,
  { against = null, who = 'ada' }: { against?: string | null; who?: string } = {},
): Promise<ServedReview> {
  const store = openFsStore(runFolder)
  const run = await openReviewedRun({
    store,
    against: against === null ? null : openFsStore(against),
    cacheFolder: join(runFolder, '.review'),
    clock: () => new Date(),
  })
  const token = 'a token of a test'
  const app = createReviewApp({
    run,
    page: await readPageFiles(fileURLToPath(new URL('../../review/page/', import.meta.url))),
    ...openPictures({ store, place: null }),
    token,
    cookieName: 'coglabel-review-test',
    who: () => who,
  })
  const { promise, resolve } = Promise.withResolvers<number>()
  const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => resolve(port))
  const origin = `http://127.0.0.1:${await promise}`
  return {
    url: `${origin}/?token=${encodeURIComponent(token)}`,
    origin,
    run,
    async close() {
      const { promise: closed, resolve: done } = Promise.withResolvers<void>()
      server.close(() => done())
      if ('closeAllConnections' in server) server.closeAllConnections()
      await closed
      await run.close()
    },
  }
}
