// The stacks of every kind of deployment: clean before the validator and cdk-nag, stable, and careful with data.
import { execSync } from 'node:child_process'
import { join } from 'node:path'
import { AwsSolutionsChecks } from 'cdk-nag'
import { Match, Template } from 'aws-cdk-lib/assertions'
import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../infra/config.ts'
import { copiesOf } from '../../infra/functions.ts'
import { acknowledgementsOf } from '../../infra/nag-acknowledgements.ts'
import { readPageFiles } from '../../review/page-files.ts'
import { repositoryRoot } from '../architecture/source-tree.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { mayDo, type Statement, statementsByRole } from './policy.ts'
import {
  buildUnchecked,
  deployments,
  type Resource,
  resolved,
  resourcesOf,
  synthesize,
  type Synthesized,
} from './synthesized.ts'

const names = Object.keys(deployments)
const of = (name: string) => synthesize(deployments[name]!)
const properties = ({ resource }: { resource: Resource }) =>
  resolved(resource.Properties) as Record<string, unknown>

describe.each(names)('%s', (name) => {
  test('pass the validator of CloudFormation and the AwsSolutions rules', () => {
    expect(Object.keys(of(name).templates)).toEqual(['Data', 'Network', 'Compute', 'Pipeline', 'Observe'])
  })

  test('acknowledge no finding that does not occur', () => {
    const { app } = buildUnchecked(deployments[name]!)
    const report = new AwsSolutionsChecks(app).validateScope(app)
    const found = new Set(
      report.violations.flatMap(({ ruleName, violatingResources }) =>
        violatingResources.map(({ constructPath = '' }) => `${constructPath.split('/')[0]} ${ruleName}`),
      ),
    )
    const acknowledged = acknowledgementsOf(parseConfig(deployments[name]!)).flatMap(({ stacks, id }) =>
      stacks.map((stack) => `${stack[0]!.toUpperCase()}${stack.slice(1)} ${id}`),
    )
    expect(found.size).toBeGreaterThan(10)
    expect(acknowledged.filter((one) => !found.has(one))).toEqual([])
  })

  test('have no function but ours, least of all one that sets notifications', () => {
    const functions = resourcesOf(of(name), 'AWS::Lambda::Function')
    expect(functions.filter(({ stack }) => stack !== 'Pipeline')).toEqual([])
    for (const one of functions)
      expect(properties(one)).toMatchObject({ Runtime: 'nodejs24.x', Architectures: ['arm64'] })
  })
})

test('ids of constructs are those that were deployed: another id is another resource', async () => {
  const lines = names.flatMap((name) => [
    name,
    ...Object.entries(of(name).templates).flatMap(([stack, { Resources }]) =>
      Object.entries(Resources)
        .map(([id, { Type }]) => `  ${stack} ${id} ${Type}`)
        .toSorted(),
    ),
  ])
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('./construct-ids.txt')
})

