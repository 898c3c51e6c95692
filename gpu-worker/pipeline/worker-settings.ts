// The environment of a cloud worker, parsed. Pure: it does not read the environment itself.
import { z } from 'zod'
import { TaskRole } from '../../schemas/task-spec.ts'
import { BucketName } from '../../schemas/work-message.ts'
import { UserError } from '../../schemas/errors.ts'
import { defaultWorkerLimits, type WorkerLimits } from './worker-limits.ts'

const Seconds = z.coerce.number().positive().max(43_200)
const Count = z.coerce.number().int().positive()

/** Every variable by name; others that begin with COGLABEL_ are refused, for a misspelt limit would go unnoticed. */
const Environment = z.strictObject({
  COGLABEL_BACKEND: z.enum(['aws', 'folder']).describe('S3 and SQS, or folders that stand for them'),
  COGLABEL_MODEL: z.string().min(1).describe('folder of the compiled model'),
  COGLABEL_MODE: z.enum(['service', 'drain']).default('service'),
  COGLABEL_READY_FILE: z
    .string()
    .min(1)
    .optional()
    .describe('written when the model has answered once, touched at every look at the queue'),
  COGLABEL_FOLDER: z
    .string()
    .min(1)
    .optional()
    .describe('of the folder backend: holds queue/, dead-letters/, buckets/<name>/ and labels/runs/<run>/'),
  COGLABEL_QUEUE_URL: z.url().optional().describe('of the work queue'),
  COGLABEL_LABELS_BUCKET: BucketName.optional().describe('holds runs/<run>/'),
  COGLABEL_SOURCE_BUCKETS: z
    .string()
    .optional()
    .transform((text) => text?.split(',').map((name) => name.trim()))
    .pipe(z.array(BucketName).min(1).optional())
    .describe('buckets that images may be read from, separated by commas'),
  COGLABEL_ROLE_QUEUES: z
    .string()
    .optional()
    .transform((text) => text?.split(',').map((pair) => splitPair(pair.trim())))
    .pipe(
      z
        .array(z.tuple([TaskRole, z.string().min(1)]))
        .min(1)
        .optional(),
    )
    .describe(
      'where tasks of another model go, as role=queue separated by commas: grounding=<URL>, or a name below the folder',
    ),
  COGLABEL_S3_ENDPOINT: z.url().optional().describe('another server that speaks S3'),
  COGLABEL_S3_PATH_STYLE: z.enum(['true', 'false']).default('false'),
  COGLABEL_SQS_ENDPOINT: z.url().optional().describe('another server that speaks SQS'),
  COGLABEL_MAX_RECEIVES: Count.max(1000)
    .default(8)
    .describe('of the folder backend: deliveries before a message goes to the dead letters'),
  COGLABEL_IDLE_EXIT_SECONDS: Seconds.optional().describe(
    'in drain mode: how long the queue must stay empty',
  ),
  COGLABEL_LEASE_SECONDS: Seconds.optional(),
  COGLABEL_LEASE_CAP_SECONDS: Seconds.optional().describe('no message is held longer'),
  COGLABEL_STOP_SECONDS: Seconds.optional().describe('from SIGTERM to the end'),
  COGLABEL_PART_IMAGES: Count.max(10_000).optional(),
  COGLABEL_PART_SECONDS: Seconds.optional(),
  COGLABEL_IMAGES_IN_FLIGHT: Count.max(1024).optional(),
  COGLABEL_IMAGES_IN_ENGINE: Count.max(1024).optional(),
  COGLABEL_IMAGES_HELD: Count.max(100_000).optional(),
  COGLABEL_MAX_IMAGE_BYTES: Count.optional(),
  COGLABEL_MAX_IMAGE_PIXELS: Count.optional(),
})

/** At the first `=`: URLs hold others. */
function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=')
  return at === -1 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
}

export type WorkerSettings = {
  mode: 'service' | 'drain'
  modelFolder: string
  readyFile: string | undefined
  limits: WorkerLimits
  /** Queue URL, or folder name, of the workers of a role. */
  roleQueues: ReadonlyMap<TaskRole, string>
  backend: FolderBackend | AwsBackend
}

export type FolderBackend = { kind: 'folder'; folder: string; maxReceives: number }
export type AwsBackend = {
  kind: 'aws'
  queueUrl: string
  labelsBucket: string
  sourceBuckets: readonly string[]
  s3Endpoint: string | undefined
  sqsEndpoint: string | undefined
  forcePathStyle: boolean
}

