// Findings of cdk-nag that stand, each with its reason. One that no longer occurs fails the tests.
import { type Stack, Validations } from 'aws-cdk-lib'
import { digestOf } from './worker-task.ts'
import type { InfraConfig } from './config.ts'
import { lists } from './permissions.ts'

export type AcknowledgedStack = 'network' | 'data' | 'compute' | 'pipeline' | 'observe'
export type Acknowledgement = { stacks: readonly AcknowledgedStack[]; id: string; reason: string }

/** Tells the stacks. */
export function acknowledge(stacks: Readonly<Record<AcknowledgedStack, Stack>>, config: InfraConfig): void {
  for (const { stacks: names, id, reason } of acknowledgementsOf(config))
    for (const name of names) Validations.of(stacks[name]).acknowledge({ id, reason })
}

/** What is known of a deployment with these settings. */
export function acknowledgementsOf(config: InfraConfig): Acknowledgement[] {
  return [
    ...networkFindings(config),
    ...(config.compute === 'instances' ? instanceFindings(config) : managedFindings),
    ...commonComputeFindings(config),
    ...runObjects(config),
    ...imageObjects(config),
  ]
}

function networkFindings({ network }: InfraConfig): Acknowledgement[] {
  if (network.kind !== 'endpoints') return []
  return [
    {
      stacks: ['network'],
      id: 'AwsSolutions-EC23',
      reason:
        'The rule cannot read a range that is an intrinsic: it is the range of the VPC itself, HTTPS only.',
    },
  ]
}

function instanceFindings({ name }: InfraConfig): Acknowledgement[] {
  return [
    {
      stacks: ['compute'],
      id: 'AwsSolutions-AS3',
      reason:
        'Groups go from zero and back many times a day; alarms tell when workers are needed and none runs.',
    },
    {
      stacks: ['compute'],
      id: 'AwsSolutions-EC26',
      reason:
        'The rule cannot read a group with mixed instances; its launch template encrypts, which a test holds.',
    },
    {
      stacks: ['compute'],
      id: wildcard(`arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:container-instance/${name}/*`),
      reason:
        'An instance does not know its own id beforehand; the cluster is part of the resource and a condition.',
    },
  ]
}

const managedFindings: readonly Acknowledgement[] = [
  {
    stacks: ['compute'],
    id: 'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonECSInfrastructureRolePolicyForManagedInstances]',
    reason: 'What ECS needs to run instances for us is for ECS to say.',
  },
  {
    stacks: ['compute'],
    id: 'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonECSInstanceRolePolicyForManagedInstances]',
    reason: 'What the agent of an instance that ECS manages calls is for ECS to say.',
  },
]

function commonComputeFindings({ name, compute, image }: InfraConfig): Acknowledgement[] {
  const hasWildcard = compute === 'instances' || image === null
  return [
    {
      stacks: ['compute'],
      id: 'AwsSolutions-ECS2',
      reason: 'The environment names buckets, queues and limits, and holds no secret.',
    },
    {
      stacks: ['compute'],
      id: wildcard(`arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:task/${name}/*`),
      reason:
        'A task does not know its own id beforehand; the cluster is part of the resource and a condition.',
    },
    ...(hasWildcard
      ? [
          {
            stacks: ['compute'] as const,
            id: wildcard('*'),
            reason: 'ecr:GetAuthorizationToken and ecs:DiscoverPollEndpoint know no resources.',
          },
        ]
      : []),
  ]
}

/** Which role writes and which reads what of a run; what may be written is created, never overwritten or deleted. */
const runKeys: Readonly<Record<string, readonly AcknowledgedStack[]>> = {
  'config.json': ['compute', 'pipeline'],
  'control/*': ['compute', 'pipeline'],
  'parts/*': ['compute', 'pipeline'],
  'closed/*': ['compute', 'pipeline'],
  'manifests/*': ['compute', 'pipeline'],
  'ids/*': ['compute', 'pipeline'],
  'checkpoints/*': ['compute', 'pipeline'],
  'estimate.json': ['pipeline'],
  'plan/*': ['pipeline'],
  'sealed/*': ['pipeline'],
  'verdicts/*': ['pipeline'],
  'exports/*': ['pipeline'],
}

function runObjects(config: InfraConfig): Acknowledgement[] {
  const labels = config.labelsBucket ?? ownBucket(config, 'labels')
  const weights = ownBucket(config, 'weights')
  const digests = new Set(config.fleets.map(digestOf))
  const thumbnails: readonly AcknowledgedStack[] = config.review.isOn ? ['compute', 'pipeline'] : ['compute']
  return [
    ...Object.entries({ ...runKeys, 'thumbs/*': thumbnails, 'seen/*': ['compute'] as const }).map(
      ([key, stacks]) => ({
        stacks,
        id: objects(labels, `runs/*/${key}`),
        reason: 'Runs come and go without a deployment; of each the role has this one kind of object.',
      }),
    ),
    {
      stacks: ['compute'],
      id: objects(labels, 'claims/*'),
      reason: 'Claims of all runs; they say who labels an image now, and are gone after a day.',
    },
    ...[...digests].map((digest) => ({
      stacks: ['compute'] as const,
      id: objects(weights, `weights/${digest}/*`),
      reason: 'The pieces of one model, by its digest.',
    })),
  ]
}

function imageObjects(config: InfraConfig): Acknowledgement[] {
  const images = { bucket: config.imagesBucket ?? ownBucket(config, 'images'), prefix: '' }
  return [images, ...config.sources].flatMap(({ bucket, prefix }) => [
    {
      stacks: ['compute', 'pipeline'] as const,
      id: objects(bucket, `${prefix}*`),
      reason: 'Images have whatever names they come with; they are only read.',
    },
    ...lists.map((ending) => ({
      stacks: ['pipeline'] as const,
      id: objects(bucket, `${prefix}${ending}`),
      reason: 'A list of images may lie beside them; the planner and the scaler read nothing else there.',
    })),
  ])
}

function wildcard(resource: string): string {
  return `AwsSolutions-IAM5[Resource::${resource}]`
}

function objects(bucket: string, key: string): string {
  return wildcard(`arn:<AWS::Partition>:s3:::${bucket}/${key}`)
}

/** As the finding spells what is not known before a stack is deployed. */
function ownBucket({ name }: InfraConfig, kind: string): string {
  return `${name}-${kind}-<AWS::AccountId>-<AWS::Region>`
}
