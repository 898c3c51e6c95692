// A watched folder: each image that lies in it for a moment goes up into a bucket. It does not know runs or labels.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { openSource } from '../../dataset/ingest.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'

export type DropFolder = {
  folder: string
  store: ObjectStore
  /** Ends in a slash. */
  prefix: string
  stop: AbortSignal
  tell: (text: string) => void
}

/** Between two looks; a file that has not changed in between has been copied whole. */
const lookEveryMs = 300

/** Looks rather than listens: events of file systems differ by platform and are lost over mounts. */
export async function watchDropFolder(drop: DropFolder): Promise<void> {
  const { folder, stop, tell } = drop
  const source = await openSource(folder)
  const seen = new Map<string, string>()
  const done = new Map<string, string>()
  while (!stop.aborted) {
    for await (const { key } of source.items()) {
      if (stop.aborted) return
      const state = await stateOf(join(folder, key))
      if (state === null || done.get(key) === state) continue
      const isWhole = seen.get(key) === state
      seen.set(key, state)
      if (!isWhole) continue
      done.set(key, state)
      const problem = await upload(drop, { key, bytes: await source.store.get(key) })
      if (problem !== null) tell(problem)
    }
    await sleep(lookEveryMs, undefined, { signal: stop }).catch(() => {})
  }
}

async function stateOf(path: string): Promise<string | null> {
  const stats = await stat(path).catch(() => null)
  return stats === null ? null : `${stats.size} ${stats.mtimeMs}`
}

/** Null when the bucket has it, otherwise why not. */
async function upload(
  { store, prefix }: DropFolder,
  { key, bytes }: { key: string; bytes: Uint8Array | null },
): Promise<string | null> {
  if (bytes === null) return null
  try {
    if ((await store.putIfAbsent(prefix + key, bytes)) === 'created') return null
    const standing = await store.get(prefix + key)
    if (standing !== null && sha256Hex(standing) === sha256Hex(bytes)) return null
    return `${key} was labelled with other bytes before, which stand; give the new image a name of its own`
  } catch (error) {
    if (error instanceof UserError || error instanceof RetryableError) return `${key}: ${error.message}`
    throw error
  }
}
