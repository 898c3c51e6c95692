// The worker as a task of ECS: its image, environment, limits and what it may not do. It does not know where it runs.
import { fileURLToPath } from 'node:url'
import { Aws, Duration, Size, type Stack } from 'aws-cdk-lib'
import { Repository } from 'aws-cdk-lib/aws-ecr'
import { Platform } from 'aws-cdk-lib/aws-ecr-assets'
import {
  AwsLogDriverMode,
  Capability,
  ContainerImage,
  LinuxParameters,
  LogDrivers,
  type TaskDefinition,
  TmpfsMountOption,
} from 'aws-cdk-lib/aws-ecs'
import type { ILogGroup } from 'aws-cdk-lib/aws-logs'
import type { FleetConfig, InfraConfig } from './config.ts'
import { type FleetNames, fleetNamesOf, type Names } from './names.ts'
import { workerUser } from './user-data.ts'

/** A container gets 120 s between SIGTERM and SIGKILL, as an instance gets notice; the worker ends within 110. */
const stopSeconds = 120
const readyFile = '/tmp/ready'
/** Longer than any look at the queue is apart from the next, however much work is held. */
const readyAgeSeconds = 600

const repositoryRoot = fileURLToPath(new URL('..', import.meta.url))

/** Where a model that was never pushed would be: nobody is asked to run it. */
export function digestOf({ model }: FleetConfig): string {
  return model?.digest ?? 'none'
}

export function workerImage(scope: Stack, { image }: InfraConfig): ContainerImage {
  const [, account, region, repository, digest] =
    /^([0-9]+)\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+\/([^@]+)@(.+)$/.exec(image ?? '') ?? []
  if (repository !== undefined && digest !== undefined) {
    const found = Repository.fromRepositoryAttributes(scope, 'Image', {
      repositoryName: repository,
      repositoryArn: `arn:${Aws.PARTITION}:ecr:${region}:${account}:repository/${repository}`,
    })
    return ContainerImage.fromEcrRepository(found, digest)
  }
  return ContainerImage.fromAsset(repositoryRoot, {
    file: 'gpu-worker/Dockerfile',
    buildArgs: { VARIANT: 'cuda' },
    platform: Platform.LINUX_AMD64,
    // What .dockerignore lets through decides the image, and so does nothing else.
    assetName: 'coglabel-worker',
  })
}

export type WorkerTask = {
  config: InfraConfig
  names: Names
  fleet: FleetConfig
  pool: 'spot' | 'on-demand'
  memoryMiB: number
  logGroup: ILogGroup
  image: ContainerImage
}

/** Puts the worker's container into a task definition that has a volume `scratch`. */
export function addWorkerContainer(scope: Stack, task: TaskDefinition, options: WorkerTask): void {
  const { memoryMiB, logGroup, image } = options
  const linux = new LinuxParameters(scope, `${task.node.id}Linux`, { initProcessEnabled: true })
  linux.dropCapabilities(Capability.ALL)
  linux.addTmpfs({
    containerPath: '/tmp',
    size: 512,
    mountOptions: [TmpfsMountOption.NOSUID, TmpfsMountOption.NODEV, TmpfsMountOption.NOEXEC],
  })
  const container = task.addContainer('worker', {
    image,
    gpuCount: 1,
    memoryLimitMiB: memoryMiB,
    user: workerUser,
    readonlyRootFilesystem: true,
    privileged: false,
    linuxParameters: linux,
    stopTimeout: Duration.seconds(stopSeconds),
    environment: workerEnvironment(options),
    logging: LogDrivers.awsLogs({
      logGroup,
      streamPrefix: options.pool,
      mode: AwsLogDriverMode.NON_BLOCKING,
      maxBufferSize: Size.mebibytes(4),
    }),
    healthCheck: {
      command: ['CMD', 'node', '-e', isReady],
      interval: Duration.seconds(60),
      timeout: Duration.seconds(10),
      retries: 10,
      startPeriod: Duration.seconds(300),
    },
  })
  container.addMountPoints({ sourceVolume: 'scratch', containerPath: '/scratch', readOnly: false })
}

const isReady = `process.exit(Date.now()-require('fs').statSync('${readyFile}').mtimeMs<${readyAgeSeconds}e3?0:1)`

/** As gpu-worker/README.md has it; a test lets the worker parse it. */
function workerEnvironment({ config, names, fleet, pool }: WorkerTask): Record<string, string> {
  const own = fleetNamesOf(config, fleet)
  const second = secondFleet(config, fleet)
  return {
    AWS_REGION: Aws.REGION,
    COGLABEL_BACKEND: 'aws',
    COGLABEL_MODEL: `s3://${names.weights}/weights/${digestOf(fleet)}/`,
    COGLABEL_SCRATCH: '/scratch',
    COGLABEL_READY_FILE: readyFile,
    COGLABEL_QUEUE_URL: own.queueUrl,
    COGLABEL_LABELS_BUCKET: names.labels,
    COGLABEL_SOURCE_BUCKETS: [names.images, ...config.sources.map(({ bucket }) => bucket)].join(','),
    COGLABEL_POOL: `${own.id}-${pool}`,
    COGLABEL_IMAGES_IN_ENGINE: String(fleet.imagesInEngine),
    ...(second === null ? {} : { COGLABEL_ROLE_QUEUES: `${second.role}=${second.queueUrl}` }),
  }
}

/**
 * The fleet of the other role, that an image goes on to: from chat to grounding, and back where tasks of the first come
 * after those of the second. Of several chat fleets it cannot be told which began with an image, so then none goes back.
 */
export function secondFleet(
  config: InfraConfig,
  { role }: Pick<FleetConfig, 'role'>,
): (FleetNames & { role: FleetConfig['role'] }) | null {
  const [second, ...more] = config.fleets.filter((fleet) => fleet.role !== role)
  if (second === undefined || more.length > 0) return null
  return { ...fleetNamesOf(config, second), role: second.role }
}
