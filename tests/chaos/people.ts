// What people do to a run while it storms: they pause it and resume it, ask again for what is missing, and clear away what
// is needed no more. It does not know processes, nor what else goes wrong.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findGarbage } from '../../dataset/gc.ts'
import type { Place } from '../../dataset/place.ts'
import { openShards } from '../../dataset/plan-sources.ts'
import { reconcileRun } from '../../dataset/reconcile.ts'
import { controlRun } from '../../dataset/run-control.ts'
import { readRun } from '../../dataset/run-folder.ts'
import { openFsSweeper } from '../../dataset/stores/fs-sweeper.ts'
import type { ObjectSweeper } from '../../dataset/stores/object-sweeper.ts'
import { openS3Sweeper } from '../../dataset/stores/s3.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { imageBucket, labelsBucket, openPorts, type PortsSpec } from './ports.ts'
import type { World } from './world.ts'

export type PeopleCounts = { paused: number; reconciled: number; deleted: number }

type Interfere = {
  random: () => number
  /** What is needed no more for so long is deleted; null: nothing is. */
  gcAgeMs: number | null
  /** They go home, and leave the run running. */
  over: AbortSignal
}

/** Does one thing after the other until it is over. */
export async function interfere(
  world: Pick<World, 'ports' | 'runId'>,
  { random, gcAgeMs, over }: Interfere,
): Promise<PeopleCounts> {
  const counts: PeopleCounts = { paused: 0, reconciled: 0, deleted: 0 }
  const store = openPorts(world.ports).runStoreOf(world.runId)
  const rest = async (mostMs: number) =>
    await sleep(random() * mostMs, undefined, { signal: over }).catch(() => {})
  const say = async (action: 'pause' | 'resume') => await controlRun(store, { action, now: new Date() })
  while (!over.aborted) {
    const deed = random()
    await rest(1500)
    if (deed < 0.5) {
      if (!(await tried(async () => void (await say('pause'))))) continue
      counts.paused += 1
      await rest(1200)
      // However long it takes: nobody else would resume it.
      while (!(await tried(async () => void (await say('resume'))))) await sleep(100)
    } else if (deed < 0.7 || gcAgeMs === null)
      counts.reconciled += (await tried(async () => await reconcile(world, { isForFailed: deed < 0.6 })))
        ? 1
        : 0
    else await tried(async () => void (counts.deleted += await clear(world, gcAgeMs)))
  }
  return counts
}

/** Whether it went through: stores refuse people as they refuse processes, and disks are full. */
async function tried(deed: () => Promise<void>): Promise<boolean> {
  try {
    await deed()
    return true
  } catch (error) {
    if (error instanceof RetryableError || error instanceof UserError) return false
    throw error
  }
}

/** The ports of a storm as verbs know them. */
export function placeOf(spec: PortsSpec): Omit<Place, 'labels' | 'weights'> {
  const { queue, deadLetters, sourceOf, runStoreOf } = openPorts(spec)
  return {
    uri: 'storm:',
    queue,
    queueOf: () => queue,
    deadLetters,
    uploadBucket: imageBucket,
    imagesOf: sourceOf,
    runStoreOf,
    deployment: null,
    close() {},
  }
}

async function reconcile(
  { ports, runId }: Pick<World, 'ports' | 'runId'>,
  { isForFailed }: { isForFailed: boolean },
): Promise<void> {
  const place = placeOf(ports)
  const store = place.runStoreOf(runId)
  const config = await readRun(store)
  if (config === null) throw new UserError(`there is no run ${runId}`)
  await reconcileRun({
    config,
    shards: await openShards(config, place),
    store,
    queue: place.queue,
    clock: () => new Date(),
    retriesFailed: isForFailed,
  })
}

async function clear({ ports, runId }: Pick<World, 'ports' | 'runId'>, minAgeMs: number): Promise<number> {
  const store = openPorts(ports).runStoreOf(runId)
  const sweeper = openSweeper(ports, runId)
  const keys: string[] = []
  for await (const { key } of findGarbage({ store, sweeper, nowMs: Date.now(), minAgeMs })) keys.push(key)
  await sweeper.remove(keys)
  return keys.length
}

function openSweeper(spec: PortsSpec, runId: string): ObjectSweeper {
  if (spec.kind === 'folder') return openFsSweeper(join(spec.folder, 'labels', 'runs', runId))
  const { endpoint, region, credentials } = spec
  const prefix = `runs/${runId}/`
  return openS3Sweeper({ bucket: labelsBucket, prefix, endpoint, region, credentials, forcePathStyle: true })
}
