// Every setting of a deployment, with its default and a sentence. It does not know CDK: what is wrong is said before
// anything is built.
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { TaskRole } from '../schemas/task-spec.ts'

/** Images arrive below it; each fleet listens to it or to prefixes in it. */
export const incomingPrefix = 'incoming/'

const Slug = z.string().regex(/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/)
/** As S3 takes them; stricter than what stands for a bucket on a laptop. */
const Bucket = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)
const KeyArn = z
  .string()
  .regex(/^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key\/([0-9a-f-]{36}|mrk-[0-9a-f]{32})$/)

const Network = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.enum(['endpoints', 'nat']).describe('a VPC of its own'),
      zones: z.int().min(1).max(6).default(2).describe('availability zones that workers may run in'),
      availabilityZones: z
        .array(z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d[a-z]$/))
        .max(6)
        .default([])
        .describe('their names, where GPUs are to be had; when left out, the first of the region'),
    }),
    z.strictObject({
      kind: z.literal('existing-vpc').describe('a VPC that is there'),
      vpcId: z
        .string()
        .regex(/^vpc-([0-9a-f]{8}|[0-9a-f]{17})$/)
        .describe('of the VPC that is there'),
      availabilityZones: z.array(z.string()).min(1).max(6).describe('of the subnets, in their order'),
      subnetIds: z
        .array(z.string().regex(/^subnet-([0-9a-f]{8}|[0-9a-f]{17})$/))
        .min(1)
        .max(6)
        .describe('private ones, with a way to S3, SQS, ECR, ECS and CloudWatch Logs'),
    }),
  ])
  .describe(
    'endpoints: no way to the internet, seven interface endpoints a zone; nat: one NAT gateway; existing-vpc: yours',
  )

const Model = z.strictObject({
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe('of the compiled model, as `coglabel push-model` prints it'),
  sizeBytes: z.int().positive().describe('of all its files: decides which instances can hold it'),
})

const Fleet = z.strictObject({
  name: Slug.max(20).default('chat').describe('begins the names of its queues and services'),
  role: TaskRole.default('chat').describe('which tasks of a run its model answers'),
  prefixes: z
    .array(z.string().startsWith(incomingPrefix).max(200))
    .max(10)
    .default([incomingPrefix])
    .describe('of the keys whose arrival it is told of; none for a fleet that only comes second'),
  model: Model.nullable()
    .default(null)
    .describe('what its workers run; null keeps it at zero until a model is pushed'),
  imagesPerSecond: z.number().positive().default(1).describe('of one worker, measured (`coglabel plan`)'),
  maxSpot: z.int().min(0).max(512).default(16).describe('workers on spot instances, at most'),
  maxOnDemand: z
    .int()
    .min(0)
    .max(512)
    .default(4)
    .describe('workers in their place when spot does not come, at most'),
  instanceTypes: z
    .array(z.string().regex(/^[a-z0-9-]+\.[a-z0-9]+$/))
    .max(20)
    .default([])
    .describe('with one GPU each; when left out, those that hold the model, by its bytes'),
  imagesInEngine: z.int().min(1).max(1024).default(1).describe('images that the model holds at once'),
})

const Source = z.strictObject({
  bucket: Bucket.describe('that was made by somebody else'),
  prefix: z.string().max(500).default('').describe('of the keys that may be read'),
  kmsKeyArn: KeyArn.nullable().default(null).describe('that its objects are encrypted with'),
})

const Review = z.strictObject({
  isOn: z
    .boolean()
    .default(false)
    .describe('serves the review page at a function URL, to whoever the account lets sign for it (IAM)'),
  memoryMiB: z
    .int()
    .min(512)
    .max(10_240)
    .default(3008)
    .describe('of its function, which holds up to two runs; a new account has 3008 at most'),
})

