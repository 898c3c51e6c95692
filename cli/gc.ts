// `coglabel gc`: lists what runs no longer need, and deletes it when told to. It does not know what that is.
import { stat } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { findGarbage, type Garbage, garbageKinds } from '../dataset/gc.ts'
import { listRuns, type Place, type PlaceConnection } from '../dataset/place.ts'
import { openRunSweeper } from '../dataset/place-sweeper.ts'
import { openFsSweeper } from '../dataset/stores/fs-sweeper.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { ObjectSweeper } from '../dataset/stores/object-sweeper.ts'
import { UserError } from '../schemas/errors.ts'
import { runConfigKey } from '../schemas/run-config.ts'
import { connectionOf, openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { needRun, type VerbRoot } from './verb-root.ts'

const defaultDays = 7
/** Below this a sealer that was slow for a moment could lose what it is about to commit. */
const minDays = 1 / 24
const msPerDay = 24 * 60 * 60 * 1000
const deletedAtOnce = 1000

export const gcUsage = `coglabel gc [RUN …] [options]

Lists what runs no longer need: parts that are sealed, files of sealers that lost a race, checkpoints that newer ones
replaced. Labels are never among it. Without RUN, all runs of the place.

  RUN                    a run's id, or the folder that coglabel label wrote
${placeUsage}
  --older-than DAYS      only what has been unneeded for so long (${defaultDays}; at least an hour, 0.042)
  --yes                  delete it; without, nothing is changed

Exit code: 0 done, 1 fatal, 2 wrong usage or settings.`

type GcRoot = Pick<VerbRoot, 'print' | 'clock'>

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runGc(args: readonly string[], root: GcRoot): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...placeOptions, 'older-than': { type: 'string' }, 'yes': { type: 'boolean' } },
  })
  const minAgeMs = parseDays(values['older-than'] ?? String(defaultDays)) * msPerDay
  const options = { root, minAgeMs, isDeleting: values.yes === true }
  const folders: string[] = []
  for (const name of positionals) if (await isRunFolder(name)) folders.push(name)
  for (const folder of folders)
    await sweepRun({ ...options, name: folder, store: openFsStore(folder), sweeper: openFsSweeper(folder) })
  const runIds = positionals.filter((name) => !folders.includes(name))
  if (folders.length > 0 && runIds.length === 0) return 0
  const place = await openPlaceOf(values)
  try {
    for await (const runId of runIds.length > 0 ? runIds : listRuns(place))
      await sweepRunOf(place, { ...options, runId, connection: connectionOf(values) })
  } finally {
    place.close()
  }
  return 0
}

function parseDays(text: string): number {
  const days = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN
  if (days >= minDays) return days
  throw new UserError(`--older-than ${JSON.stringify(text)} is no number of days of at least an hour (0.042)`)
}

async function isRunFolder(name: string): Promise<boolean> {
  const stats = await stat(name).catch(() => null)
  return stats?.isDirectory() === true && (await openFsStore(name).head(runConfigKey)) !== null
}

type Sweep = { root: GcRoot; minAgeMs: number; isDeleting: boolean }

async function sweepRunOf(
  place: Place,
  { runId, connection, ...options }: Sweep & { runId: string; connection: PlaceConnection },
): Promise<void> {
  await needRun(place, runId)
  const store = place.runStoreOf(runId)
  const sweeper = openRunSweeper(place, { runId, connection })
  try {
    await sweepRun({ ...options, name: runId, store, sweeper })
  } finally {
    sweeper.close()
  }
}

/** Lists one run's garbage as it is found, deletes it when asked to, and says how much it was. */
async function sweepRun(
  sweep: Sweep & { name: string; store: ObjectStore; sweeper: ObjectSweeper },
): Promise<void> {
  const { root, minAgeMs, isDeleting, name, store, sweeper } = sweep
  const tally = Object.fromEntries(garbageKinds.map((kind) => [kind, { files: 0, bytes: 0 }]))
  let batch: string[] = []
  for await (const garbage of findGarbage({ store, sweeper, nowMs: root.clock().getTime(), minAgeMs })) {
    root.print(describe(garbage))
    const counts = (tally[garbage.kind] ??= { files: 0, bytes: 0 })
    counts.files += 1
    counts.bytes += garbage.sizeBytes
    batch.push(garbage.key)
    if (!isDeleting || batch.length < deletedAtOnce) continue
    await sweeper.remove(batch)
    batch = []
  }
  if (isDeleting) await sweeper.remove(batch)
  root.print(summarise(name, { tally, isDeleting }))
}

function describe({ kind, key, sizeBytes, modifiedAtMs }: Garbage): string {
  return `${kind.padEnd(10)} ${String(sizeBytes).padStart(12)} bytes  ${new Date(modifiedAtMs).toISOString()}  ${key}`
}

function summarise(
  name: string,
  { tally, isDeleting }: { tally: Record<string, { files: number; bytes: number }>; isDeleting: boolean },
): string {
  const found = Object.entries(tally).filter(([, { files }]) => files > 0)
  if (found.length === 0) return `${name}: nothing to delete`
  const counts = found.map(([kind, { files, bytes }]) => `${kind} ${files} (${bytes} bytes)`).join(', ')
  return `${name}: ${isDeleting ? 'deleted' : 'would delete'} ${counts}${isDeleting ? '' : '; add --yes to do it'}`
}
