// What a pool of workers is made from, whichever kind of instances it has.
import type { ISecurityGroup, ISubnet } from 'aws-cdk-lib/aws-ec2'
import type { Cluster, ContainerImage } from 'aws-cdk-lib/aws-ecs'
import type { Role } from 'aws-cdk-lib/aws-iam'
import type { LogGroup } from 'aws-cdk-lib/aws-logs'
import { asCluster } from './as-interface.ts'
import type { FleetConfig, InfraConfig } from './config.ts'
import type { InstanceChoice } from './instances.ts'
import { fleetNamesOf, type Names } from './names.ts'

export type PoolKind = 'spot' | 'on-demand'

export type PoolOptions = {
  config: InfraConfig
  names: Names
  cluster: Cluster
  fleet: FleetConfig
  pool: PoolKind
  instances: InstanceChoice
  taskRole: Role
  executionRole: Role
  logGroup: LogGroup
  image: ContainerImage
  subnets: ISubnet[]
  workerGroup: ISecurityGroup
}

/** Workers that a pool has at most; a pool that may have none is there all the same, and stays at zero. */
export function maxWorkers({ fleet, pool }: Pick<PoolOptions, 'fleet' | 'pool'>): number {
  return pool === 'spot' ? fleet.maxSpot : fleet.maxOnDemand
}

/** What both kinds of service are told alike. */
export function serviceSettings({ config, fleet, pool, cluster, subnets, workerGroup }: PoolOptions) {
  const own = fleetNamesOf(config, fleet)
  return {
    cluster: asCluster(cluster),
    serviceName: pool === 'spot' ? own.spotService : own.onDemandService,
    // From zero, also when a deployment changes it: what works is protected, and the next look asks for it again.
    desiredCount: 0,
    minHealthyPercent: 0,
    maxHealthyPercent: 100,
    circuitBreaker: { enable: true, rollback: true },
    enableExecuteCommand: false,
    enableECSManagedTags: true,
    vpcSubnets: { subnets },
    securityGroups: [workerGroup],
  }
}
