// What each role may do, statement by statement: what its code calls and nothing else. It makes no roles.
import { PolicyStatement } from 'aws-cdk-lib/aws-iam'
import { Aws } from 'aws-cdk-lib'
import { checkpointsPrefix } from '../schemas/checkpoint.ts'
import { claimsPrefix } from '../schemas/claim.ts'
import { deploymentKey } from '../schemas/deployment.ts'
import { estimateKey } from '../schemas/estimate.ts'
import { closedWindowsPrefix, partsPrefix } from '../schemas/part.ts'
import { planPrefix } from '../schemas/plan-page.ts'
import { runConfigKey } from '../schemas/run-config.ts'
import { runControlPrefix } from '../schemas/run-control.ts'
import { seenImagesPrefix } from '../schemas/seen-image.ts'
import { sealedManifestsPrefix } from '../schemas/sealed-manifest.ts'
import { thumbnailsPrefix } from '../schemas/thumbnail.ts'
import { verdictsPrefix } from '../schemas/verdict.ts'
import type { InfraConfig, SourceConfig } from './config.ts'
import { arnOf, bucketArn, type FleetNames, type Names } from './names.ts'

/** Of every run. */
const ofRuns = (...names: readonly string[]) => names.map((name) => `runs/*/${name}`)
const idsPrefix = 'ids/'
const sealedPrefix = 'sealed/'
const exportsPrefix = 'exports/'

/** What a sealed run is made of. */
const chain = [sealedManifestsPrefix, idsPrefix, checkpointsPrefix].map((prefix) => `${prefix}*`)
/** Endings of lists of images, which may lie in any bucket that images come from. */
export const lists = [
  '*manifest.json',
  ...['jsonl', 'ndjson', 'csv'].flatMap((ending) => [`*.${ending}`, `*.${ending}.gz`]),
]

export type Access = {
  config: InfraConfig
  names: Names
  /** Null where S3 manages the keys. */
  dataKeyArn: string | null
}

/** A worker: creates parts, claims, thumbnails and markers of bytes it has seen; overwrites, deletes and lists no labels. */
export function workerStatements(
  access: Access,
  { fleet, sendsTo, digest }: { fleet: FleetNames; sendsTo: readonly FleetNames[]; digest: string },
): PolicyStatement[] {
  const { names, config } = access
  const ownClaims = `${claimsPrefix}*`
  const created = [...ofRuns(`${partsPrefix}*`, `${thumbnailsPrefix}*`, `${seenImagesPrefix}*`), ownClaims]
  const read = [
    ...ofRuns(runConfigKey, `${runControlPrefix}*`, `${closedWindowsPrefix}*`, ...chain),
    ownClaims,
  ]
  return [
    allow(['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility'], [fleet.queueArn]),
    // Its own queue: what waits for a paused run, and images that are split off, are sent anew.
    allow(
      ['sqs:SendMessage'],
      [fleet, ...sendsTo].map(({ queueArn }) => queueArn),
    ),
    allow(['s3:GetObject'], imageArns(access, ['*'])),
    // One that is gone is another failure than one that is denied, and most have no caption beside them.
    ...imageKeys(access),
    // What was created is looked at again when the answer was lost.
    allow(['s3:GetObject'], objectArns(names.labels, [...read, ...created])),
    create(names.labels, created),
    list(names.labels, read),
    allow(['s3:GetObject'], objectArns(names.weights, [`weights/${digest}/*`])),
    list(names.weights, [`weights/${digest}/*`]),
    // ECS's agent asks with the task's own role that the task be left alone while it works.
    allow(['ecs:UpdateTaskProtection'], [arnOf('ecs', `task/${names.cluster}/*`)], {
      ArnEquals: { 'ecs:cluster': arnOf('ecs', `cluster/${names.cluster}`) },
    }),
    ...dataKey(access, 'read-write'),
    ...sourceKeys(config.sources),
  ]
}

