// A run's source as shards of a plan: a prefix of a bucket, or lists of keys. It does not know queues.
import { UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { BucketName, ObjectKey, type WorkImage } from '../schemas/work-message.ts'
import { incomingPrefix, runsPrefix } from './events.ts'
import { skipReason } from './image-keys.ts'
import type { Place } from './place.ts'
import { openLists, readList, type KeyList, type ListedKey } from './plan-lists.ts'
import type { PlanShard } from './plan.ts'
import { listAll, type ObjectStore } from './stores/object-store.ts'

type RunOf = Pick<RunConfig, 'runId' | 'source'>
type Images = Pick<Place, 'imagesOf' | 'uploadBucket'>

/** Where what is uploaded for a run lies. */
export function uploadPrefix(runId: string): string {
  return `${incomingPrefix}${runId}/`
}

/** The shards of a run's source. Throws UserError for a bucket that the place does not have, or a list that is none. */
export async function openShards({ runId, source }: RunOf, place: Images): Promise<PlanShard[]> {
  switch (source.kind) {
    case 'bucket':
      return [prefixShard(place, { bucket: source.bucket, prefix: source.prefix })]
    case 'standing':
      return [prefixShard(place, { bucket: source.bucket, prefix: uploadPrefix(runId) })]
    case 'list': {
      const store = place.imagesOf(source.bucket)
      const lists = await openLists(store, source.key)
      return lists.map((list, n) => listShard(place, { store, list, n, bucket: source.bucket }))
    }
    case 'folder':
    case 'image':
    case 'manifest':
      return [prefixShard(place, { bucket: place.uploadBucket, prefix: uploadPrefix(runId) })]
  }
}

function prefixShard(place: Images, { bucket, prefix }: { bucket: string; prefix: string }): PlanShard {
  const store = place.imagesOf(bucket)
  return {
    name: 'prefix',
    async *images(after, tell) {
      for await (const { key, sizeBytes, etag } of listAll(store, {
        prefix,
        ...(after === null ? {} : { after }),
      })) {
        const reason = foreignReason(key, prefix) ?? imageReason(key)
        if (reason === null) {
          const version = etag === undefined ? {} : { etag }
          yield { image: { bucket, key, sizeBytes, ...version }, cursor: key }
        } else tell(reason)
      }
    },
  }
}

type ListShard = { store: ObjectStore; list: KeyList; n: number; bucket: string }

function listShard(place: Images, { store, list, n, bucket }: ListShard): PlanShard {
  return {
    name: `list-${String(n).padStart(5, '0')}`,
    async *images(after, tell) {
      for await (const { line, listed } of readList(store, list, Number(after ?? 0))) {
        const reason = listed === null ? 'deleted or replaced' : foreignReason(listed.key, incomingPrefix)
        if (reason !== null || listed === null) {
          tell(reason ?? 'deleted or replaced')
          continue
        }
        const image = toImage({ bucket, ...listed })
        if (image === null) {
          tell('unusable name')
          continue
        }
        // Told now, not by every worker that then gives the message back.
        if (image.bucket !== bucket)
          refuseUnknown(place, image.bucket, `line ${line} of ${store.uri}${list.key}`)
        yield { image, cursor: String(line) }
      }
    },
  }
}

function toImage(listed: ListedKey & { bucket: string }): WorkImage | null {
  return ObjectKey.safeParse(listed.key).success && BucketName.safeParse(listed.bucket).success
    ? listed
    : null
}

function refuseUnknown(place: Images, bucket: string, where: string): void {
  try {
    place.imagesOf(bucket)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    throw new UserError(`${where}: ${error.message}`, { cause: error })
  }
}

/** Our own output is never work, wherever it lies, nor what was uploaded for another run. */
function foreignReason(key: string, prefix: string): string | null {
  if (key.startsWith(runsPrefix)) return 'our own output'
  if (key.startsWith(incomingPrefix) && !prefix.startsWith(incomingPrefix)) return 'uploaded for a run'
  return null
}

/** A name that a store refuses is work all the same: it becomes a failed record, which names it. */
function imageReason(key: string): string | null {
  const reason = skipReason(key)
  return reason === 'unusable name' && ObjectKey.safeParse(key).success ? null : reason
}
