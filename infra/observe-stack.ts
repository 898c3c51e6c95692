// What people look at and are told: a dashboard, alarms, a budget.
import { Duration, Stack, type StackProps } from 'aws-cdk-lib'
import { CfnBudget } from 'aws-cdk-lib/aws-budgets'
import {
  Alarm,
  ComparisonOperator,
  Dashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  Metric,
  Stats,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch'
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions'
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import { Topic } from 'aws-cdk-lib/aws-sns'
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions'
import type { Construct } from 'constructs'
import { tasksNeeded } from './compute-stack.ts'
import type { InfraConfig } from './config.ts'
import { pascal } from './data-stack.ts'
import { type FleetNames, fleetNamesOf, type Names } from './names.ts'
import type { ScheduledFunction } from './pipeline-stack.ts'
import type { PoolKind } from './pool.ts'

export type ObserveProps = StackProps & {
  config: InfraConfig
  names: Names
  functions: readonly ScheduledFunction[]
}

type AlarmOptions = {
  description: string
  metric: IMetric
  threshold: number
  /** Above it, or at it and above. */
  isAtLeast?: boolean
  /** Of the metric, in a row; minutes, where it says nothing else. */
  periods?: number
  missing?: TreatMissingData
}

export class ObserveStack extends Stack {
  readonly #topic: Topic
  readonly #props: ObserveProps

  constructor(scope: Construct, id: string, props: ObserveProps) {
    super(scope, id, props)
    this.#props = props
    const { config } = props
    this.#topic = this.#addTopic()
    const fleets = config.fleets.map((fleet) => ({
      id: config.fleets.length === 1 ? '' : pascal(fleet.name),
      own: fleetNamesOf(config, fleet),
      hasModel: fleet.model !== null,
    }))
    for (const fleet of fleets) this.#addFleetAlarms(fleet)
    for (const one of props.functions) this.#addFunctionAlarm(one)
    this.#addDashboard(fleets.map(({ own }) => own))
    if (config.budgetUsd !== null) this.#addBudget(config.budgetUsd)
  }

  #addTopic(): Topic {
    const topic = new Topic(this, 'Alarms', {
      topicName: `${this.#props.config.name}-alarms`,
      enforceSSL: true,
    })
    topic.addToResourcePolicy(
      new PolicyStatement({
        principals: [
          new ServicePrincipal('budgets.amazonaws.com'),
          new ServicePrincipal('cloudwatch.amazonaws.com'),
        ],
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: { StringEquals: { 'aws:SourceAccount': this.account } },
      }),
    )
    for (const email of this.#props.config.alarmEmails) topic.addSubscription(new EmailSubscription(email))
    return topic
  }

  #addFleetAlarms({ id, own }: { id: string; own: FleetNames }): void {
    const { config } = this.#props
    const oldest = queueMetric(own.queue, 'ApproximateAgeOfOldestMessage')
    const waiting = queueMetric(own.queue, 'ApproximateNumberOfMessagesVisible')
    const needed = bothPools('needed', (pool) => tasksNeeded(own.id, pool))
    const running = bothPools('running', (pool) => runningWorkers(this.#props.names, own, pool))
    this.#addAlarm(`${id}DeadLetters`, {
      description: `Messages of ${own.id} were delivered too often: coglabel redrive says why`,
      metric: queueMetric(own.deadLetters, 'ApproximateNumberOfMessagesVisible'),
      threshold: 1,
      isAtLeast: true,
    })
    this.#addAlarm(`${id}Late`, {
      description: `Images of ${own.id} wait for longer than the objective of ${config.objectiveSeconds} s`,
      // The age alone stays where it was when a queue is empty.
      metric: new MathExpression({
        expression: 'IF(waiting > 0, oldest, 0)',
        usingMetrics: { waiting, oldest },
        period: minute,
      }),
      threshold: config.objectiveSeconds,
      periods: 5,
    })
    this.#addAlarm(`${id}NoCapacity`, {
      description: `Workers of ${own.id} are needed and none runs: look at quotas and at spot capacity`,
      metric: new MathExpression({
        expression: 'IF(needed > 0 AND running < 1, 1, 0)',
        usingMetrics: { needed, running },
        period: minute,
      }),
      threshold: 1,
      isAtLeast: true,
      periods: 15,
    })
    this.#addAlarm(`${id}NoDecision`, {
      description: `The scaler of ${own.id} has said nothing for ten minutes: capacity stays as it is`,
      metric: tasksNeeded(own.id, 'spot').with({ statistic: Stats.SAMPLE_COUNT }),
      threshold: 0,
      periods: 10,
      missing: TreatMissingData.BREACHING,
    })
    this.#addErrorAlarm(id, own)
  }

  /** Of records, by both pools. A few bad images among many are what records are for. */
  #addErrorAlarm(id: string, own: FleetNames): void {
    const failed = bothPools('failed', (pool) => workerMetric(own, pool, 'FailedRecords'))
    const written = bothPools('written', (pool) => workerMetric(own, pool, 'RecordsWritten'))
    this.#addAlarm(`${id}Failures`, {
      description: `More than 2 % of the records of ${own.id} failed`,
      metric: new MathExpression({
        expression: 'IF(written > 0, 100 * failed / written, 0)',
        usingMetrics: { failed, written },
        period: minute,
      }),
      threshold: 2,
      periods: 15,
    })
  }

  /** Three periods in a row, each as long as it takes until the function is called again: else it never fails in all. */
  #addFunctionAlarm({ name, functionName, everyMinutes }: ScheduledFunction): void {
    this.#addAlarm(`${name}Errors`, {
      description: `The function ${functionName} fails again and again: its log says why`,
      metric: new Metric({
        namespace: 'AWS/Lambda',
        metricName: 'Errors',
        dimensionsMap: { FunctionName: functionName },
        statistic: Stats.SUM,
        period: Duration.minutes(Math.max(5, everyMinutes ?? 0)),
      }),
      threshold: 1,
      isAtLeast: true,
      periods: 3,
    })
  }

  #addAlarm(
    id: string,
    { description, metric, threshold, isAtLeast = false, periods = 1, missing }: AlarmOptions,
  ): void {
    const alarm = new Alarm(this, id, {
      alarmDescription: description,
      metric,
      threshold,
      comparisonOperator: isAtLeast
        ? ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        : ComparisonOperator.GREATER_THAN_THRESHOLD,
      evaluationPeriods: periods,
      treatMissingData: missing ?? TreatMissingData.NOT_BREACHING,
    })
    alarm.addAlarmAction(new SnsAction(this.#topic))
    if (periods > 1) alarm.addOkAction(new SnsAction(this.#topic))
  }

  #addDashboard(fleets: readonly FleetNames[]): void {
    const { config, names } = this.#props
    const dashboard = new Dashboard(this, 'Dashboard', { dashboardName: config.name })
    for (const own of fleets) {
      const pools = ['spot', 'on-demand'] as const
      const graph = (title: string, left: IMetric[]) => new GraphWidget({ title, left, width: 8, height: 6 })
      dashboard.addWidgets(
        graph(`${own.id}: messages`, [
          queueMetric(own.queue, 'ApproximateNumberOfMessagesVisible'),
          queueMetric(own.queue, 'ApproximateNumberOfMessagesNotVisible'),
          queueMetric(own.deadLetters, 'ApproximateNumberOfMessagesVisible'),
        ]),
        graph(`${own.id}: workers needed and running`, [
          ...pools.map((pool) => tasksNeeded(own.id, pool)),
          ...pools.map((pool) => runningWorkers(names, own, pool)),
        ]),
        graph(
          `${own.id}: images and failures a minute`,
          pools.flatMap((pool) => [
            workerMetric(own, pool, 'ImagesLabelled'),
            workerMetric(own, pool, 'FailedRecords'),
          ]),
        ),
      )
    }
  }

  /** It tells, and stops nothing: what stops is the cost cap of a run. */
  #addBudget(budgetUsd: number): void {
    const { config } = this.#props
    const subscribers = [{ subscriptionType: 'SNS', address: this.#topic.topicArn }]
    const at = (threshold: number, notificationType: 'ACTUAL' | 'FORECASTED') => ({
      notification: {
        comparisonOperator: 'GREATER_THAN',
        notificationType,
        threshold,
        thresholdType: 'PERCENTAGE',
      },
      subscribers,
    })
    new CfnBudget(this, 'Budget', {
      budget: {
        budgetName: config.name,
        budgetType: 'COST',
        timeUnit: 'MONTHLY',
        budgetLimit: { amount: budgetUsd, unit: 'USD' },
        costFilters: { TagKeyValue: [`user:deployment$${config.name}`] },
      },
      notificationsWithSubscribers: [at(80, 'ACTUAL'), at(100, 'ACTUAL'), at(100, 'FORECASTED')],
    })
  }
}

const minute = Duration.minutes(1)

/** The sum over both pools, of which one may have nothing to say. */
function bothPools(label: string, metricOf: (pool: PoolKind) => Metric): MathExpression {
  const [spot, onDemand] = [`${label}Spot`, `${label}OnDemand`]
  return new MathExpression({
    label,
    expression: `FILL(${spot}, 0) + FILL(${onDemand}, 0)`,
    usingMetrics: { [spot]: metricOf('spot'), [onDemand]: metricOf('on-demand') },
    period: minute,
  })
}

function queueMetric(queue: string, metricName: string): Metric {
  const dimensionsMap = { QueueName: queue }
  return new Metric({
    namespace: 'AWS/SQS',
    metricName,
    dimensionsMap,
    period: minute,
    statistic: Stats.MAXIMUM,
  })
}

/** Container Insights counts them. */
function runningWorkers(names: Names, own: FleetNames, pool: PoolKind): Metric {
  return new Metric({
    namespace: 'ECS/ContainerInsights',
    metricName: 'RunningTaskCount',
    dimensionsMap: {
      ClusterName: names.cluster,
      ServiceName: pool === 'spot' ? own.spotService : own.onDemandService,
    },
    period: minute,
    statistic: Stats.MAXIMUM,
  })
}

/** Printed by workers (gpu-worker/cloud/metrics.ts). */
function workerMetric(own: FleetNames, pool: PoolKind, metricName: string): Metric {
  return new Metric({
    namespace: 'coglabel',
    metricName,
    dimensionsMap: { service: 'gpu-worker', pool: `${own.id}-${pool}` },
    period: minute,
    statistic: Stats.SUM,
  })
}