describe('data', () => {
  const holders = ['AWS::S3::Bucket', 'AWS::KMS::Key']
  const policiesOf = (synthesized: Synthesized) =>
    holders.flatMap((type) =>
      resourcesOf(synthesized, type).map(({ path, resource }) => [
        path.split('/')[1],
        resource.DeletionPolicy,
        resource.UpdateReplacePolicy,
      ]),
    )

  test('outlives its stack, unless somebody says otherwise', () => {
    const kept = ['Logs', 'Images', 'Labels', 'Weights', 'DataKey']
    expect(policiesOf(of('the defaults'))).toEqual(
      kept.map((name) => [name, 'RetainExceptOnCreate', 'Retain']),
    )
    expect(policiesOf(of('a VPC that is there, keys of S3 and no data kept'))).toEqual(
      kept.slice(0, 4).map((name) => [name, 'Delete', 'Delete']),
    )
  })

  test('that is there already is read with the key that it was written with', () => {
    const again = of('managed instances, and the key of an earlier deployment')
    expect(resourcesOf(again, 'AWS::KMS::Key')).toEqual([])
    const buckets = resourcesOf(again, 'AWS::S3::Bucket').map((one) => JSON.stringify(properties(one)))
    expect(buckets.filter((text) => text.includes('111122223333:key/0a0a0a0a'))).toHaveLength(3)
    const worker = statementsByRole(again).get('ChatTaskRole')!
    const resource = 'arn:aws:kms:us-east-2:111122223333:key/0a0a0a0a-1111-2222-3333-444444444444'
    const context = { 'kms:ViaService': 's3.us-east-2.amazonaws.com' }
    expect(mayDo(worker, { action: 'kms:Decrypt', resource, context })).toBe(true)
  })

  test('lies in no other kind of resource', () => {
    const stateful = /::(Table|DBInstance|FileSystem|Volume|Repository|Domain|Stream)$/
    for (const name of names)
      for (const { Resources } of Object.values(of(name).templates))
        expect(Object.values(Resources).filter(({ Type }) => stateful.test(Type))).toEqual([])
  })

  test('is encrypted, versioned, private and logged', () => {
    const template = Template.fromStack(of('the defaults').stacks.data)
    for (const bucket of ['images', 'labels', 'weights'])
      template.hasResourceProperties('AWS::S3::Bucket', {
        BucketName: { 'Fn::Join': ['', Match.arrayWith([`coglabel-${bucket}-`])] },
        VersioningConfiguration: { Status: 'Enabled' },
        LoggingConfiguration: { LogFilePrefix: `${bucket}/` },
        OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
        BucketEncryption: {
          ServerSideEncryptionConfiguration: [
            { BucketKeyEnabled: true, ServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms' } },
          ],
        },
        PublicAccessBlockConfiguration: { BlockPublicAcls: true, RestrictPublicBuckets: true },
      })
  })

  test('that counts for hours goes after a day, and what nobody sees any more after a month', () => {
    const [labels] = resourcesOf(of('the defaults'), 'AWS::S3::Bucket').filter(({ path }) =>
      path.startsWith('Data/Labels/'),
    )
    expect(properties(labels!)['LifecycleConfiguration']).toEqual({
      Rules: [
        expect.objectContaining({
          Id: 'left-over',
          AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 },
          NoncurrentVersionExpiration: { NoncurrentDays: 30 },
        }),
        expect.objectContaining({ Id: 'delete-markers', ExpiredObjectDeleteMarker: true }),
        expect.objectContaining({ Id: 'claims', Prefix: 'claims/', ExpirationInDays: 1 }),
      ],
    })
  })
})

describe('arrivals', () => {
  test('of one fleet go from S3 to its queue', () => {
    const one = of('one fleet with a model')
    const [images] = resourcesOf(one, 'AWS::S3::Bucket').filter(({ path }) => path.startsWith('Data/Images/'))
    expect(properties(images!)['NotificationConfiguration']).toMatchObject({
      QueueConfigurations: [
        {
          Event: 's3:ObjectCreated:*',
          Filter: { S3Key: { Rules: [{ Name: 'prefix', Value: 'incoming/' }] } },
        },
      ],
    })
    // S3 tries the queue while it is told of it, so the permission comes first.
    expect((images!.resource as unknown as { DependsOn: string[] }).DependsOn).toEqual(
      resourcesOf(one, 'AWS::SQS::QueuePolicy')
        .filter(({ path }) => path.startsWith('Data/ChatQueue/'))
        .map(({ id }) => id),
    )
    expect(resourcesOf(one, 'AWS::Events::Rule').filter(({ stack }) => stack === 'Data')).toEqual([])
  })

  test('of several fleets go by a rule each, and none to a fleet that only comes second', () => {
    const two = of('two fleets, sources, reviews and a NAT gateway')
    const rules = resourcesOf(two, 'AWS::Events::Rule').filter(({ stack }) => stack === 'Data')
    expect(rules.map((rule) => properties(rule)['EventPattern'])).toEqual([
      {
        'source': ['aws.s3'],
        'detail-type': ['Object Created'],
        'detail': { bucket: { name: ['my-images'] }, object: { key: [{ prefix: 'incoming/' }] } },
      },
    ])
    const [images] = resourcesOf(two, 'AWS::S3::Bucket').filter(({ path }) => path.startsWith('Data/Images/'))
    expect(properties(images!)['NotificationConfiguration']).toEqual({
      EventBridgeConfiguration: { EventBridgeEnabled: true },
    })
  })
})