const InfraConfigShape = z.strictObject({
  name: Slug.max(24).default('coglabel').describe('begins the names of stacks, buckets and queues'),
  network: Network.prefault({ kind: 'endpoints' }),
  imagesBucket: Bucket.nullable().default(null).describe('name to create it under; null makes one up'),
  labelsBucket: Bucket.nullable().default(null).describe('name to create it under; null makes one up'),
  sources: z.array(Source).max(50).default([]).describe('buckets of yours that images are read from'),
  encryption: z
    .enum(['own-key', 's3'])
    .default('own-key')
    .describe('own-key: one KMS key for images, labels and weights; s3: keys that S3 manages'),
  dataKeyArn: KeyArn.nullable()
    .default(null)
    .describe('a KMS key to use instead of a new one: that of an earlier deployment, whose data it can read'),
  keepData: z.boolean().default(true).describe('buckets and keys outlive their stack'),
  noncurrentDays: z.int().min(1).max(3650).default(30).describe('until replaced or deleted versions go'),
  fleets: z
    .array(Fleet)
    .min(1)
    .max(8)
    .prefault([{}])
    .describe('groups of workers, each with a model, a queue and services of its own'),
  compute: z
    .enum(['instances', 'managed-instances'])
    .default('instances')
    .describe('instances: auto scaling groups of ours; managed-instances: ECS picks and replaces them'),
  image: z
    .string()
    .regex(/^[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/[a-z0-9/_-]+@sha256:[0-9a-f]{64}$/)
    .nullable()
    .default(null)
    .describe('of the worker, in ECR by digest; null builds gpu-worker/Dockerfile when deploying'),
  amiId: z
    .string()
    .regex(/^ami-([0-9a-f]{8}|[0-9a-f]{17})$/)
    .nullable()
    .default(null)
    .describe('of the instances; null takes the newest ECS GPU image of AL2023'),
  protectInstances: z
    .boolean()
    .default(true)
    .describe(
      'instances with workers are not scaled in; such groups must be emptied before they are deleted',
    ),
  objectiveSeconds: z.int().min(60).max(86_400).default(900).describe('from upload to label'),
  workerHourUsd: z.number().positive().nullable().default(null).describe('for estimates and cost caps'),
  planEveryMinutes: z.int().min(1).max(1440).default(5).describe('how often plans go on'),
  sealEveryMinutes: z.int().min(1).max(1440).default(5).describe('how often finished parts are sealed'),
  redriveEveryMinutes: z.int().min(5).max(1440).default(60).describe('how often dead letters are looked at'),
  review: Review.prefault({ isOn: false }).describe('the page on which people look at labels and judge them'),
  logDays: z.literal([1, 3, 7, 14, 30, 60, 90, 180, 365]).default(30).describe('that logs are kept'),
  alarmEmails: z.array(z.email()).max(10).default([]).describe('told of alarms and of the budget'),
  budgetUsd: z
    .number()
    .positive()
    .nullable()
    .default(200)
    .describe('a month, by the cost allocation tag `deployment`; it tells, and stops nothing'),
})

export type InfraConfig = z.infer<typeof InfraConfigShape>
export type FleetConfig = InfraConfig['fleets'][number]
export type SourceConfig = InfraConfig['sources'][number]

/** Parses settings. Throws UserError that names what is wrong and what to do. */
export function parseConfig(given: unknown): InfraConfig {
  const parsed = InfraConfigShape.safeParse(given)
  if (!parsed.success)
    throw new UserError(`the settings of the deployment are not right:\n${z.prettifyError(parsed.error)}`)
  const config = parsed.data
  checkBuckets(config)
  checkFleets(config)
  checkNetwork(config)
  return config
}

type JsonSchema = z.core.JSONSchema.BaseSchema

/** Every setting as a line of Markdown: what the schema says, and nothing else. */
export function configTable(): string {
  const schema = z.toJSONSchema(InfraConfigShape, { io: 'input', unrepresentable: 'any' })
  return ['| setting | what it says | default |', '|---|---|---|', ...rowsOf(schema, '')].join('\n')
}

function rowsOf({ properties = {} }: JsonSchema, prefix: string): string[] {
  return Object.entries(properties).flatMap(([name, property]) => {
    if (typeof property === 'boolean') return []
    const { description = '', default: preset, items, enum: choices = [] } = property
    const text = [choices.map((choice) => `\`${String(choice)}\``).join(', '), description]
    const said = text.filter((part) => part !== '').join(': ')
    const row = `| \`${prefix}${name}\` | ${said} | ${preset === undefined ? '' : `\`${JSON.stringify(preset)}\``} |`
    const inner =
      typeof items === 'object' && !Array.isArray(items)
        ? rowsOf(items, `${prefix}${name}[].`)
        : variantsOf(property).flatMap((variant) => rowsOf(variant, `${prefix}${name}.`))
    return [row, ...inner.filter((line, index) => inner.indexOf(line) === index)]
  })
}

/** Itself, or those of which it is one. */
function variantsOf(property: JsonSchema): JsonSchema[] {
  const { anyOf = [], oneOf = [] } = property
  return [property, ...anyOf, ...oneOf].filter((one) => typeof one === 'object')
}

/** A label written beside the images would be an image to label. */
function checkBuckets({ imagesBucket, labelsBucket, sources, encryption, dataKeyArn }: InfraConfig): void {
  if (encryption === 's3' && dataKeyArn !== null)
    throw new UserError(
      `dataKeyArn is ${dataKeyArn} and encryption is s3; take encryption own-key, or leave the key out`,
    )
  if (imagesBucket !== null && imagesBucket === labelsBucket)
    throw new UserError(
      `imagesBucket and labelsBucket are both ${imagesBucket}; images and labels need a bucket each, name two`,
    )
  for (const { bucket } of sources) {
    if (bucket === labelsBucket)
      throw new UserError(
        `the source ${bucket} is also the labelsBucket; images and labels need a bucket each, name two`,
      )
    if (bucket === imagesBucket)
      throw new UserError(
        `the source ${bucket} is also the imagesBucket, which is created; leave it out of sources, or name another`,
      )
  }
  const twice = firstRepeated(sources.map(({ bucket }) => bucket))
  if (twice !== undefined)
    throw new UserError(`the source ${twice} is named twice; give it once, with the prefix that both have`)
}

function checkFleets({ fleets }: InfraConfig): void {
  const twice = firstRepeated(fleets.map(({ name }) => name))
  if (twice !== undefined) throw new UserError(`two fleets are called ${twice}; give each its own name`)
  if (fleets[0]?.role !== 'chat')
    throw new UserError(
      'the first fleet has the role grounding; what is submitted goes to it, so put a chat fleet first',
    )
  if (fleets.filter(({ role }) => role === 'grounding').length > 1)
    throw new UserError(
      'two fleets have the role grounding; workers send what comes second to one queue, keep one',
    )
  const listening = fleets.flatMap(({ name, prefixes }) => prefixes.map((prefix) => ({ name, prefix })))
  for (const [index, one] of listening.entries())
    for (const other of listening.slice(index + 1))
      if (one.prefix.startsWith(other.prefix) || other.prefix.startsWith(one.prefix))
        throw new UserError(
          `notifications overlap: ${one.name} listens to ${one.prefix} and ${other.name} to ${other.prefix}; ` +
            'an image would be labelled by both, so give them prefixes of which none begins another',
        )
}

function checkNetwork({ network }: InfraConfig): void {
  if (network.kind === 'existing-vpc') {
    if (network.subnetIds.length !== network.availabilityZones.length)
      throw new UserError(
        `existing-vpc has ${network.subnetIds.length} subnetIds and ${network.availabilityZones.length} availabilityZones; name the zone of each subnet`,
      )
  } else if (network.availabilityZones.length > 0 && network.availabilityZones.length !== network.zones)
    throw new UserError(
      `network.zones is ${network.zones} and availabilityZones names ${network.availabilityZones.length}; make them agree`,
    )
  // Of a region that is not known yet CDK takes two, however many are asked for.
  else if (network.zones > 2 && network.availabilityZones.length === 0)
    throw new UserError(
      `network.zones is ${network.zones}; name more than two of them in network.availabilityZones`,
    )
}

function firstRepeated(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) !== index)
}
