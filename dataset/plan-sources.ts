// A run's source as shards of a plan: a prefix of a bucket, or lists of keys. It does not know queues.
import { UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { BucketName, ObjectKey, type WorkImage } from '../schemas/work-message.ts'
import { sha256Hex } from './canonical-json.ts'
import { incomingPrefix, listedPrefix, runsPrefix, uploadSkipReason } from './events.ts'
import { IdIndex } from './id-index.ts'
import { skipReason } from './image-keys.ts'
import type { Place } from './place.ts'
import { openLists, readList, type KeyList, type ListedKey } from './plan-lists.ts'
import type { PlanShard } from './plan.ts'
import { openRunList } from './run-list.ts'
import { listAll, type ObjectStore } from './stores/object-store.ts'

/** Lines of one list that are remembered, 34 to 68 bytes each. */
const maxSeenLines = 5_000_000

type RunOf = Pick<RunConfig, 'runId' | 'source' | 'itemTasks'>
type Images = Pick<Place, 'imagesOf' | 'uploadBucket' | 'runStoreOf'>

/** Where what is uploaded for a run lies: events are work, but for a run with a list of its images. */
export function uploadPrefix(runId: string, kind: RunConfig['source']['kind'] = 'standing'): string {
  return `${kind === 'manifest' ? listedPrefix : incomingPrefix}${runId}/`
}

/**
 * The shards of a run's source. A bucket that the place does not have, or a list that is gone, is a UserError of whoever
 * goes through their images: what is planned to its end needs neither. Throws UserError for an inventory that is none.
 */
export async function openShards(run: RunOf, place: Images): Promise<PlanShard[]> {
  const { runId, source } = run
  switch (source.kind) {
    case 'bucket':
      return [prefixShard(place, { bucket: source.bucket, prefix: source.prefix })]
    case 'standing':
      return [
        prefixShard(place, {
          bucket: source.bucket,
          prefix: uploadPrefix(runId),
          reasonOf: uploadSkipReason,
        }),
      ]
    case 'list': {
      const { bucket, key } = source
      const lists = await openLists(() => place.imagesOf(bucket), key)
      return lists.map((list, n) =>
        listShard(place, { run, storeOf: () => place.imagesOf(bucket), list, n, bucket }),
      )
    }
    case 'manifest': {
      const store = place.runStoreOf(runId)
      const lists = await openRunList(store)
      if (lists === null) return [unlistedShard(runId)]
      const bucket = place.uploadBucket
      return lists.map((list, n) => listShard(place, { run, storeOf: () => store, list, n, bucket }))
    }
    case 'folder':
    case 'image':
      return [prefixShard(place, { bucket: place.uploadBucket, prefix: uploadPrefix(runId) })]
  }
}

type PrefixShard = { bucket: string; prefix: string; reasonOf?: (key: string) => string | null }

/** By their names below the prefix: whoever asks for a hidden folder means what is in it. */
function prefixShard(place: Images, { bucket, prefix, reasonOf = imageReason }: PrefixShard): PlanShard {
  const folderLength = prefix.lastIndexOf('/') + 1
  return {
    name: 'prefix',
    async *images(after, tell) {
      const store = place.imagesOf(bucket)
      for await (const { key, sizeBytes, etag } of listAll(store, {
        prefix,
        ...(after === null ? {} : { after }),
      })) {
        const reason = foreignReason(key, prefix) ?? reasonOf(key.slice(folderLength))
        if (reason === null) {
          const version = etag === undefined ? {} : { etag }
          yield { image: { bucket, key, sizeBytes, ...version }, cursor: key }
        } else tell(reason)
      }
    },
  }
}

/** Of a run whose submitting was interrupted: what is asked of its images is not known yet. */
function unlistedShard(runId: string): PlanShard {
  return {
    name: listName(0),
    // oxlint-disable-next-line require-yield
    async *images() {
      throw new UserError(`the run ${runId} was not submitted to its end; repeat the command that submits it`)
    },
  }
}

function listName(n: number): string {
  return `list-${String(n).padStart(5, '0')}`
}

type ListShard = { run: RunOf; storeOf: () => ObjectStore; list: KeyList; n: number; bucket: string }

function listShard(place: Images, { run, storeOf, list, n, bucket }: ListShard): PlanShard {
  return {
    name: listName(n),
    async *images(after, tell) {
      const [store, seen, from] = [storeOf(), new IdIndex(), Number(after ?? 0)]
      // From its first line on: what a line before the cursor names is not asked for again.
      for await (const { line, listed } of readList(store, list, 0)) {
        const isTwice = listed !== null && isNamedTwice({ bucket, ...listed }, seen)
        if (line <= from) continue
        if (listed === null) {
          tell('deleted or replaced')
          continue
        }
        const reason = foreignReason(listed.key, incomingPrefix) ?? (isTwice ? 'named twice' : null)
        if (reason !== null) {
          tell(reason)
          continue
        }
        const image = toImage({ bucket, ...listed })
        if (image === null) {
          tell('unusable name')
          continue
        }
        // Told now, not by every worker that then gives the message back.
        const where = `line ${line} of ${store.uri}${list.key}`
        if (image.bucket !== bucket) refuseUnknown(place, image.bucket, where)
        if ((image.questions ?? image.phrases) !== undefined && run.itemTasks === undefined)
          throw new UserError(
            `${where} has questions or phrases, and the run ${run.runId} was submitted without any; submit another run`,
          )
        yield { image, cursor: String(line) }
      }
    },
  }
}

/**
 * Whether a line asks again for the records of an earlier one, which would be counted twice and sealed once. Versions make
 * no difference, for workers read the newest. Beyond so many lines it is taken as new.
 */
function isNamedTwice(listed: ListedKey & { bucket: string }, seen: IdIndex): boolean {
  const { bucket, key, questions = null, phrases = null } = listed
  const id = sha256Hex(JSON.stringify([bucket, key, questions, phrases])).slice(0, 32)
  if (seen.has(id)) return true
  if (seen.size < maxSeenLines) seen.set(id, 0)
  return false
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
  const isUpload = [incomingPrefix, listedPrefix].some((uploads) => key.startsWith(uploads))
  return isUpload && !prefix.startsWith(incomingPrefix) && !prefix.startsWith(listedPrefix)
    ? 'uploaded for a run'
    : null
}

/** A name that a store refuses is work all the same: it becomes a failed record, which names it. */
function imageReason(key: string): string | null {
  const reason = skipReason(key)
  return reason === 'unusable name' && ObjectKey.safeParse(key).success ? null : reason
}
