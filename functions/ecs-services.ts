// How many workers ECS is asked for and runs, by service. The only importer of its client.
import { DescribeServicesCommand, ECSClient } from '@aws-sdk/client-ecs'
import type { PoolCounts, Pools } from '../dataset/scale.ts'
import { RetryableError, UserError } from '../schemas/errors.ts'

export type EcsServices = { cluster: string; spot: string; onDemand: string | undefined }

/** Reads both services. Throws UserError for one that is not there, RetryableError when ECS does not answer. */
export function openEcsServices({ cluster, spot, onDemand }: EcsServices): () => Promise<Pools> {
  const client = new ECSClient({})
  const services = onDemand === undefined ? [spot] : [spot, onDemand]
  return async () => {
    const { services: found = [] } = await client
      .send(new DescribeServicesCommand({ cluster, services }))
      .catch((error: unknown) => {
        throw new RetryableError(`ECS did not describe the services of ${cluster}`, { cause: error })
      })
    const countsOf = (name: string): PoolCounts => {
      const service = found.find(({ serviceName, serviceArn }) => serviceName === name || serviceArn === name)
      if (service === undefined) throw new UserError(`there is no service ${name} in ${cluster}; deploy it`)
      return { desired: service.desiredCount ?? 0, running: service.runningCount ?? 0 }
    }
    return {
      spot: countsOf(spot),
      onDemand: onDemand === undefined ? { desired: 0, running: 0 } : countsOf(onDemand),
    }
  }
}
