// A place: one deployment's queues and stores behind one URI, a folder or a bucket that holds `_deployment.json`.
// It does not know runs, nor who asks; credentials are found where AWS tools keep them unless they are given.
import { stat } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { z } from 'zod'
import { Deployment, deploymentKey } from '../schemas/deployment.ts'
import { UserError } from '../schemas/errors.ts'
import { BucketName, RunId } from '../schemas/work-message.ts'
import { runsPrefix } from './events.ts'
import { parseJson } from './parse-json.ts'
import { openFolderQueue } from './queues/folder.ts'
import { openSqsQueue } from './queues/sqs.ts'
import type { WorkQueue } from './queues/work-queue.ts'
import { openFsStore } from './stores/fs.ts'
import { listFolders, type ObjectStore } from './stores/object-store.ts'
import { openS3Store } from './stores/s3.ts'

export type Place = {
  /** `file:///…/` or `s3://bucket/`. */
  uri: string
  /** Work for everybody. */
  queue: WorkQueue
  /** The same queue, as the sender of one run's messages: a queue that is fair shares itself between runs. */
  queueOf(runId: string): WorkQueue
  deadLetters: WorkQueue
  /** Where uploads go. */
  uploadBucket: string
  /** Images by bucket. Throws UserError for a bucket that the place does not have. */
  imagesOf(bucket: string): ObjectStore
  /** Rooted at the run: `config.json`, `parts/…`. */
  runStoreOf(runId: string): ObjectStore
  /** Rooted above `runs/`. */
  labels: ObjectStore
  /** Rooted at the weights: `<digest>/…`. */
  weights: ObjectStore
  /** What `_deployment.json` says; null for a folder. */
  deployment: Deployment | null
  close(): void
}

export type PlaceConnection = {
  /** Another server that speaks S3 and SQS. */
  endpoint?: string | undefined
  region?: string | undefined
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined
  /** Of one fleet among several; left out, the queues that the deployment names. */
  queueUrl?: string | undefined
  deadLetterQueueUrl?: string | undefined
}

/** Deliveries before a message of a folder's queue goes to its dead letters; as a worker has it. */
const folderMaxReceives = 8

/** The bucket that uploads to a folder go to. */
const folderUploadBucket = 'images'

/** The region that is signed with where a server of one's own has none. */
const regionOfOthers = 'us-east-1'

/**
 * Opens the place at a URI: a folder by path or `file:`, or `s3://bucket`. Throws UserError when it is neither, or the
 * bucket says nothing of a deployment.
 */
export async function openPlace(uri: string, connection: PlaceConnection = {}): Promise<Place> {
  if (uri.startsWith('s3:')) return await openBucketPlace(uri, connection)
  if (/^[a-z][a-z0-9+.-]+:/i.test(uri) && !uri.startsWith('file:'))
    throw new UserError(`the place "${uri}" is neither a folder nor s3://bucket; give one of them`)
  const folder = resolve(uri.startsWith('file:') ? folderOf(uri) : uri)
  const stats = await stat(folder).catch(() => null)
  if (stats !== null && !stats.isDirectory())
    throw new UserError(`the place ${folder} is a file; expected a folder or s3://bucket`)
  return openFolderPlace(folder)
}

function folderOf(uri: string): string {
  try {
    return fileURLToPath(uri)
  } catch (error) {
    throw new UserError(`the place "${uri}" is no file: URI of this machine; expected file:///path`, {
      cause: error,
    })
  }
}

/** A folder with `queue/`, `dead-letters/`, `buckets/<name>/`, `labels/` and `weights/`; made as they are written to. */
function openFolderPlace(folder: string): Place {
  const deadLetterFolder = join(folder, 'dead-letters')
  const queue = openFolderQueue(join(folder, 'queue'), { maxReceives: folderMaxReceives, deadLetterFolder })
  const labelsFolder = join(folder, 'labels')
  return {
    uri: pathToFileURL(folder + sep).href,
    queue,
    queueOf: () => queue,
    deadLetters: openFolderQueue(deadLetterFolder),
    uploadBucket: folderUploadBucket,
    imagesOf: (bucket) => openFsStore(join(folder, 'buckets', checkName(BucketName, bucket, 'bucket'))),
    runStoreOf: (runId) => openFsStore(join(labelsFolder, runsPrefix, checkName(RunId, runId, 'run'))),
    labels: openFsStore(labelsFolder),
    weights: openFsStore(join(folder, 'weights')),
    deployment: null,
    close() {},
  }
}

