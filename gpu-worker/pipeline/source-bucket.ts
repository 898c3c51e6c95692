// The bucket that an image comes from, and whether an error is that bucket's alone: then only what lies in it cannot be
// labelled, and a worker has other work. It does not know messages or which store it is.
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'

export type SourceBucket = {
  store: ObjectStore
  /** What is wrong with this bucket, when it threw the error and others need not; null else. */
  problemOf: (error: unknown) => string | null
}

/** What S3 says of a bucket that was deleted, or that is elsewhere. Credentials are everybody's, and not among it. */
const ofOneBucket = ['NoSuchBucket', 'PermanentRedirect', 'AuthorizationHeaderMalformed']

/** Null for a bucket that this worker may not read. */
export function openSourceBucket(
  bucket: string,
  sourceOf: (bucket: string) => ObjectStore,
): SourceBucket | null {
  const store = openStore(bucket, sourceOf)
  if (store === null) return null
  const thrown = new WeakSet<Error>()
  const watched =
    <Args extends unknown[], T>(read: (...args: Args) => Promise<T>) =>
    async (...args: Args): Promise<T> =>
      await read(...args).catch((error: unknown) => {
        if (error instanceof Error) thrown.add(error)
        throw error
      })
  return {
    store: {
      ...store,
      get: watched(store.get),
      getWithin: watched(store.getWithin),
      getRange: watched(store.getRange),
      head: watched(store.head),
    },
    problemOf(error) {
      if (!(error instanceof UserError) || !thrown.has(error)) return null
      return error.cause instanceof Error && ofOneBucket.includes(error.cause.name) ? error.message : null
    },
  }
}

function openStore(bucket: string, sourceOf: (bucket: string) => ObjectStore): ObjectStore | null {
  try {
    return sourceOf(bucket)
  } catch (error) {
    if (error instanceof UserError) return null
    throw error
  }
}
