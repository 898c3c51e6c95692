// The workers: for each fleet a service on spot instances and one on demand, both from zero and back to it by the
// scaler's metric.
import { Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib'
import { AdjustmentType } from 'aws-cdk-lib/aws-applicationautoscaling'
import { Metric, Stats } from 'aws-cdk-lib/aws-cloudwatch'
import type { ISecurityGroup, ISubnet, IVpc } from 'aws-cdk-lib/aws-ec2'
import { type BaseService, Cluster, type ContainerImage, ContainerInsights } from 'aws-cdk-lib/aws-ecs'
import { PolicyDocument, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs'
import type { Construct } from 'constructs'
import type { FleetConfig, InfraConfig } from './config.ts'
import { pascal } from './data-stack.ts'
import { addInstancePool } from './instance-pool.ts'
import { chooseInstances } from './instances.ts'
import { addManagedPool } from './managed-pool.ts'
import { fleetNamesOf, type Names } from './names.ts'
import { workerStatements } from './permissions.ts'
import { maxWorkers, type PoolKind } from './pool.ts'
import { removalOfLogs } from './removal.ts'
import { scalingSteps } from './scaling-steps.ts'
import { digestOf, secondFleet, workerImage } from './worker-task.ts'

export type ComputeProps = StackProps & {
  config: InfraConfig
  names: Names
  dataKeyArn: string | null
  vpc: IVpc
  subnets: ISubnet[]
  workerGroup: ISecurityGroup
}

export class ComputeStack extends Stack {
  readonly cluster: Cluster
  readonly #props: ComputeProps

  constructor(scope: Construct, id: string, props: ComputeProps) {
    super(scope, id, props)
    this.#props = props
    const { config, names, vpc } = props
    this.cluster = new Cluster(this, 'Cluster', {
      vpc,
      clusterName: names.cluster,
      containerInsightsV2: ContainerInsights.ENHANCED,
    })
    const image = workerImage(this, config)
    for (const fleet of config.fleets) this.#addFleet(fleet, image)
  }

  #addFleet(fleet: FleetConfig, image: ContainerImage): void {
    const { config, names, dataKeyArn, subnets, workerGroup } = this.#props
    const own = fleetNamesOf(config, fleet)
    const id = pascal(fleet.name)
    const second = secondFleet(config, fleet)
    const logGroup = new LogGroup(this, `${id}Log`, {
      logGroupName: `/coglabel/${own.id}`,
      // The numbers of the setting are those of the enumeration.
      retention: config.logDays as RetentionDays,
      removalPolicy: removalOfLogs,
    })
    const statements = workerStatements(
      { config, names, dataKeyArn },
      { fleet: own, sendsTo: second === null ? [] : [second], digest: digestOf(fleet) },
    )
    const taskRole = new Role(this, `${id}TaskRole`, {
      description: `What workers of ${own.id} may do`,
      roleName: own.taskRole,
      assumedBy: new ServicePrincipal('ecs-tasks.amazonaws.com'),
      inlinePolicies: { own: new PolicyDocument({ statements }) },
    })
    const executionRole = new Role(this, `${id}ExecutionRole`, {
      description: `Pulls the image of ${own.id} and opens its log`,
      assumedBy: new ServicePrincipal('ecs-tasks.amazonaws.com'),
    })
    const instances = chooseInstances({
      sizeBytes: fleet.model?.sizeBytes ?? 0,
      names: fleet.instanceTypes,
    })
    const addPool = config.compute === 'managed-instances' ? addManagedPool : addInstancePool
    for (const pool of ['spot', 'on-demand'] as const) {
      const options = { config, names, fleet, pool, instances, image, subnets, workerGroup }
      const roles = { taskRole, executionRole, logGroup, cluster: this.cluster }
      const service = addPool(this, `${id}${pascal(pool)}`, { ...options, ...roles })
      service.applyRemovalPolicy(RemovalPolicy.DESTROY)
      scaleByNeed(service, { fleet, fleetId: own.id, pool })
    }
  }
}

/** How often the scaler looks, and so how often there is a value. */
const period = Duration.minutes(1)

/**
 * Sets the service to what the scaler says, whenever it says so. A minute without a value changes nothing: an alarm
 * with too little data acts on neither side.
 */
function scaleByNeed(
  service: BaseService,
  { fleet, fleetId, pool }: { fleet: FleetConfig; fleetId: string; pool: PoolKind },
): void {
  const maxCapacity = maxWorkers({ fleet, pool })
  if (maxCapacity === 0) return
  service.autoScaleTaskCount({ minCapacity: 0, maxCapacity }).scaleOnMetric('Need', {
    metric: tasksNeeded(fleetId, pool),
    adjustmentType: AdjustmentType.EXACT_CAPACITY,
    scalingSteps: scalingSteps(maxCapacity),
    evaluationPeriods: 1,
    datapointsToAlarm: 1,
    cooldown: Duration.seconds(60),
  })
}

/** The metric that the scaler prints (dataset/scale.ts). */
export function tasksNeeded(fleetId: string, pool: PoolKind): Metric {
  return new Metric({
    namespace: 'coglabel',
    metricName: 'TasksNeeded',
    dimensionsMap: { fleet: fleetId, pool: pool === 'spot' ? 'spot' : 'onDemand' },
    period,
    statistic: Stats.MAXIMUM,
  })
}