async function openBucketPlace(uri: string, connection: PlaceConnection): Promise<Place> {
  const bucket = /^s3:\/\/([^/]+)\/?$/.exec(uri)?.[1]
  if (bucket === undefined || !BucketName.safeParse(bucket).success)
    throw new UserError(
      `the place "${uri}" is not a whole bucket; expected s3://bucket, the one that holds the labels`,
    )
  const named = await readDeployment(bucket, connection)
  const { queueUrl = named.queueUrl, deadLetterQueueUrl = named.deadLetterQueueUrl } = connection
  const deployment: Deployment = { ...named, queueUrl, deadLetterQueueUrl }
  const closers: (() => void)[] = []
  const keep = <T extends { close(): void }>(opened: T): T => {
    closers.push(() => opened.close())
    return opened
  }
  const s3 = s3Connection(connection, deployment)
  const sqs = sqsConnection(connection, deployment)
  const stores = new Map<string, ObjectStore>()
  const storeOf = (name: string, prefix = ''): ObjectStore => {
    const id = `${name}/${prefix}`
    const store = stores.get(id) ?? keep(openS3Store({ bucket: name, prefix, ...s3 }))
    stores.set(id, store)
    return store
  }
  const queues = new Map<string, WorkQueue>()
  return {
    uri: `s3://${bucket}/`,
    queue: keep(openSqsQueue({ queueUrl: deployment.queueUrl, ...sqs })),
    queueOf(runId) {
      const messageGroupId = checkName(RunId, runId, 'run')
      const queue =
        queues.get(runId) ?? keep(openSqsQueue({ queueUrl: deployment.queueUrl, messageGroupId, ...sqs }))
      queues.set(runId, queue)
      return queue
    },
    deadLetters: keep(openSqsQueue({ queueUrl: deployment.deadLetterQueueUrl, ...sqs })),
    uploadBucket: deployment.imageBuckets[0] ?? '',
    imagesOf(name) {
      if (deployment.imageBuckets.includes(name)) return storeOf(name)
      throw new UserError(
        `the bucket "${name}" is not one of ${deployment.name}: ${deployment.imageBuckets.join(', ')}; ` +
          `let its workers read it and add it to imageBuckets in s3://${bucket}/${deploymentKey}`,
      )
    },
    runStoreOf: (runId) => storeOf(bucket, `${runsPrefix}${checkName(RunId, runId, 'run')}/`),
    labels: storeOf(bucket),
    weights: storeOf(deployment.weightsBucket, 'weights/'),
    deployment,
    close() {
      for (const close of closers) close()
    },
  }
}

async function readDeployment(bucket: string, connection: PlaceConnection): Promise<Deployment> {
  const store = openS3Store({ bucket, ...s3Connection(connection, null) })
  const name = `s3://${bucket}/${deploymentKey}`
  try {
    const bytes = await store.get(deploymentKey)
    if (bytes === null)
      throw new UserError(`there is no ${name}; give the labels bucket of a deployment, or deploy one`)
    const parsed = Deployment.safeParse(parseJson(bytes))
    if (!parsed.success)
      throw new UserError(
        `${name} is not a deployment this version can read: ${z.prettifyError(parsed.error)}`,
      )
    if (parsed.data.labelsBucket !== bucket)
      throw new UserError(
        `${name} is about the labels bucket ${parsed.data.labelsBucket}; give s3://${parsed.data.labelsBucket}`,
      )
    return parsed.data
  } finally {
    store.close()
  }
}

/** A server that was asked for stands before the deployment's; the region is where the deployment says it is. */
export function s3Connection(
  { endpoint, region, credentials }: PlaceConnection,
  deployment: Deployment | null,
) {
  const server = endpoint ?? deployment?.endpoints?.s3
  return {
    ...common({ region, credentials, server }, deployment),
    ...(server === undefined ? {} : { endpoint: server }),
    forcePathStyle: endpoint !== undefined || deployment?.endpoints?.pathStyle === true,
  }
}

function sqsConnection({ endpoint, region, credentials }: PlaceConnection, deployment: Deployment) {
  const server = endpoint ?? deployment.endpoints?.sqs
  return {
    ...common({ region, credentials, server }, deployment),
    ...(server === undefined ? {} : { endpoint: server }),
  }
}

function common(
  { region, credentials, server }: Omit<PlaceConnection, 'endpoint'> & { server: string | undefined },
  deployment: Deployment | null,
) {
  const known = deployment?.region ?? region ?? (server === undefined ? undefined : regionOfOthers)
  return {
    ...(known === undefined ? {} : { region: known }),
    ...(credentials === undefined ? {} : { credentials }),
  }
}

/** A bucket's or run's name becomes part of a path or prefix: never one that leads elsewhere. */
function checkName(schema: z.ZodType<string>, name: string, kind: 'bucket' | 'run'): string {
  if (schema.safeParse(name).success) return name
  throw new UserError(
    `${JSON.stringify(name.slice(0, 100))} is no name of a ${kind}; expected letters, digits, dots, hyphens and underscores`,
  )
}

/** The runs of a place, in order of their names. */
export async function* listRuns({ labels }: Pick<Place, 'labels'>): AsyncGenerator<string> {
  for await (const name of listFolders(labels, runsPrefix)) if (RunId.safeParse(name).success) yield name
}
