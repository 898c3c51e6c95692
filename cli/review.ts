// `coglabel review`: serves the review page of a run on this machine until it is stopped. It does not know the page.
import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { serve } from '@hono/node-server'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { Place } from '../dataset/place.ts'
import { createReviewApp } from '../review/app.ts'
import { readPageFiles } from '../review/page-files.ts'
import { openReviewedRun } from '../review/reviewed-run.ts'
import { serveNewest } from '../review/serve-newest.ts'
import { UserError } from '../schemas/errors.ts'
import { readNumber } from './flag-values.ts'
import { openPlaceOf, type PlaceFlags, placeOptions, placeUsage } from './place.ts'
import { openReviewCache, type ReviewCache, reviewCacheName } from './review-cache.ts'
import { openPictures } from './review-pictures.ts'
import { userCacheFolder } from './user-cache.ts'
import type { VerbRoot } from './verb-root.ts'

const defaultPort = 4747
const loopback = '127.0.0.1'

export const reviewUsage = `coglabel review DIR [options]
coglabel review RUN --place URI [options]

Opens a page to look through a run: every image with what was said about it, its boxes, checks and look-alikes. Accept,
reject and edit with single keys. Verdicts are written at once, each a file of its own below DIR/verdicts, and exports
take them in; several people may review one run at once, and of a record's verdicts the newest counts. What was sealed
since shows when the page is loaded anew. Prints an address with a token; only who has it can look.

  --against DIR2   shows another run of the same images beside it (RUN2 with --place)
  --as NAME        who judges (the name you are logged in with)
  --port N         of the address (${defaultPort}; 0 for any that is free)
  --host ADDRESS   listens there instead of on this machine alone (${loopback})
  --cache FOLDER   for the index (DIR/${reviewCacheName}, or ~/.cache/coglabel with --place); may be deleted any time
${placeUsage}

Exit code: 0 stopped by you, 1 fatal, 2 wrong usage.`

type Flags = PlaceFlags & {
  run: string
  against: string | null
  who: string
  port: number
  host: string
  cache: string | null
}

/** Runs the verb until it is interrupted; returns the exit code. */
export async function runReview(args: readonly string[], root: VerbRoot): Promise<number> {
  const flags = parseFlags(args)
  const { place, storeOf } = await openSource(flags)
  const store = await storeOf(flags.run)
  root.tell('reading the run …')
  const against = flags.against === null ? null : await storeOf(flags.against)
  const cache = await openCache(flags)
  if (cache.isReadOnlyRun)
    root.tell(`${flags.run} cannot be written to: the page shows it, but verdicts will not be kept`)
  const token = randomBytes(16).toString('hex')
  const page = await readPageFiles(fileURLToPath(new URL('../review/page/', import.meta.url)))
  const served = await serveNewest(store, {
    clock: root.clock,
    onProblem: (error) =>
      root.tell(
        `what was sealed since is not shown: ${error instanceof Error ? error.message : String(error)}`,
      ),
    open: async () => await openReviewedRun({ store, against, cacheFolder: cache.folder, clock: root.clock }),
    appOf: (run) =>
      createReviewApp({
        run,
        page,
        ...openPictures({ store, place }),
        token,
        cookieName: `coglabel-review-${flags.port}`,
        who: () => flags.who,
      }),
  })
  const { index } = served.run
  const server = await listen(served.fetch, flags)
  root.tell(
    `index of ${index.recordCount} records ${index.how} in ${(index.tookMs / 1000).toFixed(2)} s; Ctrl+C stops`,
  )
  root.print(
    `http://${flags.host.includes(':') ? `[${flags.host}]` : flags.host}:${server.port}/?token=${token}`,
  )
  await new Promise<void>((stop) => {
    const off = root.onInterrupt(() => {
      off()
      stop()
    })
  })
  await server.close()
  await served.close()
  await cache.close()
  place?.close()
  return 0
}

function parseFlags(args: readonly string[]): Flags {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      against: { type: 'string' },
      as: { type: 'string' },
      port: { type: 'string' },
      host: { type: 'string', default: loopback },
      cache: { type: 'string' },
      ...placeOptions,
    },
  })
  const [run, ...rest] = positionals
  if (run === undefined || rest.length > 0)
    throw new UserError(`review takes one run, got ${positionals.length}: coglabel review DIR`)
  const port = readNumber('--port', values.port, z.int().min(0).max(65_535)) ?? defaultPort
  const who = (values.as ?? userName()).trim()
  if (who === '' || who.length > 200)
    throw new UserError(`--as has ${who.length} characters; expected a name of 1 to 200`)
  return {
    run,
    'against': values.against ?? null,
    who,
    port,
    'host': values.host,
    'cache': values.cache ?? null,
    'place': values.place,
    'aws-endpoint': values['aws-endpoint'],
  }
}

type Source = { place: Place | null; storeOf: (name: string) => Promise<ObjectStore> }

/** A folder of this machine, or a run of a place. */
async function openSource(flags: Flags): Promise<Source> {
  if (flags.place === undefined) {
    const storeOf = async (folder: string) => {
      const isFolder = await stat(folder).then(
        (stats) => stats.isDirectory(),
        () => false,
      )
      if (isFolder) return openFsStore(resolve(folder))
      throw new UserError(`"${folder}" is no folder; give the run folder that coglabel label --out made`)
    }
    return { place: null, storeOf }
  }
  const place = await openPlaceOf(flags)
  return { place, storeOf: async (runId) => place.runStoreOf(runId) }
}

async function openCache({ cache, place, run }: Flags): Promise<ReviewCache> {
  const kept = (folder: string) => ({ folder, isReadOnlyRun: false, close: async () => {} })
  if (cache !== null) return kept(resolve(cache))
  if (place === undefined) return await openReviewCache(run)
  return kept(join(userCacheFolder(), 'review', run.replaceAll(/[^\w.-]/g, '_')))
}

/** Containers run as users that have no name. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return `user-${process.getuid?.() ?? 0}`
  }
}

type Listening = { port: number; close(): Promise<void> }

async function listen(
  fetch: (request: Request) => Response | Promise<Response>,
  { host, port }: Flags,
): Promise<Listening> {
  return await new Promise((ready, failed) => {
    const server = serve({ fetch, hostname: host, port }, ({ port: bound }) =>
      ready({
        port: bound,
        close: async () => {
          const { promise, resolve: done } = Promise.withResolvers<void>()
          server.close(() => done())
          if ('closeAllConnections' in server) server.closeAllConnections()
          await promise
        },
      }),
    )
    server.on('error', (error: NodeJS.ErrnoException) => {
      failed(
        error.code === 'EADDRINUSE'
          ? new UserError(`port ${port} of ${host} is taken; stop what listens there or give --port 0`, {
              cause: error,
            })
          : error,
      )
    })
  })
}
