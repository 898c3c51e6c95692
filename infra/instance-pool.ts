// A pool of workers on instances of ours: launch template, auto scaling group, capacity provider, service. One task an
// instance, for one GPU an instance.
import type { Stack } from 'aws-cdk-lib'
import {
  AutoScalingGroup,
  OnDemandAllocationStrategy,
  SpotAllocationStrategy,
} from 'aws-cdk-lib/aws-autoscaling'
import {
  BlockDeviceVolume,
  EbsDeviceVolumeType,
  type IMachineImage,
  InstanceType,
  LaunchTemplate,
  LaunchTemplateHttpTokens,
  OperatingSystemType,
  UserData,
} from 'aws-cdk-lib/aws-ec2'
import {
  AmiHardwareType,
  AsgCapacityProvider,
  AvailabilityZoneRebalancing,
  Ec2Service,
  Ec2TaskDefinition,
  EcsOptimizedImage,
  NetworkMode,
} from 'aws-cdk-lib/aws-ecs'
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import type { InfraConfig } from './config.ts'
import { arnOf, fleetNamesOf } from './names.ts'
import { maxWorkers, type PoolOptions, serviceSettings } from './pool.ts'
import { instanceUserData, scratchFolder } from './user-data.ts'
import { addWorkerContainer } from './worker-task.ts'

/** Of the root volume: the system, and all else where an instance has no disk of its own. */
const rootVolumeGiB = 64

export function addInstancePool(scope: Stack, id: string, options: PoolOptions): Ec2Service {
  const { config, cluster, fleet, pool, taskRole, executionRole, instances } = options
  const group = addGroup(scope, id, options)
  const provider = new AsgCapacityProvider(scope, `${id}Capacity`, {
    capacityProviderName: `${fleetNamesOf(config, fleet).id}-${pool}`,
    autoScalingGroup: group,
    enableManagedScaling: true,
    enableManagedDraining: true,
    enableManagedTerminationProtection: config.protectInstances,
    targetCapacityPercent: 100,
  })
  cluster.addAsgCapacityProvider(provider)
  const task = new Ec2TaskDefinition(scope, `${id}Task`, {
    family: `${fleetNamesOf(config, fleet).id}-${pool}`,
    networkMode: NetworkMode.AWS_VPC,
    taskRole: taskRole.withoutPolicyUpdates(),
    executionRole,
    volumes: [{ name: 'scratch', host: { sourcePath: scratchFolder } }],
  })
  addWorkerContainer(scope, task, { ...options, memoryMiB: instances.taskMemoryMiB })
  const service = new Ec2Service(scope, `${id}Service`, {
    ...serviceSettings(options),
    taskDefinition: task,
    availabilityZoneRebalancing: AvailabilityZoneRebalancing.DISABLED,
    capacityProviderStrategies: [{ capacityProvider: provider.capacityProviderName, weight: 1 }],
  })
  service.node.addDependency(provider)
  return service
}

function addGroup(scope: Stack, id: string, options: PoolOptions): AutoScalingGroup {
  const { config, cluster, pool, instances, subnets } = options
  return new AutoScalingGroup(scope, `${id}Group`, {
    vpc: cluster.vpc,
    vpcSubnets: { subnets },
    minCapacity: 0,
    maxCapacity: Math.max(1, maxWorkers(options)),
    // ECS gets no notice of instances that rebalancing takes away, and interruptions are cheap here.
    capacityRebalance: false,
    newInstancesProtectedFromScaleIn: config.protectInstances,
    mixedInstancesPolicy: {
      launchTemplate: addLaunchTemplate(scope, id, options),
      launchTemplateOverrides: instances.names.map((name) => ({ instanceType: new InstanceType(name) })),
      instancesDistribution: {
        onDemandBaseCapacity: 0,
        onDemandPercentageAboveBaseCapacity: pool === 'spot' ? 0 : 100,
        spotAllocationStrategy: SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
        onDemandAllocationStrategy: OnDemandAllocationStrategy.PRIORITIZED,
      },
    },
  })
}

function addLaunchTemplate(scope: Stack, id: string, options: PoolOptions): LaunchTemplate {
  const { config, pool, workerGroup, instances } = options
  const userData = instanceUserData({ isSpot: pool === 'spot' })
  const volume = BlockDeviceVolume.ebs(rootVolumeGiB, {
    encrypted: true,
    volumeType: EbsDeviceVolumeType.GP3,
    deleteOnTermination: true,
  })
  return new LaunchTemplate(scope, `${id}Template`, {
    instanceType: new InstanceType(instances.names[0] ?? 'g6.xlarge'),
    machineImage: machineImage(config),
    userData,
    role: addInstanceRole(scope, id, options).withoutPolicyUpdates(),
    securityGroup: workerGroup,
    blockDevices: [{ deviceName: '/dev/xvda', volume }],
    httpTokens: LaunchTemplateHttpTokens.REQUIRED,
    // One hop: containers with a network of their own do not reach the instance's credentials.
    httpPutResponseHopLimit: 1,
    instanceMetadataTags: false,
    associatePublicIpAddress: false,
    detailedMonitoring: false,
  })
}

function machineImage({ amiId }: InfraConfig): IMachineImage {
  if (amiId === null) return EcsOptimizedImage.amazonLinux2023(AmiHardwareType.GPU)
  const osType = OperatingSystemType.LINUX
  return { getImage: () => ({ imageId: amiId, osType, userData: UserData.forLinux() }) }
}

/** What the ECS agent calls. Images are pulled and logs written with the task's execution role. */
function addInstanceRole(scope: Stack, id: string, { names }: PoolOptions): Role {
  const cluster = arnOf('ecs', `cluster/${names.cluster}`)
  const ofCluster = { ArnEquals: { 'ecs:cluster': cluster } }
  const statements = [
    new PolicyStatement({
      actions: ['ecs:RegisterContainerInstance', 'ecs:DeregisterContainerInstance'],
      resources: [cluster],
    }),
    new PolicyStatement({
      actions: [
        'ecs:Poll',
        'ecs:StartTelemetrySession',
        'ecs:UpdateContainerInstancesState',
        'ecs:PutSystemLogEvents',
      ],
      resources: [arnOf('ecs', `container-instance/${names.cluster}/*`)],
      conditions: ofCluster,
    }),
    new PolicyStatement({
      actions: [
        'ecs:SubmitTaskStateChange',
        'ecs:SubmitContainerStateChange',
        'ecs:SubmitAttachmentStateChanges',
      ],
      resources: [cluster],
    }),
    // It finds the endpoint before it is part of a cluster; the action knows no resources.
    new PolicyStatement({ actions: ['ecs:DiscoverPollEndpoint'], resources: ['*'] }),
  ]
  return new Role(scope, `${id}InstanceRole`, {
    description: 'What the ECS agent of an instance may do',
    assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
    inlinePolicies: { agent: new PolicyDocument({ statements }) },
  })
}
