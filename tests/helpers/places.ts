// Places for tests: a folder, and an emulated cloud that verbs find by its `_deployment.json`.
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { onTestFinished } from 'vitest'
import { openPlace, type Place } from '../../dataset/place.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { type Deployment, deploymentKey } from '../../schemas/deployment.ts'
import { startEmulator, type Emulator, type EmulatorOptions } from '../../emulator/emulator.ts'
import { tempFolder } from './temp-folder.ts'

export type TestPlace = {
  place: Place
  /** What a verb needs to find it. */
  flags: string[]
  /** What a worker needs to find it. */
  workerEnvironment: Record<string, string>
  /** Null for folders. */
  emulator: Emulator | null
}

export async function openFolderTestPlace(): Promise<TestPlace> {
  const folder = await tempFolder()
  const place = await openPlace(folder)
  return {
    place,
    flags: ['--place', folder],
    workerEnvironment: { COGLABEL_BACKEND: 'folder', COGLABEL_FOLDER: folder },
    emulator: null,
  }
}

/** Buckets `images` and `others` for images, `labels` for the rest, and a queue that buries after `maxReceives`. */
export async function openEmulatedTestPlace({
  maxReceives = 8,
  workerHourUsd,
  ...options
}: { maxReceives?: number; workerHourUsd?: number } & EmulatorOptions = {}): Promise<TestPlace> {
  const emulator = await startEmulator(options)
  const { endpoint, region, credentials } = emulator
  const s3 = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
  const sqs = new SQSClient({ endpoint, region, credentials })
  for (const Bucket of ['images', 'others', 'labels']) await s3.send(new CreateBucketCommand({ Bucket }))
  const dead = await sqs.send(new CreateQueueCommand({ QueueName: 'dead' }))
  const deadArn = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: dead.QueueUrl, AttributeNames: ['QueueArn'] }),
  )
  const RedrivePolicy = JSON.stringify({
    deadLetterTargetArn: deadArn.Attributes!['QueueArn'],
    maxReceiveCount: maxReceives,
  })
  const work = await sqs.send(new CreateQueueCommand({ QueueName: 'work', Attributes: { RedrivePolicy } }))
  const deployment: Deployment = {
    v: 1,
    name: 'test',
    region,
    queueUrl: work.QueueUrl!,
    deadLetterQueueUrl: dead.QueueUrl!,
    labelsBucket: 'labels',
    imageBuckets: ['images', 'others'],
    weightsBucket: 'labels',
    functions: {},
    ...(workerHourUsd === undefined ? {} : { workerHourUsd }),
  }
  const labels = openS3Store({ bucket: 'labels', endpoint, region, credentials, forcePathStyle: true })
  await labels.putIfAbsent(deploymentKey, Buffer.from(JSON.stringify(deployment)))
  labels.close()
  // The SDK of verbs and workers finds credentials where AWS tools keep them.
  process.env['AWS_ACCESS_KEY_ID'] = credentials.accessKeyId
  process.env['AWS_SECRET_ACCESS_KEY'] = credentials.secretAccessKey
  process.env['AWS_REGION'] = region
  const place = await openPlace('s3://labels', { endpoint })
  onTestFinished(async () => {
    place.close()
    s3.destroy()
    sqs.destroy()
    await emulator.close()
  })
  return {
    place,
    flags: ['--place', 's3://labels', '--aws-endpoint', endpoint],
    workerEnvironment: {
      COGLABEL_BACKEND: 'aws',
      COGLABEL_QUEUE_URL: deployment.queueUrl,
      COGLABEL_LABELS_BUCKET: 'labels',
      COGLABEL_SOURCE_BUCKETS: deployment.imageBuckets.join(','),
      COGLABEL_S3_ENDPOINT: endpoint,
      COGLABEL_S3_PATH_STYLE: 'true',
      COGLABEL_SQS_ENDPOINT: endpoint,
    },
    emulator,
  }
}

export const testPlaces = [
  ['a folder', openFolderTestPlace],
  ['an emulated cloud', openEmulatedTestPlace],
] as const