/** The settings that an environment asks for. Throws UserError that names every variable that is wrong. */
export function parseWorkerSettings(
  environment: Readonly<Record<string, string | undefined>>,
): WorkerSettings {
  const ours = Object.entries(environment).filter(
    ([name, value]) => name.startsWith('COGLABEL_') && value !== undefined && value !== '',
  )
  const parsed = Environment.safeParse(Object.fromEntries(ours))
  if (!parsed.success)
    throw new UserError(`the worker's environment is not right:\n${z.prettifyError(parsed.error)}`)
  const values = parsed.data
  return {
    mode: values.COGLABEL_MODE,
    modelFolder: values.COGLABEL_MODEL,
    readyFile: values.COGLABEL_READY_FILE,
    limits: limitsOf(values),
    roleQueues: roleQueuesOf(values),
    backend: backendOf(values),
  }
}

type Values = z.infer<typeof Environment>

function backendOf(values: Values): WorkerSettings['backend'] {
  const need = <T>(name: keyof Values, value: T | undefined): T => {
    if (value !== undefined) return value
    throw new UserError(`COGLABEL_BACKEND=${values.COGLABEL_BACKEND} needs ${name}; set it`)
  }
  if (values.COGLABEL_BACKEND === 'folder') {
    const folder = need('COGLABEL_FOLDER', values.COGLABEL_FOLDER)
    return { kind: 'folder', folder, maxReceives: values.COGLABEL_MAX_RECEIVES }
  }
  return {
    kind: 'aws',
    queueUrl: need('COGLABEL_QUEUE_URL', values.COGLABEL_QUEUE_URL),
    labelsBucket: need('COGLABEL_LABELS_BUCKET', values.COGLABEL_LABELS_BUCKET),
    sourceBuckets: need('COGLABEL_SOURCE_BUCKETS', values.COGLABEL_SOURCE_BUCKETS),
    s3Endpoint: values.COGLABEL_S3_ENDPOINT,
    sqsEndpoint: values.COGLABEL_SQS_ENDPOINT,
    forcePathStyle: values.COGLABEL_S3_PATH_STYLE === 'true',
  }
}

function roleQueuesOf(values: Values): WorkerSettings['roleQueues'] {
  const queues = new Map(values.COGLABEL_ROLE_QUEUES)
  const schema = values.COGLABEL_BACKEND === 'folder' ? BucketName : z.url()
  for (const [role, queue] of queues) {
    const expected = values.COGLABEL_BACKEND === 'folder' ? 'the name of a folder' : 'a URL'
    if (!schema.safeParse(queue).success)
      throw new UserError(
        `COGLABEL_ROLE_QUEUES names ${JSON.stringify(queue)} for ${role}; expected ${expected}`,
      )
  }
  return queues
}

function limitsOf(values: Values): WorkerLimits {
  const defaults = defaultWorkerLimits
  const toMs = (seconds: number | undefined) => (seconds === undefined ? undefined : seconds * 1000)
  const leaseMs = toMs(values.COGLABEL_LEASE_SECONDS) ?? defaults.leaseMs
  const stopDeadlineMs = toMs(values.COGLABEL_STOP_SECONDS) ?? defaults.stopDeadlineMs
  const limits: WorkerLimits = {
    ...defaults,
    leaseMs,
    heartbeatMs: leaseMs / 3,
    leaseCapMs: toMs(values.COGLABEL_LEASE_CAP_SECONDS) ?? Math.max(defaults.leaseCapMs, leaseMs),
    stopDeadlineMs,
    stopMarginMs: Math.min(defaults.stopMarginMs, stopDeadlineMs / 4),
    idleExitMs: toMs(values.COGLABEL_IDLE_EXIT_SECONDS) ?? defaults.idleExitMs,
    imagesPerPart: values.COGLABEL_PART_IMAGES ?? defaults.imagesPerPart,
    partAgeMs: toMs(values.COGLABEL_PART_SECONDS) ?? defaults.partAgeMs,
    imagesInFlight: values.COGLABEL_IMAGES_IN_FLIGHT ?? defaults.imagesInFlight,
    imagesInEngine: values.COGLABEL_IMAGES_IN_ENGINE ?? defaults.imagesInEngine,
    imagesHeld: values.COGLABEL_IMAGES_HELD ?? defaults.imagesHeld,
    decode: {
      ...defaults.decode,
      maxBytes: values.COGLABEL_MAX_IMAGE_BYTES ?? defaults.decode.maxBytes,
      maxPixels: values.COGLABEL_MAX_IMAGE_PIXELS ?? defaults.decode.maxPixels,
    },
  }
  if (limits.leaseCapMs < limits.leaseMs)
    throw new UserError(
      `COGLABEL_LEASE_CAP_SECONDS is ${limits.leaseCapMs / 1000}, less than a lease of ${leaseMs / 1000}; raise it`,
    )
  return limits
}
