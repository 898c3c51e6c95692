// Keeps one thumbnail for each image of a run, whoever asks and however often. One that cannot be made or written is
// told and forgotten: a picture is no reason to lose a label.
import type { Clock } from '../../dataset/queues/clock.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError } from '../../schemas/errors.ts'
import { thumbnailKey } from '../../schemas/thumbnail.ts'
import type { ThumbnailsOf } from './label-request.ts'

/** Images remembered as done, so that another delivery does not have them drawn again; 100 bytes each. */
const rememberedImages = 10_000

/** A store that hangs shall not hold the records. */
const waitMs = 10_000

export type Thumbnails = {
  runStoreOf: (runId: string) => ObjectStore
  clock: Pick<Clock, 'sleep'>
  onError: (error: unknown) => void
}

/** Starts with none remembered. */
export function keepThumbnails({ runStoreOf, clock, onError }: Thumbnails): ThumbnailsOf {
  const done = new Set<string>()
  const keepOne = async (runId: string, sha256: string, webp: Uint8Array) => {
    const id = `${runId}/${sha256}`
    const kept = new AbortController()
    const keep = async () => {
      await runStoreOf(runId).putIfAbsent(thumbnailKey(sha256), webp)
      done.add(id)
      const [oldest] = done
      if (done.size > rememberedImages && oldest !== undefined) done.delete(oldest)
    }
    const keeping = keep()
      .catch(onError)
      .finally(() => kept.abort())
    const late = clock.sleep(waitMs, kept.signal).then(() => {
      if (!kept.signal.aborted) onError(new RetryableError('a thumbnail took too long', { cause: null }))
    })
    await Promise.race([keeping, late])
  }
  return (runId) => ({
    wants: (sha256) => !done.has(`${runId}/${sha256}`),
    keep: async (sha256, webp) => await keepOne(runId, sha256, webp),
  })
}
