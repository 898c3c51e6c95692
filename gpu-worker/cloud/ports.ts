// The worker's queue and stores, as its settings name them, and the model as a folder of this machine. It does not know
// what they are used for.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runsPrefix } from '../../dataset/events.ts'
import { fetchWeights } from '../../dataset/fetch-weights.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { openSqsQueue } from '../../dataset/queues/sqs.ts'
import type { WorkQueue } from '../../dataset/queues/work-queue.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { claimsPrefix } from '../../schemas/claim.ts'
import { UserError } from '../../schemas/errors.ts'
import type { TaskRole } from '../../schemas/task-spec.ts'
import { BucketName } from '../../schemas/work-message.ts'
import type { AwsBackend, FolderBackend, ModelSource, WorkerSettings } from '../pipeline/worker-settings.ts'

export type Ports = {
  queue: WorkQueue
  sourceOf: (bucket: string) => ObjectStore
  runStoreOf: (runId: string) => ObjectStore
  /** Where tasks of another model go; null where no queue is named for it. */
  queueOfRole: (role: TaskRole) => WorkQueue | null
}

/** More runs than a worker has open at once; the store of one that was let go is opened anew. */
const maxRunStores = 64

/** Opens nothing before it is used. */
export function openPorts({ backend, roleQueues }: Pick<WorkerSettings, 'backend' | 'roleQueues'>): Ports {
  const ports = backend.kind === 'aws' ? openAwsPorts(backend) : openFolderPorts(backend)
  const open = (name: string) =>
    backend.kind === 'aws' ? sqsQueue(name, backend) : folderQueue(name, backend)
  const queues = new Map([...roleQueues].map(([role, name]) => [role, open(name)]))
  const runStores = new Map<string, ObjectStore>()
  return {
    ...ports,
    queueOfRole: (role) => queues.get(role) ?? null,
    runStoreOf(runId) {
      const store = runStores.get(runId) ?? ports.runStoreOf(runId)
      if (runStores.size >= maxRunStores) runStores.clear()
      runStores.set(runId, store)
      return store
    },
  }
}

function folderQueue(name: string, { folder, maxReceives }: FolderBackend): WorkQueue {
  return openFolderQueue(join(folder, name), { maxReceives, deadLetterFolder: join(folder, 'dead-letters') })
}

function sqsQueue(queueUrl: string, { sqsEndpoint }: AwsBackend): WorkQueue {
  return openSqsQueue({ queueUrl, ...(sqsEndpoint === undefined ? {} : { endpoint: sqsEndpoint }) })
}

function openFolderPorts(backend: FolderBackend): Omit<Ports, 'queueOfRole'> {
  const { folder } = backend
  return {
    queue: folderQueue('queue', backend),
    // The name was checked when the message was read: it is no path.
    sourceOf: (bucket) => openFsStore(join(folder, 'buckets', BucketName.parse(bucket))),
    runStoreOf: (runId) => openFsStore(join(folder, 'labels', runsPrefix, runId)),
  }
}

function openAwsPorts(backend: AwsBackend): Omit<Ports, 'queueOfRole'> {
  const { queueUrl, labelsBucket, sourceBuckets, s3 } = backend
  const sources = new Map(sourceBuckets.map((bucket) => [bucket, openS3Store({ bucket, ...s3 })]))
  return {
    queue: sqsQueue(queueUrl, backend),
    sourceOf(bucket) {
      const store = sources.get(bucket)
      if (store !== undefined) return store
      throw new UserError(`the bucket ${bucket} is not in COGLABEL_SOURCE_BUCKETS; add it to read from it`)
    },
    runStoreOf: (runId) =>
      withClaimsApart(openS3Store({ bucket: labelsBucket, prefix: `${runsPrefix}${runId}/`, ...s3 }), {
        claims: openS3Store({ bucket: labelsBucket, prefix: `${claimsPrefix}${runId}/`, ...s3 }),
      }),
  }
}

/**
 * The same store with its claims elsewhere: below `claims/<run>/` of the bucket, for a lifecycle rule that takes them
 * away after a day knows one prefix and no pattern. Only workers read claims.
 */
function withClaimsApart(store: ObjectStore, { claims }: { claims: ObjectStore }): ObjectStore {
  const at = (key: string) =>
    key.startsWith(claimsPrefix)
      ? { place: claims, name: key.slice(claimsPrefix.length) }
      : { place: store, name: key }
  return {
    ...store,
    async putIfAbsent(key, bytes) {
      const { place, name } = at(key)
      return await place.putIfAbsent(name, bytes)
    },
    async get(key) {
      const { place, name } = at(key)
      return await place.get(name)
    },
  }
}

/** The folder that holds the model, fetched first when it was pushed elsewhere. */
export async function openModelFolder(
  model: Exclude<ModelSource, { kind: 'endpoint' }>,
  signal: AbortSignal,
): Promise<{ folder: string; fetchedBytes: number }> {
  if (model.kind === 'folder') return { folder: model.folder, fetchedBytes: 0 }
  const { uri, scratchFolder, s3 } = model
  const store = openWeights(uri, s3)
  try {
    return await fetchWeights({ store, scratchFolder, signal })
  } finally {
    store.close?.()
  }
}

function openWeights(uri: URL, s3: AwsBackend['s3']): ObjectStore & { close?: () => void } {
  if (uri.protocol === 'file:') return openFsStore(fileURLToPath(uri))
  const prefix = decodeURIComponent(uri.pathname.slice(1))
  return openS3Store({ bucket: uri.hostname, prefix, ...s3 })
}
