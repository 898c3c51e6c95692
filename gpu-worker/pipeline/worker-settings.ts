// The environment of a cloud worker, parsed. Pure: it does not read the environment itself.
import { z } from 'zod'
import { TaskRole } from '../../schemas/task-spec.ts'
import { BucketName } from '../../schemas/work-message.ts'
import { UserError } from '../../schemas/errors.ts'
import { defaultDecoderMemoryBytes, type DecoderPoolOptions } from '../image/decoder-pool.ts'
import { defaultWorkerLimits as defaults, type WorkerLimits } from './worker-limits.ts'

const Seconds = z.coerce.number().positive().max(43_200)
const Count = z.coerce.number().int().positive()

/** Every variable by name; others that begin with COGLABEL_ are refused, for a misspelt limit would go unnoticed. */
const Environment = z.strictObject({
  COGLABEL_BACKEND: z.enum(['aws', 'folder']).describe('S3 and SQS, or folders that stand for them'),
  COGLABEL_MODEL: z
    .string()
    .min(1)
    .describe(
      "the compiled model: a folder, or the URI that `coglabel push-model` printed (`s3://…/<digest>/`, `file:///…/<digest>/`); or a server that speaks OpenAI's chat completions (`http://…/v1`), to which images are then sent",
    ),
  COGLABEL_ENDPOINT_MODEL: z
    .string()
    .min(1)
    .optional()
    .describe('of such a server: the model, as it calls it; its only one without'),
  COGLABEL_ENDPOINT_BOXES: z
    .string()
    .min(1)
    .optional()
    .describe(
      "how that model writes boxes, as of `coglabel label --endpoint-boxes`; by the model's name without",
    ),
  COGLABEL_ENDPOINT_KEY: z.string().min(1).optional().describe('its key, from a secret'),
  COGLABEL_ENDPOINT_KEY_FILE: z.string().min(1).optional().describe('a file with the key, in its place'),
  COGLABEL_ENDPOINT_PIXELS: Count.min(3136)
    .optional()
    .describe('larger images are made smaller before they are sent; as of the run'),
  COGLABEL_ENDPOINT_CONCURRENCY: Count.max(256).optional().describe('requests to it at a time'),
  COGLABEL_ENDPOINT_TIMEOUT_SECONDS: Count.max(3600)
    .optional()
    .describe(
      'that one try may take; it is tried up to three times, and all of it has to fit into the lease cap',
    ),
  COGLABEL_SCRATCH: z
    .string()
    .min(1)
    .optional()
    .describe('folder on a fast local disk that a model given by URI is fetched into; needed with one'),
  COGLABEL_MODE: z
    .enum(['service', 'drain'])
    .default('service')
    .describe('work until it is stopped, or end when the queue has stayed empty'),
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
  COGLABEL_QUEUE_URL: z.url().optional().describe('of the aws backend: the work queue'),
  COGLABEL_LABELS_BUCKET: BucketName.optional().describe('of the aws backend: holds runs/<run>/'),
  COGLABEL_SOURCE_BUCKETS: z
    .string()
    .optional()
    .transform((text) => text?.split(',').map((name) => name.trim()))
    .pipe(z.array(BucketName).min(1).optional())
    .describe('of the aws backend: buckets that images may be read from, separated by commas'),
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
      'where tasks of another model go, as role=queue separated by commas: grounding=<URL>, or a name below the folder; of the second model, chat=<URL> where tasks of the first come after its own',
    ),
  COGLABEL_S3_ENDPOINT: z.url().optional().describe('another server that speaks S3'),
  COGLABEL_S3_PATH_STYLE: z
    .enum(['true', 'false'])
    .default('false')
    .describe('whether the bucket stands in the path; servers on loopback need it'),
  COGLABEL_SQS_ENDPOINT: z.url().optional().describe('another server that speaks SQS'),
  COGLABEL_MAX_RECEIVES: Count.max(1000)
    .default(8)
    .describe('of the folder backend: deliveries before a message goes to the dead letters'),
  COGLABEL_THUMBNAILS: z
    .enum(['on', 'off'])
    .default('on')
    .describe('a small WebP of each image beside its parts, in thumbs/'),
  COGLABEL_METRICS: z
    .enum(['emf', 'none'])
    .optional()
    .describe(
      'embedded CloudWatch metrics among the lines of the log; `emf` with the aws backend, else `none`',
    ),
  COGLABEL_METRICS_SECONDS: Seconds.default(60).describe('how often they are written'),
  COGLABEL_POOL: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)
    .default('default')
    .describe('the group of workers that metrics are summed over, for example spot'),
  COGLABEL_SPOT_NOTICE: z
    .enum(['imds', 'none'])
    .default('none')
    .describe("whether to watch the instance's metadata for its end, and stop in time"),
  COGLABEL_IMDS_ENDPOINT: z
    .url()
    .default('http://169.254.169.254')
    .describe('where the metadata of the instance is'),
  COGLABEL_IDLE_EXIT_SECONDS: Seconds.default(defaults.idleExitMs / 1000).describe(
    'in drain mode: how long the queue must stay empty',
  ),
  COGLABEL_LEASE_SECONDS: Seconds.default(defaults.leaseMs / 1000).describe(
    'how long a received message is hidden from others; extended three times in each',
  ),
  COGLABEL_LEASE_CAP_SECONDS: Seconds.optional().describe(
    `no message is held longer; \`${defaults.leaseCapMs / 1000}\`, or a lease where that is more`,
  ),
  COGLABEL_STOP_SECONDS: Seconds.default(defaults.stopDeadlineMs / 1000).describe(
    'from SIGTERM to the end; a spot notice may leave less',
  ),
  COGLABEL_PART_IMAGES: Count.max(10_000)
    .default(defaults.imagesPerPart)
    .describe('images whose records make a part'),
  COGLABEL_PART_SECONDS: Seconds.default(defaults.partAgeMs / 1000).describe(
    'age at which a part is written though it is not full',
  ),
  COGLABEL_IMAGES_IN_FLIGHT: Count.max(1024)
    .default(defaults.imagesInFlight)
    .describe('images read, decoded or answered at once; each holds its pixels'),
  COGLABEL_IMAGES_IN_ENGINE: Count.max(1024)
    .default(defaults.imagesInEngine)
    .describe('images that the model holds at once'),
  COGLABEL_IMAGES_HELD: Count.max(100_000)
    .default(defaults.imagesHeld)
    .describe('no further message is received while messages with so many images are held'),
  COGLABEL_MAX_IMAGE_BYTES: Count.default(defaults.decode.maxBytes).describe(
    'larger files become failed records',
  ),
  COGLABEL_MAX_IMAGE_PIXELS: Count.default(defaults.decode.maxPixels).describe(
    'larger images become failed records',
  ),
  COGLABEL_DECODE_SECONDS: Seconds.int()
    .default(defaults.decode.timeoutSeconds)
    .describe('the longest that one image is decoded'),
  COGLABEL_DECODERS: Count.max(64)
    .optional()
    .describe('images decoded at once, each in a process of its own; as many as there are cores, at most 4'),
  COGLABEL_DECODER_MEMORY_BYTES: Count.min(200_000_000)
    .default(defaultDecoderMemoryBytes)
    .describe('the most that decoding one image may take'),
  ECS_AGENT_URI: z
    .url()
    .optional()
    .describe('set by ECS; with it the task is protected from scaling in while it works'),
})