describe('instances', () => {
  const two = of('two fleets, sources, reviews and a NAT gateway')

  test('ask for credentials by IMDSv2 at one hop, and have encrypted disks', () => {
    const templates = resourcesOf(two, 'AWS::EC2::LaunchTemplate')
    expect(templates).toHaveLength(4)
    for (const one of templates)
      expect(properties(one)['LaunchTemplateData']).toMatchObject({
        MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
        BlockDeviceMappings: [{ Ebs: { Encrypted: true } }],
      })
  })

  test('of one pool are all spot and of the other none, with types that hold the model', () => {
    const groups = resourcesOf(two, 'AWS::AutoScaling::AutoScalingGroup').map((group) => {
      const { MinSize, MaxSize, CapacityRebalance, NewInstancesProtectedFromScaleIn, MixedInstancesPolicy } =
        properties(group)
      const { InstancesDistribution, LaunchTemplate } = MixedInstancesPolicy as {
        InstancesDistribution: { OnDemandPercentageAboveBaseCapacity: number }
        LaunchTemplate: { Overrides: { InstanceType: string }[] }
      }
      expect([CapacityRebalance, NewInstancesProtectedFromScaleIn]).toEqual([false, true])
      return [
        [MinSize, MaxSize],
        InstancesDistribution.OnDemandPercentageAboveBaseCapacity,
        LaunchTemplate.Overrides.map(({ InstanceType }) => InstanceType),
      ]
    })
    const large = ['g6.2xlarge', 'g5.2xlarge', 'g6e.xlarge', 'g6e.2xlarge']
    const small = ['g6.xlarge', 'g5.xlarge', ...large]
    expect(groups).toEqual([
      [['0', '64'], 0, large],
      [['0', '4'], 100, large],
      [['0', '16'], 0, small],
      [['0', '4'], 100, small],
    ])
  })

  test('drain on a notice, and keep the credentials of the instance from tasks', () => {
    for (const one of resourcesOf(two, 'AWS::EC2::LaunchTemplate')) {
      const text = JSON.stringify(one.resource.Properties)
      const isSpot = one.path.includes('SpotTemplate')
      expect(text.includes('ECS_ENABLE_SPOT_INSTANCE_DRAINING=true')).toBe(isSpot)
      expect(text).toContain('ECS_AWSVPC_BLOCK_IMDS=true')
    }
  })
})

describe('tasks', () => {
  test.each(['one fleet with a model', 'managed instances, and the key of an earlier deployment'])(
    'of %s may do little on their host',
    (name) => {
      const tasks = resourcesOf(of(name), 'AWS::ECS::TaskDefinition')
      expect(tasks).toHaveLength(2)
      for (const task of tasks) {
        const { NetworkMode, ContainerDefinitions } = properties(task) as {
          NetworkMode: string
          ContainerDefinitions: unknown[]
        }
        expect(NetworkMode).toBe('awsvpc')
        expect(ContainerDefinitions).toEqual([
          expect.objectContaining({
            User: '1000:1000',
            ReadonlyRootFilesystem: true,
            Privileged: false,
            StopTimeout: 120,
            ResourceRequirements: [{ Type: 'GPU', Value: '1' }],
            LinuxParameters: expect.objectContaining({ Capabilities: { Drop: ['ALL'] } }),
          }),
        ])
      }
    },
  )

  test('of managed instances are on disks of the instance, which go five minutes after the last', () => {
    const [provider] = resourcesOf(
      of('managed instances, and the key of an earlier deployment'),
      'AWS::ECS::CapacityProvider',
    )
    expect(properties(provider!)['ManagedInstancesProvider']).toMatchObject({
      InfrastructureOptimization: { ScaleInAfter: 300 },
      InstanceLaunchTemplate: { LocalStorageConfiguration: { UseLocalStorage: true } },
    })
  })
})

test('what leaves by the endpoint of S3 goes to buckets of the deployment', () => {
  const [s3] = resourcesOf(of('two fleets, sources, reviews and a NAT gateway'), 'AWS::EC2::VPCEndpoint')
  const { PolicyDocument } = properties(s3!) as { PolicyDocument: { Statement: Statement[] } }
  const may = (action: string, resource: string) =>
    mayDo(PolicyDocument.Statement, { action, resource: `arn:aws:s3:::${resource}` })
  expect(may('s3:PutObject', 'my-labels/runs/r/parts/a')).toBe(true)
  expect(may('s3:GetObject', 'scans/a.png')).toBe(true)
  expect(may('s3:GetObject', 'prod-us-east-2-starport-layer-bucket/layer')).toBe(true)
  expect(may('s3:PutObject', 'prod-us-east-2-starport-layer-bucket/layer')).toBe(false)
  expect(may('s3:PutObject', 'somebody-elses/a')).toBe(false)
})

test('alarms and the budget tell people, and stop nothing', () => {
  const one = of('one fleet with a model')
  const [topic] = resourcesOf(one, 'AWS::SNS::Topic')
  const alarms = resourcesOf(one, 'AWS::CloudWatch::Alarm').filter(({ stack }) => stack === 'Observe')
  expect(alarms).toHaveLength(11)
  for (const alarm of alarms) {
    const { AlarmActions = [], OKActions = [] } = properties(alarm) as Record<string, string[]>
    expect([...new Set([...AlarmActions, ...OKActions])]).toEqual([`<${topic!.id}>`])
  }
  const [budget] = resourcesOf(one, 'AWS::Budgets::Budget')
  expect(properties(budget!)).toMatchObject({ Budget: { BudgetLimit: { Amount: 200, Unit: 'USD' } } })
  expect(resourcesOf(one, 'AWS::Budgets::BudgetsAction')).toEqual([])
  expect(properties(resourcesOf(one, 'AWS::SNS::Subscription')[0]!)).toMatchObject({
    Endpoint: 'a@example.com',
  })
})

