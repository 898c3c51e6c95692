// The workers of a deployment as ECS has them, brought to zero. Other than functions/ecs-services.ts, which looks and
// may nothing else, this changes them.
import {
  DescribeServicesCommand,
  ECSClient,
  ListTasksCommand,
  StopTaskCommand,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs'
import { explainAwsError, isNamed } from './explain.ts'
import type { AccountConnection } from './identity.ts'

export type WorkerServices = {
  /** Asks for none, and stops those that run: they finish or give back what they hold. Returns how many run. */
  drain(services: readonly string[]): Promise<number>
  close(): void
}

/** Of services of one cluster. Throws UserError when it is not allowed, and RetryableError when it does not work. */
export function openWorkerServices(cluster: string, { region }: AccountConnection): WorkerServices {
  const client = new ECSClient(region === undefined ? {} : { region })
  const drainOne = async (service: string): Promise<number> => {
    const { services: [found] = [] } = await client.send(
      new DescribeServicesCommand({ cluster, services: [service] }),
    )
    if (found === undefined || found.status === 'INACTIVE') return 0
    if (found.desiredCount !== 0)
      await client.send(new UpdateServiceCommand({ cluster, service, desiredCount: 0 }))
    // Tasks that protect themselves from scaling in would stay for as long as they work.
    const { taskArns = [] } = await client.send(new ListTasksCommand({ cluster, serviceName: service }))
    for (const task of taskArns)
      await client.send(new StopTaskCommand({ cluster, task, reason: 'coglabel teardown' }))
    return Math.max(found.runningCount ?? 0, taskArns.length)
  }
  return {
    async drain(services) {
      let running = 0
      for (const service of services)
        running += await drainOne(service).catch((error: unknown) => {
          if (isNamed(error, 'ClusterNotFoundException', 'ServiceNotFoundException')) return 0
          throw explainAwsError(error, 'ecs:UpdateService')
        })
      return running
    },
    close: () => client.destroy(),
  }
}