/** At the first `=`: URLs hold others. */
function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=')
  return at === -1 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
}

export type WorkerSettings = {
  mode: 'service' | 'drain'
  model: ModelSource
  readyFile: string | undefined
  limits: WorkerLimits
  /** Queue URL, or folder name, of the workers of a role. */
  roleQueues: ReadonlyMap<TaskRole, string>
  backend: FolderBackend | AwsBackend
  thumbnails: boolean
  decoders: DecoderPoolOptions
  pool: string
  /** Null writes none. */
  metrics: { everyMs: number } | null
  /** Where the instance's metadata is; null does not look. */
  spotEndpoint: string | null
  /** Null outside ECS. */
  ecsAgentUri: string | null
}

export type ModelSource =
  | { kind: 'folder'; folder: string }
  | { kind: 'pushed'; uri: URL; scratchFolder: string; s3: S3Connection }
  | EndpointModel

/** A server that answers in the model's place. */
export type EndpointModel = {
  kind: 'endpoint'
  url: string
  model: string | undefined
  boxes: string | undefined
  /** Not to be shown. */
  key: string | undefined
  keyFile: string | undefined
  maxPixels: number | undefined
  concurrency: number | undefined
  timeoutMs: number | undefined
}

export type S3Connection = { endpoint?: string; forcePathStyle: boolean }