/** Sends messages for images that lie in buckets. */
export function plannerStatements(access: Access, fleet: FleetNames): PolicyStatement[] {
  const { names, config } = access
  const written = ofRuns(`${planPrefix}*`)
  return [
    ...placeStatements(names),
    allow(
      ['s3:GetObject'],
      objectArns(names.labels, [...ofRuns(runConfigKey, `${runControlPrefix}*`), ...written]),
    ),
    create(names.labels, written),
    list(names.labels, ['runs/*']),
    allow(['s3:GetObject'], imageArns(access, lists)),
    ...imageLists(access),
    allow(['sqs:SendMessage'], [fleet.queueArn]),
    ...dataKey(access, 'read-write'),
    ...sourceKeys(config.sources),
  ]
}

/** Sees no images: what it seals are records. It pauses a run by its word in `control/`. */
export function sealerStatements(access: Access): PolicyStatement[] {
  const { names } = access
  const written = ofRuns(`${closedWindowsPrefix}*`, `${runControlPrefix}*`, `${sealedPrefix}*`, ...chain)
  const read = ofRuns(runConfigKey, `${partsPrefix}*`)
  return [
    ...placeStatements(names),
    allow(['s3:GetObject'], objectArns(names.labels, [...read, ...written])),
    create(names.labels, written),
    list(names.labels, ['runs/*']),
    ...dataKey(access, 'read-write'),
  ]
}

/** Counts messages and workers, and pauses a run that has spent its cap. It changes no capacity. */
export function scalerStatements(
  access: Access,
  { fleet, clusterArn }: { fleet: FleetNames; clusterArn: string },
): PolicyStatement[] {
  const { names, config } = access
  const services = [fleet.spotService, fleet.onDemandService]
  const read = [
    runConfigKey,
    estimateKey,
    `${runControlPrefix}*`,
    `${planPrefix}*`,
    `${partsPrefix}*`,
    `${sealedPrefix}*`,
    ...chain,
  ]
  return [
    ...placeStatements(names),
    allow(['sqs:GetQueueAttributes'], [fleet.queueArn, fleet.deadLettersArn]),
    allow(
      ['ecs:DescribeServices'],
      services.map((service) => arnOf('ecs', `service/${names.cluster}/${service}`)),
      { ArnEquals: { 'ecs:cluster': clusterArn } },
    ),
    allow(['s3:GetObject'], objectArns(names.labels, ofRuns(...read))),
    create(names.labels, ofRuns(`${runControlPrefix}*`)),
    list(names.labels, ['runs/*']),
    // A run whose source is a list is as large as the list says.
    allow(['s3:GetObject'], imageArns(access, lists)),
    ...dataKey(access, 'read-write'),
    ...sourceKeys(config.sources),
  ]
}

/** Moves messages from the dead letters to the queue. */
export function redriverStatements(access: Access, fleet: FleetNames): PolicyStatement[] {
  const { names } = access
  return [
    ...placeStatements(names),
    allow(['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility'], [fleet.deadLettersArn]),
    allow(['sqs:SendMessage'], [fleet.queueArn]),
    allow(['s3:GetObject'], objectArns(names.labels, ofRuns(runConfigKey))),
    list(names.labels, ofRuns(runConfigKey)),
    ...dataKey(access, 'read'),
  ]
}

/** Writes what is sealed in other formats, some of which hold the images. */
export function exporterStatements(access: Access): PolicyStatement[] {
  const { names, config } = access
  const written = ofRuns(`${exportsPrefix}*`)
  const read = ofRuns(runConfigKey, `${sealedPrefix}*`, `${verdictsPrefix}*`, ...chain)
  return [
    ...placeStatements(names),
    allow(['s3:GetObject'], objectArns(names.labels, [...read, ...written])),
    create(names.labels, written),
    list(names.labels, ['runs/*']),
    // One that is gone is left out.
    allow(['s3:GetObject'], imageArns(access, ['*'])),
    ...imageLists(access),
    ...dataKey(access, 'read-write'),
    ...sourceKeys(config.sources),
  ]
}

