// What the stacks tell workers, functions and verbs, read by the code that is told: each is parsed as it will be.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseScalerSettings } from '../../functions/scaler-settings.ts'
import { defaultProtectionLimits } from '../../gpu-worker/cloud/task-protection.ts'
import { parseWorkerSettings } from '../../gpu-worker/pipeline/worker-settings.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { Deployment } from '../../schemas/deployment.ts'
import { readRepositoryFile, repositoryRoot } from '../architecture/source-tree.ts'
import { deployments, model, resolved, resourcesOf, synthesize } from './synthesized.ts'

const two = synthesize(deployments['two fleets, sources, reviews and a NAT gateway']!)
const queueUrl = (name: string) => `https://sqs.us-east-2.amazonaws.com/111122223333/coglabel-${name}`

function workerEnvironments(): Map<string, Record<string, string>> {
  const tasks = resourcesOf(two, 'AWS::ECS::TaskDefinition')
  return new Map(
    tasks.map(({ resource }) => {
      const { Family, ContainerDefinitions } = resolved(resource.Properties) as {
        Family: string
        ContainerDefinitions: { Environment: { Name: string; Value: string }[] }[]
      }
      const variables = ContainerDefinitions[0]!.Environment.map(({ Name, Value }) => [Name, Value])
      return [Family, Object.fromEntries(variables) as Record<string, string>]
    }),
  )
}

function functionEnvironments(): Map<string, Record<string, string>> {
  return new Map(
    resourcesOf(two, 'AWS::Lambda::Function').map(({ resource }) => {
      const { FunctionName, Environment } = resolved(resource.Properties) as {
        FunctionName: string
        Environment: { Variables: Record<string, string> }
      }
      return [FunctionName, Environment.Variables]
    }),
  )
}

test('a worker understands its environment, and finds everything by it', () => {
  const environments = workerEnvironments()
  expect([...environments.keys()]).toEqual([
    'coglabel-chat-spot',
    'coglabel-chat-on-demand',
    'coglabel-boxes-spot',
    'coglabel-boxes-on-demand',
  ])
  const settings = parseWorkerSettings({
    ...environments.get('coglabel-chat-spot')!,
    ECS_AGENT_URI: 'http://169.254.170.2/api/1',
  })
  expect(settings).toMatchObject({
    mode: 'service',
    model: {
      uri: new URL(`s3://coglabel-weights-111122223333-us-east-2/weights/${model.digest}/`),
      scratchFolder: '/scratch',
    },
    backend: {
      kind: 'aws',
      queueUrl: queueUrl('chat'),
      labelsBucket: 'my-labels',
      sourceBuckets: ['my-images', 'photos', 'scans'],
    },
    pool: 'coglabel-chat-spot',
    metrics: { everyMs: 60_000 },
    // ECS drains an instance that gets a notice, and the worker hears SIGTERM; it sees no metadata.
    spotEndpoint: null,
  })
  expect([...settings.roleQueues]).toEqual([['grounding', queueUrl('boxes')]])
  const second = parseWorkerSettings(environments.get('coglabel-boxes-on-demand')!)
  expect([[...second.roleQueues], second.pool]).toEqual([
    [['chat', queueUrl('chat')]],
    'coglabel-boxes-on-demand',
  ])
})

test('a task has as long to stop as the worker takes, and a message is hidden as long as it is leased', () => {
  const [task] = resourcesOf(two, 'AWS::ECS::TaskDefinition')
  const [{ StopTimeout }] = task!.resource.Properties['ContainerDefinitions'] as [{ StopTimeout: number }]
  expect(StopTimeout * 1000).toBeGreaterThan(defaultWorkerLimits.stopDeadlineMs)
  expect(defaultProtectionLimits.expiresInMinutes).toBeGreaterThan(StopTimeout / 60)
  for (const { resource, path } of resourcesOf(two, 'AWS::SQS::Queue').filter(({ path: at }) =>
    at.endsWith('Queue/Resource'),
  )) {
    const { VisibilityTimeout, RedrivePolicy } = resource.Properties as {
      VisibilityTimeout: number
      RedrivePolicy: { maxReceiveCount: number }
    }
    expect([path, VisibilityTimeout * 1000]).toEqual([path, defaultWorkerLimits.leaseMs])
    // Delivered alone for a few times before it is given up.
    expect(RedrivePolicy.maxReceiveCount).toBeGreaterThan(defaultWorkerLimits.isolateFromReceive + 2)
  }
})

test('every function is told only what it reads', () => {
  const sources = readdirSync(join(repositoryRoot, 'functions'))
    .map((name) => readRepositoryFile(`functions/${name}`))
    .join()
  const read = new Set(sources.match(/COGLABEL_[A-Z_]+/g))
  const told = [...functionEnvironments().values()].flatMap(Object.keys)
  expect(told.filter((name) => name !== 'NODE_OPTIONS' && !read.has(name))).toEqual([])
})

test('the scalers know their services, and each is apart from the other', () => {
  const environments = functionEnvironments()
  const settings = ['chat', 'boxes'].map((fleet) =>
    parseScalerSettings(environments.get(`coglabel-${fleet}-scaler`)!),
  )
  expect(settings).toMatchObject([
    {
      fleet: 'coglabel-chat',
      cluster: 'coglabel',
      spot: 'coglabel-chat-spot',
      onDemand: 'coglabel-chat-on-demand',
      policy: { imagesPerSecond: 1, objectiveMs: 900_000, maxSpot: 64, maxOnDemand: 4 },
    },
    { fleet: 'coglabel-boxes', policy: { maxSpot: 16 } },
  ])
  const services = resourcesOf(two, 'AWS::ECS::Service').map(
    ({ resource }) => resource.Properties['ServiceName'],
  )
  expect(services).toEqual(settings.flatMap(({ spot, onDemand }) => [spot, onDemand]))
})

test('a fleet without a model is never asked for', () => {
  const [scaler] = resourcesOf(synthesize({}), 'AWS::Lambda::Function').filter(({ path }) =>
    path.startsWith('Pipeline/Scaler'),
  )
  const { Environment } = resolved(scaler!.resource.Properties) as {
    Environment: { Variables: Record<string, string> }
  }
  expect(parseScalerSettings(Environment.Variables).policy).toMatchObject({ maxSpot: 0, maxOnDemand: 0 })
})

test('the description is one that every verb and function reads', () => {
  const [description] = resourcesOf(two, 'Custom::CoglabelDeployment')
  const { deployment } = resolved(description!.resource.Properties) as { deployment: string }
  const named = resourcesOf(two, 'AWS::Lambda::Function').reduce(
    (text, { id, resource }) => text.replace(`<${id}>`, String(resource.Properties['FunctionName'])),
    deployment,
  )
  expect(Deployment.parse(JSON.parse(named))).toEqual({
    v: 1,
    name: 'coglabel',
    region: 'us-east-2',
    queueUrl: queueUrl('chat'),
    deadLetterQueueUrl: queueUrl('chat-dead-letters'),
    labelsBucket: 'my-labels',
    imageBuckets: ['my-images', 'photos', 'scans'],
    weightsBucket: 'coglabel-weights-111122223333-us-east-2',
    functions: {
      planner: 'coglabel-planner',
      sealer: 'coglabel-sealer',
      exporter: 'coglabel-exporter',
      scaler: 'coglabel-chat-scaler',
      redriver: 'coglabel-chat-redriver',
    },
  })
})