test('a function that fails each time is told of, however seldom it is called', () => {
  const one = synthesize({ redriveEveryMinutes: 1440, planEveryMinutes: 7 })
  const schedules = resourcesOf(one, 'AWS::Events::Rule').map((rule) => properties(rule))
  const minutesOf = (name: string) => {
    const { ScheduleExpression = '' } = (schedules.find(
      ({ Description }) => String(Description).split(': ')[1] === name,
    ) ?? {}) as { ScheduleExpression?: string }
    const [, value = '0', unit = ''] = /^rate\((\d+) (minute|hour|day)/.exec(ScheduleExpression) ?? []
    return Number(value) * ({ minute: 1, hour: 60, day: 1440 }[unit] ?? 0)
  }
  expect(['planner', 'redriver', 'scaler', 'sealer'].map(minutesOf)).toEqual([7, 1440, 1, 5])
  const watched: string[] = []
  for (const alarm of resourcesOf(one, 'AWS::CloudWatch::Alarm')) {
    const { MetricName, Dimensions, Period, EvaluationPeriods } = properties(alarm) as {
      MetricName?: string
      Dimensions?: { Value: string }[]
      Period?: number
      EvaluationPeriods: number
    }
    if (MetricName !== 'Errors' || Period === undefined) continue
    const name = Dimensions?.[0]?.Value.replace(/^coglabel-(chat-)?/, '') ?? ''
    watched.push(name)
    expect([name, Period / 60 >= minutesOf(name)]).toEqual([name, true])
    // CloudWatch looks back over a day, and over a week where a period is an hour or more.
    expect(Period * EvaluationPeriods).toBeLessThanOrEqual((Period < 3600 ? 1 : 7) * 86_400)
  }
  expect(watched).toEqual(expect.arrayContaining(['planner', 'redriver', 'scaler', 'sealer']))
})

describe('the review page', () => {
  const two = 'two fleets, sources, reviews and a NAT gateway'

  test('is there only where it was asked for, and only for those who sign', () => {
    expect(resourcesOf(of('the defaults'), 'AWS::Lambda::Url')).toEqual([])
    const urls = resourcesOf(of(two), 'AWS::Lambda::Url')
    const [reviewer] = resourcesOf(of(two), 'AWS::Lambda::Function').filter(({ path }) =>
      path.startsWith('Pipeline/Reviewer/'),
    )
    expect(urls.map((one) => properties(one))).toEqual([
      { AuthType: 'AWS_IAM', TargetFunctionArn: `<${reviewer!.id}.Arn>` },
    ])
  })

  test('lets nobody in by itself: who may sign is for the account to say', () => {
    const callers = resourcesOf(of(two), 'AWS::Lambda::Permission').map((one) => properties(one))
    expect(callers.length).toBeGreaterThan(3)
    for (const { Principal, FunctionName } of callers) {
      expect(Principal).toBe('events.amazonaws.com')
      expect(FunctionName).not.toContain('Reviewer')
    }
  })

  test('lies beside the bundle of its function, whole', async () => {
    const bundle = await tempFolder()
    for (const command of copiesOf('review/page').afterBundling(repositoryRoot, bundle)) execSync(command)
    const copied = await readPageFiles(join(bundle, 'page'))
    expect(copied.get('index.html')?.text).toContain('<script type="module"')
    expect(copied).toEqual(await readPageFiles(join(repositoryRoot, 'review/page')))
  })
})

test('a way to the internet is there only where it was asked for', () => {
  const waysOut = (name: string) =>
    ['AWS::EC2::NatGateway', 'AWS::EC2::InternetGateway', 'AWS::EC2::VPCEndpoint', 'AWS::EC2::VPC'].map(
      (type) => resourcesOf(of(name), type).length,
    )
  expect(waysOut('the defaults')).toEqual([0, 0, 8, 1])
  expect(waysOut('two fleets, sources, reviews and a NAT gateway')).toEqual([1, 1, 1, 1])
  expect(waysOut('a VPC that is there, keys of S3 and no data kept')).toEqual([0, 0, 0, 0])
})
