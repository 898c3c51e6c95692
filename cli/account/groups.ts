// Auto scaling groups of a deployment, emptied so that they can be deleted: CloudFormation waits for instances that are
// protected from scaling in until it gives up. The only importer of the client of Auto Scaling.
import {
  AutoScalingClient,
  DescribeAutoScalingGroupsCommand,
  SetInstanceProtectionCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import { explainAwsError } from './explain.ts'
import type { AccountConnection } from './identity.ts'

export type InstanceGroups = {
  /** Asks for no instance and lets those that are there end. Returns how many are left. */
  empty(groups: readonly string[]): Promise<number>
  close(): void
}

/** Of the service: instances in one request. */
const maxInstancesPerCall = 50

/** Throws UserError when it is not allowed, and RetryableError when it does not work. */
export function openInstanceGroups({ region }: AccountConnection): InstanceGroups {
  const client = new AutoScalingClient(region === undefined ? {} : { region })
  const emptyGroups = async (names: readonly string[]): Promise<number> => {
    if (names.length === 0) return 0
    const { AutoScalingGroups = [] } = await client.send(
      new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [...names] }),
    )
    let left = 0
    for (const { AutoScalingGroupName, Instances = [], DesiredCapacity, MaxSize } of AutoScalingGroups) {
      left += Instances.length
      if (DesiredCapacity !== 0 || MaxSize !== 0)
        await client.send(
          new UpdateAutoScalingGroupCommand({
            AutoScalingGroupName,
            MinSize: 0,
            MaxSize: 0,
            DesiredCapacity: 0,
            NewInstancesProtectedFromScaleIn: false,
          }),
        )
      // Of one that begins or ends it cannot be changed: the next look finds it in service, or gone.
      const guarded = Instances.filter(
        ({ ProtectedFromScaleIn, LifecycleState }) =>
          ProtectedFromScaleIn === true && LifecycleState === 'InService',
      )
      for (let at = 0; at < guarded.length; at += maxInstancesPerCall)
        await client.send(
          new SetInstanceProtectionCommand({
            AutoScalingGroupName,
            InstanceIds: guarded
              .slice(at, at + maxInstancesPerCall)
              .map(({ InstanceId }) => InstanceId ?? ''),
            ProtectedFromScaleIn: false,
          }),
        )
    }
    return left
  }
  return {
    async empty(groups) {
      return await emptyGroups(groups).catch((error: unknown) => {
        throw explainAwsError(error, 'autoscaling:UpdateAutoScalingGroup')
      })
    },
    close: () => client.destroy(),
  }
}