export type FolderBackend = { kind: 'folder'; folder: string; maxReceives: number }
export type AwsBackend = {
  kind: 'aws'
  queueUrl: string
  labelsBucket: string
  sourceBuckets: readonly string[]
  s3: S3Connection
  sqsEndpoint: string | undefined
}

/** The settings that an environment asks for. Throws UserError that names every variable that is wrong. */
export function parseWorkerSettings(
  environment: Readonly<Record<string, string | undefined>>,
): WorkerSettings {
  // The verbs' own variable, which a shell that both are started from has.
  const isOurs = (name: string) =>
    (name.startsWith('COGLABEL_') && name !== 'COGLABEL_PLACE') || Object.hasOwn(Environment.shape, name)
  const ours = Object.entries(environment).filter(
    ([name, value]) => isOurs(name) && value !== undefined && value !== '',
  )
  const parsed = Environment.safeParse(Object.fromEntries(ours))
  if (!parsed.success)
    throw new UserError(`the worker's environment is not right:\n${z.prettifyError(parsed.error)}`)
  const values = parsed.data
  const metrics = values.COGLABEL_METRICS ?? (values.COGLABEL_BACKEND === 'aws' ? 'emf' : 'none')
  return {
    mode: values.COGLABEL_MODE,
    model: modelOf(values),
    readyFile: values.COGLABEL_READY_FILE,
    limits: limitsOf(values),
    roleQueues: roleQueuesOf(values),
    backend: backendOf(values),
    thumbnails: values.COGLABEL_THUMBNAILS === 'on',
    decoders: {
      processes: values.COGLABEL_DECODERS,
      memoryBytes: values.COGLABEL_DECODER_MEMORY_BYTES,
    },
    pool: values.COGLABEL_POOL,
    metrics: metrics === 'emf' ? { everyMs: values.COGLABEL_METRICS_SECONDS * 1000 } : null,
    spotEndpoint: values.COGLABEL_SPOT_NOTICE === 'imds' ? values.COGLABEL_IMDS_ENDPOINT : null,
    ecsAgentUri: values.ECS_AGENT_URI ?? null,
  }
}

/** The variables as a Markdown table, for people: what the schema says, and nothing else. */
export function environmentTable(): string {
  const { properties = {}, required = [] } = z.toJSONSchema(Environment, {
    io: 'input',
    unrepresentable: 'any',
  })
  const rows = Object.entries(properties).map(([name, property]) => {
    if (typeof property === 'boolean') return `| \`${name}\` | | |`
    const { description = '', default: preset, enum: values } = property
    const choice = values === undefined ? '' : values.map((value) => `\`${String(value)}\``).join(', ')
    const unset = required.includes(name) ? 'needed' : presetText(preset)
    return `| \`${name}\` | ${[choice, description].filter((text) => text !== '').join(': ')} | ${unset} |`
  })
  return ['| variable | what it says | default |', '|---|---|---|', ...rows].join('\n')
}

function presetText(preset: unknown): string {
  return typeof preset === 'string' || typeof preset === 'number' ? `\`${preset}\`` : ''
}

type Values = z.infer<typeof Environment>

function need<T>({ name, value, why }: { name: keyof Values; value: T | undefined; why: string }): T {
  if (value !== undefined) return value
  throw new UserError(`${why} needs ${name}; set it`)
}

