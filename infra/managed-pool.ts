// A pool of workers on instances that ECS picks, patches and replaces: no groups, templates or images of ours.
import { Size, type Stack } from 'aws-cdk-lib'
import { AcceleratorManufacturer, AcceleratorType, LocalStorage, LocalStorageType } from 'aws-cdk-lib/aws-ec2'
import {
  CapacityOptionType,
  CfnCapacityProvider,
  Compatibility,
  FargateService,
  ManagedInstancesCapacityProvider,
  NetworkMode,
  TaskDefinition,
} from 'aws-cdk-lib/aws-ecs'
import { InstanceProfile, ManagedPolicy, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import { InvariantError } from '../schemas/errors.ts'
import { asProfile } from './as-interface.ts'
import { fleetNamesOf } from './names.ts'
import { type PoolOptions, serviceSettings } from './pool.ts'
import { addWorkerContainer } from './worker-task.ts'

/** Less than the fifteen minutes that a group of ours lingers: a worker that is needed again starts on a warm one. */
const scaleInAfterSeconds = 300
const taskVolumeGiB = 100

export function addManagedPool(scope: Stack, id: string, options: PoolOptions): FargateService {
  const { config, cluster, fleet, pool, instances, taskRole, executionRole } = options
  const name = `${fleetNamesOf(config, fleet).id}-${pool}`
  const provider = addProvider(scope, id, { ...options, name })
  cluster.addManagedInstancesCapacityProvider(provider)
  const task = new TaskDefinition(scope, `${id}Task`, {
    family: name,
    compatibility: Compatibility.MANAGED_INSTANCES,
    networkMode: NetworkMode.AWS_VPC,
    cpu: '3072',
    memoryMiB: String(instances.taskMemoryMiB),
    taskRole: taskRole.withoutPolicyUpdates(),
    executionRole,
    // A volume of the task; its owner is the one that the image gives the folder.
    volumes: [{ name: 'scratch' }],
  })
  addWorkerContainer(scope, task, { ...options, memoryMiB: instances.taskMemoryMiB })
  // The class for services of ECS that bring no instances of their own, whatever its name says (aws-cdk issue 36098).
  const service = new FargateService(scope, `${id}Service`, {
    ...serviceSettings(options),
    taskDefinition: task,
    capacityProviderStrategies: [{ capacityProvider: provider.capacityProviderName, weight: 1 }],
  })
  service.node.addDependency(provider)
  return service
}

function addProvider(
  scope: Stack,
  id: string,
  { name, pool, instances, subnets, workerGroup }: PoolOptions & { name: string },
): ManagedInstancesCapacityProvider {
  const role = new Role(scope, `${id}InstanceRole`, {
    description: 'What a managed instance of ECS may do',
    assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
    managedPolicies: [
      ManagedPolicy.fromAwsManagedPolicyName('AmazonECSInstanceRolePolicyForManagedInstances'),
    ],
  })
  const infrastructureRole = new Role(scope, `${id}InfrastructureRole`, {
    description: 'Lets ECS start and end the instances',
    assumedBy: new ServicePrincipal('ecs.amazonaws.com'),
    managedPolicies: [
      ManagedPolicy.fromAwsManagedPolicyName('AmazonECSInfrastructureRolePolicyForManagedInstances'),
    ],
  })
  infrastructureRole.addToPolicy(
    new PolicyStatement({
      actions: ['iam:PassRole'],
      resources: [role.roleArn],
      conditions: { StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com' } },
    }),
  )
  const provider = new ManagedInstancesCapacityProvider(scope, `${id}Capacity`, {
    capacityProviderName: name,
    capacityOptionType: pool === 'spot' ? CapacityOptionType.SPOT : CapacityOptionType.ON_DEMAND,
    infrastructureRole,
    ec2InstanceProfile: asProfile(new InstanceProfile(scope, `${id}Profile`, { role })),
    subnets,
    securityGroups: [workerGroup],
    taskVolumeStorage: Size.gibibytes(taskVolumeGiB),
    instanceRequirements: {
      vCpuCountMin: 4,
      memoryMin: Size.gibibytes(16),
      allowedInstanceTypes: instances.names,
      acceleratorTypes: [AcceleratorType.GPU],
      acceleratorManufacturers: [AcceleratorManufacturer.NVIDIA],
      acceleratorCountMin: 1,
      acceleratorCountMax: 1,
      localStorage: LocalStorage.REQUIRED,
      localStorageTypes: [LocalStorageType.SSD],
    },
  })
  // Two settings that the construct does not pass on.
  const resource = provider.node.findAll().find((child) => child instanceof CfnCapacityProvider)
  if (resource === undefined) throw new InvariantError('a managed capacity provider has no resource')
  const managed = 'ManagedInstancesProvider'
  resource.addPropertyOverride(`${managed}.InfrastructureOptimization.ScaleInAfter`, scaleInAfterSeconds)
  resource.addPropertyOverride(
    `${managed}.InstanceLaunchTemplate.LocalStorageConfiguration.UseLocalStorage`,
    true,
  )
  return provider
}