/** Shows labels and thumbnails, and writes what people say of them. It sees no images. */
export function reviewerStatements(access: Access): PolicyStatement[] {
  const { names } = access
  const written = ofRuns(`${verdictsPrefix}*`)
  const read = ofRuns(runConfigKey, `${sealedManifestsPrefix}*`, `${sealedPrefix}*`, `${thumbnailsPrefix}*`)
  return [
    ...placeStatements(names),
    allow(['s3:GetObject'], objectArns(names.labels, [...read, ...written])),
    create(names.labels, written),
    list(names.labels, [...read, ...written]),
    ...dataKey(access, 'read-write'),
  ]
}

/** Writes what the deployment is, and that alone. */
export function describerStatements(access: Access): PolicyStatement[] {
  const { names } = access
  return [
    allow(['s3:GetObject', 's3:PutObject', 's3:DeleteObject'], objectArns(names.labels, [deploymentKey])),
    list(names.labels, [deploymentKey]),
    ...dataKey(access, 'read-write'),
  ]
}

/** What every function reads first. */
function placeStatements(names: Names): PolicyStatement[] {
  return [allow(['s3:GetObject'], objectArns(names.labels, [deploymentKey]))]
}

function allow(
  actions: string[],
  resources: string[],
  conditions?: Record<string, Record<string, string | string[]>>,
): PolicyStatement {
  return new PolicyStatement({ actions, resources, ...(conditions === undefined ? {} : { conditions }) })
}

/** A key that is taken is never written again: the request must say so, and S3 then refuses it. */
function create(bucket: string, keys: readonly string[]): PolicyStatement {
  return allow(['s3:PutObject'], objectArns(bucket, keys), { Null: { 's3:if-none-match': 'false' } })
}

/**
 * S3 says that a key is missing (404, not 403) to those only who may list it: it checks ListBucket with the key as
 * the prefix. So whoever asks for what may not be there needs this for the same keys.
 */
function list(bucket: string, prefixes: readonly string[]): PolicyStatement {
  return allow(['s3:ListBucket'], [bucketArn(bucket)], { StringLike: { 's3:prefix': [...prefixes] } })
}

function objectArns(bucket: string, keys: readonly string[]): string[] {
  return keys.map((key) => `${bucketArn(bucket)}/${key}`)
}

/** Keys of every bucket that images come from, below its prefix. */
function imageArns({ names, config }: Access, keys: readonly string[]): string[] {
  return [{ bucket: names.images, prefix: '' }, ...config.sources].flatMap(({ bucket, prefix }) =>
    objectArns(
      bucket,
      keys.map((key) => `${prefix}${key}`),
    ),
  )
}

function imageLists({ names, config }: Access): PolicyStatement[] {
  return [
    allow(['s3:ListBucket'], [bucketArn(names.images)]),
    ...config.sources.map(({ bucket, prefix }) => list(bucket, [`${prefix}*`])),
  ]
}

/** Of whom asks for images by key: nothing outside the prefix of a source, and no bucket as a whole. */
function imageKeys({ names, config }: Access): PolicyStatement[] {
  const buckets = [{ bucket: names.images, prefix: '' }, ...config.sources]
  return buckets.map(({ bucket, prefix }) => list(bucket, [`${prefix}?*`]))
}

function dataKey({ dataKeyArn }: Access, kind: 'read' | 'read-write'): PolicyStatement[] {
  if (dataKeyArn === null) return []
  const actions = kind === 'read' ? ['kms:Decrypt'] : ['kms:Decrypt', 'kms:GenerateDataKey']
  return [allow(actions, [dataKeyArn], viaS3)]
}

function sourceKeys(sources: readonly SourceConfig[]): PolicyStatement[] {
  const keys = new Set(sources.flatMap(({ kmsKeyArn }) => kmsKeyArn ?? []))
  return keys.size === 0 ? [] : [allow(['kms:Decrypt'], [...keys], viaS3)]
}

const viaS3 = { StringEquals: { 'kms:ViaService': `s3.${Aws.REGION}.${Aws.URL_SUFFIX}` } }