function modelOf(values: Values): ModelSource {
  const text = values.COGLABEL_MODEL
  const timeout = values.COGLABEL_ENDPOINT_TIMEOUT_SECONDS
  const lone = Object.keys(values).find((name) => name.startsWith('COGLABEL_ENDPOINT_'))
  if (lone !== undefined && !/^https?:/i.test(text))
    throw new UserError(`${lone} is of a server, and COGLABEL_MODEL is none; expected http://host/v1 there`)
  if (!/^[a-z][a-z0-9+.-]+:/i.test(text)) return { kind: 'folder', folder: text }
  if (/^https?:/i.test(text))
    return {
      kind: 'endpoint',
      url: text,
      model: values.COGLABEL_ENDPOINT_MODEL,
      boxes: values.COGLABEL_ENDPOINT_BOXES,
      key: values.COGLABEL_ENDPOINT_KEY,
      keyFile: values.COGLABEL_ENDPOINT_KEY_FILE,
      maxPixels: values.COGLABEL_ENDPOINT_PIXELS,
      concurrency: values.COGLABEL_ENDPOINT_CONCURRENCY,
      timeoutMs: timeout === undefined ? undefined : timeout * 1000,
    }
  const isPushed = /^s3:\/\/[^/]+\/.+\/$|^file:\/\/\/.+\/$/.test(text)
  if (!isPushed || !URL.canParse(text))
    throw new UserError(
      `COGLABEL_MODEL is ${text}; expected a folder, s3://bucket/prefix/ or file:///folder/, with the slash at its end, or http://host/v1`,
    )
  const scratchFolder = need({
    name: 'COGLABEL_SCRATCH',
    value: values.COGLABEL_SCRATCH,
    why: 'a COGLABEL_MODEL that is fetched',
  })
  return { kind: 'pushed', uri: new URL(text), scratchFolder, s3: s3Of(values) }
}

function s3Of(values: Values): S3Connection {
  const endpoint = values.COGLABEL_S3_ENDPOINT
  return {
    forcePathStyle: values.COGLABEL_S3_PATH_STYLE === 'true',
    ...(endpoint === undefined ? {} : { endpoint }),
  }
}

function backendOf(values: Values): WorkerSettings['backend'] {
  const why = `COGLABEL_BACKEND=${values.COGLABEL_BACKEND}`
  if (values.COGLABEL_BACKEND === 'folder') {
    const folder = need({ name: 'COGLABEL_FOLDER', value: values.COGLABEL_FOLDER, why })
    return { kind: 'folder', folder, maxReceives: values.COGLABEL_MAX_RECEIVES }
  }
  return {
    kind: 'aws',
    queueUrl: need({ name: 'COGLABEL_QUEUE_URL', value: values.COGLABEL_QUEUE_URL, why }),
    labelsBucket: need({ name: 'COGLABEL_LABELS_BUCKET', value: values.COGLABEL_LABELS_BUCKET, why }),
    sourceBuckets: need({
      name: 'COGLABEL_SOURCE_BUCKETS',
      value: values.COGLABEL_SOURCE_BUCKETS,
      why,
    }),
    s3: s3Of(values),
    sqsEndpoint: values.COGLABEL_SQS_ENDPOINT,
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
  const leaseMs = values.COGLABEL_LEASE_SECONDS * 1000
  const stopDeadlineMs = values.COGLABEL_STOP_SECONDS * 1000
  const capSeconds = values.COGLABEL_LEASE_CAP_SECONDS
  const limits: WorkerLimits = {
    ...defaults,
    leaseMs,
    heartbeatMs: leaseMs / 3,
    leaseCapMs: capSeconds === undefined ? Math.max(defaults.leaseCapMs, leaseMs) : capSeconds * 1000,
    stopDeadlineMs,
    stopMarginMs: Math.min(defaults.stopMarginMs, stopDeadlineMs / 4),
    idleExitMs: values.COGLABEL_IDLE_EXIT_SECONDS * 1000,
    imagesPerPart: values.COGLABEL_PART_IMAGES,
    partAgeMs: values.COGLABEL_PART_SECONDS * 1000,
    imagesInFlight: values.COGLABEL_IMAGES_IN_FLIGHT,
    imagesInEngine: values.COGLABEL_IMAGES_IN_ENGINE,
    imagesHeld: values.COGLABEL_IMAGES_HELD,
    decode: {
      ...defaults.decode,
      maxBytes: values.COGLABEL_MAX_IMAGE_BYTES,
      maxPixels: values.COGLABEL_MAX_IMAGE_PIXELS,
      timeoutSeconds: values.COGLABEL_DECODE_SECONDS,
    },
  }
  if (limits.leaseCapMs < limits.leaseMs)
    throw new UserError(
      `COGLABEL_LEASE_CAP_SECONDS is ${limits.leaseCapMs / 1000}, less than a lease of ${leaseMs / 1000}; raise it`,
    )
  return limits
}
