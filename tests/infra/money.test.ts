// What the command line says of a deployment without asking it, held against the synthesized stacks: names, what stays,
// and what an idle month is made of.
import { beforeAll, describe, expect, test } from 'vitest'
import { keepingPolicies } from '../../cli/account/stacks.ts'
import { labelsBucketOf, stackNamesOf } from '../../cli/deployment-names.ts'
import { readPrices } from '../../cli/prices.ts'
import {
  alarmMetrics,
  endpointsPerZone,
  idleFunctions,
  idleTailSeconds,
  volumeGb,
} from '../../dataset/cost.ts'
import { chooseInstances, instanceTypes } from '../../infra/instances.ts'
import { UserError } from '../../schemas/errors.ts'
import { holdsModel } from '../../schemas/instance-memory.ts'
import { model, type Resource, synthesize, type Synthesized, type StackName } from './synthesized.ts'

const prices = await readPrices()
let made: Synthesized
beforeAll(() => {
  made = synthesize({ fleets: [{ model }] })
})

const resources = (stack: StackName, type: string): Resource[] =>
  Object.values(made.templates[stack].Resources).filter((one) => one.Type === type)
const idsOf = (stack: StackName) =>
  Object.entries(made.templates[stack].Resources).map(([logicalId, { Type, DeletionPolicy }]) => ({
    logicalId,
    type: Type,
    physicalId: `the ${logicalId}`,
    policy: DeletionPolicy,
  }))

describe('teardown and doctor', () => {
  test('call the stacks what they are called', () => {
    const { stacks } = made
    const { network, data, compute, pipeline, observe } = stacks
    expect({ network, data, compute, pipeline, observe }).toEqual(
      expect.objectContaining(
        Object.fromEntries(
          Object.entries(stackNamesOf('coglabel')).map(([part, stackName]) => [
            part,
            expect.objectContaining({ stackName }),
          ]),
        ),
      ),
    )
  })

  test('find the labels bucket, and that buckets and the key stay', () => {
    expect(labelsBucketOf(idsOf('Data'))).toMatch(/^the Labels[0-9A-F]{8}$/)
    const kept = idsOf('Data').filter(({ policy }) => keepingPolicies.includes(policy ?? ''))
    expect(kept.filter(({ type }) => type === 'AWS::S3::Bucket')).toHaveLength(4)
    expect(kept.filter(({ type }) => type === 'AWS::KMS::Key')).toHaveLength(1)
  })

  test('find what has to be emptied in one stack, and nothing that asks for workers but in another', () => {
    expect(resources('Compute', 'AWS::ECS::Service')).toHaveLength(2)
    expect(resources('Compute', 'AWS::AutoScaling::AutoScalingGroup')).toHaveLength(2)
    expect(resources('Compute', 'AWS::ECS::Cluster')).toHaveLength(1)
    expect(resources('Compute', 'AWS::Lambda::Function')).toHaveLength(0)
    expect(resources('Pipeline', 'AWS::ECS::Service')).toHaveLength(0)
  })
})

describe('an idle month', () => {
  test('has as many interface endpoints as the network', () => {
    const interfaces = resources('Network', 'AWS::EC2::VPCEndpoint').filter(
      ({ Properties }) => Properties?.['VpcEndpointType'] === 'Interface',
    )
    expect(interfaces).toHaveLength(endpointsPerZone)
  })

  test('has as many metrics in alarms as are made', () => {
    const alarms = [
      ...resources('Observe', 'AWS::CloudWatch::Alarm'),
      ...resources('Compute', 'AWS::CloudWatch::Alarm'),
    ]
    const read = alarms.map(({ Properties }) => {
      const { Metrics } = Properties as { Metrics?: { MetricStat?: unknown }[] }
      return Metrics === undefined ? 1 : Metrics.filter(({ MetricStat }) => MetricStat !== undefined).length
    })
    expect(read.reduce((sum, count) => sum + count, 0)).toBe(alarmMetrics)
  })

  test('has about as many runs of functions as are scheduled', () => {
    const perMonth = resources('Pipeline', 'AWS::Events::Rule').map(({ Properties }) => {
      const [, count = '', unit = ''] =
        /^rate\((\d+) (\w+)\)$/.exec(String(Properties?.['ScheduleExpression'])) ?? []
      return (730 * 60) / (Number(count) * (unit.startsWith('hour') ? 60 : 1))
    })
    const total = perMonth.reduce((sum, count) => sum + count, 0)
    expect(Math.abs(total - idleFunctions.requests)).toBeLessThan(1000)
  })
})

test('a worker’s instance has the volume and the tail that plans count', () => {
  const [template] = resources('Compute', 'AWS::EC2::LaunchTemplate')
  expect(template?.Properties).toMatchObject({
    LaunchTemplateData: { BlockDeviceMappings: [{ Ebs: { VolumeSize: volumeGb } }] },
  })
  const managed = synthesize({ compute: 'managed-instances', fleets: [{ model }] })
  const text = JSON.stringify(managed.templates.Compute)
  expect(text).toContain(`"ScaleInAfter":${idleTailSeconds['managed-instances']}`)
})

/** Whether the stacks would run a model of so many bytes on this type, when the settings name it. */
function isAccepted(type: string, sizeBytes: number): boolean {
  try {
    return chooseInstances({ sizeBytes, names: [type] }).names.includes(type)
  } catch (error) {
    if (error instanceof UserError) return false
    throw error
  }
}

// 10.6e9 to 12.2e9 lie where the share of memory that ECS leaves to tasks decides on hosts of 16 GiB, and 26e9 and
// 28e9 where it does on those of 32 GiB.
test.each([0, 9e9, 10.6e9, 11e9, 11.2e9, 12.2e9, 17.6e9, 18e9, 26e9, 28e9, 35e9, 50e9, 55e9, 90e9])(
  'of a model of %d bytes plans list the types that the stacks accept, and no others',
  (sizeBytes) => {
    for (const { region, instances } of prices.regions) {
      const listed = instances.filter((one) => holdsModel(one, sizeBytes)).map(({ type }) => type)
      const accepted = instances.map(({ type }) => type).filter((type) => isAccepted(type, sizeBytes))
      expect(listed, region).toEqual(accepted)
    }
  },
)

test.each([0, 9e9, 11e9, 18e9, 35e9, 50e9])(
  'what is deployed for a model of %d bytes when no type is named has a price',
  (sizeBytes) => {
    const chosen = chooseInstances({ sizeBytes, names: [] }).names
    const priced = new Set(prices.regions.flatMap(({ instances }) => instances.map(({ type }) => type)))
    expect(chosen.some((type) => priced.has(type))).toBe(true)
  },
)

test('the types with a price are types of the stacks, with the same memory', () => {
  const known = new Map(instanceTypes.map(({ name, gpuGiB, memoryGiB }) => [name, { gpuGiB, memoryGiB }]))
  for (const { type, gpuGiB, memoryGiB } of prices.regions.flatMap(({ instances }) => instances))
    expect({ type, gpuGiB, memoryGiB }).toEqual({ type, ...known.get(type) })
})
