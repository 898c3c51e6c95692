// What CloudWatch and Application Auto Scaling do with the scaler's lines, from the synthesized alarms and policies.
import { resourcesOf, type Synthesized } from './synthesized.ts'

type Alarm = {
  Namespace: string
  MetricName: string
  Dimensions: { Name: string; Value: string }[]
  Period: number
  EvaluationPeriods: number
  Statistic: string
  Threshold: number
  ComparisonOperator: string
  TreatMissingData?: string
  AlarmActions: { Ref: string }[]
}
type Step = {
  MetricIntervalLowerBound?: number
  MetricIntervalUpperBound?: number
  ScalingAdjustment: number
}
type Policy = {
  ScalingTargetId: { Ref: string }
  StepScalingPolicyConfiguration: { AdjustmentType: string; Cooldown: number; StepAdjustments: Step[] }
}
type Target = { MinCapacity: number; MaxCapacity: number }
type Rule = { alarm: Alarm; policy: Policy; target: Target; periodSeconds: number }

export type PoolScaling = {
  /** Takes a line of the scaler's log. */
  hear(line: string, atSeconds: number): void
  /** What the service is set to when CloudWatch looks. */
  act(desired: number, atSeconds: number): number
}

/** The scaling of one service. It forgets nothing that CloudWatch would remember. */
export function scalingOf(synthesized: Synthesized, servicePath: string): PoolScaling {
  const rules = rulesOf(synthesized, servicePath)
  if (rules.length !== 2) throw new Error(`${servicePath} has ${rules.length} alarms that act, expected 2`)
  const values: { atSeconds: number; value: number }[] = []
  let changedAt = -Infinity
  return {
    hear(line, atSeconds) {
      const value = valueOf(line, rules[0]!.alarm)
      if (value !== null) values.push({ atSeconds, value })
    },
    act(desired, atSeconds) {
      for (const { alarm, policy, target, periodSeconds } of rules) {
        const recent = values.filter((one) => one.atSeconds > atSeconds - periodSeconds)
        // Too little data is no alarm, and an alarm that is none acts on nothing.
        if (recent.length === 0) continue
        const metric = Math.max(...recent.map(({ value }) => value))
        if (!isBreached(metric, alarm)) continue
        const { StepAdjustments, Cooldown } = policy.StepScalingPolicyConfiguration
        const wanted = Math.min(
          target.MaxCapacity,
          Math.max(target.MinCapacity, adjust(metric - alarm.Threshold, StepAdjustments)),
        )
        if (wanted === desired || (wanted < desired && atSeconds - changedAt < Cooldown)) continue
        changedAt = atSeconds
        return wanted
      }
      return desired
    },
  }
}

function rulesOf(synthesized: Synthesized, servicePath: string): Rule[] {
  const policies = new Map(
    resourcesOf(synthesized, 'AWS::ApplicationAutoScaling::ScalingPolicy').map((one) => [one.id, one]),
  )
  const targets = new Map(
    resourcesOf(synthesized, 'AWS::ApplicationAutoScaling::ScalableTarget').map(({ id, resource }) => [
      id,
      resource.Properties as Target,
    ]),
  )
  return resourcesOf(synthesized, 'AWS::CloudWatch::Alarm').flatMap(({ resource }) => {
    const alarm = resource.Properties as Alarm
    const action = alarm.AlarmActions[0]
    const found = action === undefined ? undefined : policies.get(action.Ref)
    if (found === undefined || !found.path.startsWith(servicePath)) return []
    const policy = found.resource.Properties as Policy
    if (policy.StepScalingPolicyConfiguration.AdjustmentType !== 'ExactCapacity')
      throw new Error('only policies that set the capacity itself are known here')
    if (
      alarm.EvaluationPeriods !== 1 ||
      alarm.TreatMissingData !== undefined ||
      alarm.Statistic !== 'Maximum'
    )
      throw new Error('only alarms on the maximum of one period, missing where it is missing, are known here')
    const target = targets.get(policy.ScalingTargetId.Ref)
    if (target === undefined) throw new Error('the policy is of no target')
    return [{ alarm, policy, target, periodSeconds: alarm.Period }]
  })
}

/** The metric's value in an embedded line; null when it is of another metric, or of another pool. */
function valueOf(line: string, { Namespace, MetricName, Dimensions }: Alarm): number | null {
  const said = JSON.parse(line) as Record<string, unknown> & {
    _aws: { CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[] }
  }
  const isOurs = said._aws.CloudWatchMetrics.some(
    (metrics) =>
      metrics.Namespace === Namespace &&
      metrics.Metrics.some(({ Name }) => Name === MetricName) &&
      metrics.Dimensions.some(
        (names) =>
          names.toSorted().join() ===
          Dimensions.map(({ Name }) => Name)
            .toSorted()
            .join(),
      ) &&
      Dimensions.every(({ Name, Value }) => said[Name] === Value),
  )
  return isOurs ? Number(said[MetricName]) : null
}

function isBreached(metric: number, { Threshold, ComparisonOperator }: Alarm): boolean {
  if (ComparisonOperator === 'GreaterThanOrEqualToThreshold') return metric >= Threshold
  if (ComparisonOperator === 'LessThanOrEqualToThreshold') return metric <= Threshold
  throw new Error(`the operator ${ComparisonOperator} is not known here`)
}

/** Above the threshold an interval has its lower bound, below it its upper one (Application Auto Scaling, step scaling). */
function adjust(breach: number, steps: readonly Step[]): number {
  const found = steps.filter(
    ({ MetricIntervalLowerBound: lower = -Infinity, MetricIntervalUpperBound: upper = Infinity }) =>
      breach >= 0 && lower !== -Infinity
        ? lower <= breach && breach < upper
        : lower < breach && breach <= upper,
  )
  if (found.length !== 1) throw new Error(`${found.length} steps are for a breach of ${breach}`)
  return found[0]!.ScalingAdjustment
}
