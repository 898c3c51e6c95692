// How many vCPUs of GPU instances an account may have in a region. The only importer of the client of Service Quotas.
import {
  GetAWSDefaultServiceQuotaCommand,
  GetServiceQuotaCommand,
  ServiceQuotasClient,
} from '@aws-sdk/client-service-quotas'
import { explainAwsError, isNamed } from './explain.ts'
import type { AccountConnection } from './identity.ts'

/** Both count vCPUs of running G and VT instances; spot has one of its own. */
export const gpuQuotas = {
  spot: { code: 'L-3819A6DF', name: 'All G and VT Spot Instance Requests' },
  onDemand: { code: 'L-DB2E81BA', name: 'Running On-Demand G and VT instances' },
} as const

/** The account's own value, or the default where none was ever granted. Throws UserError when that is not allowed. */
export async function readQuota(code: string, { region }: AccountConnection): Promise<number> {
  const client = new ServiceQuotasClient(region === undefined ? {} : { region })
  const quota = { ServiceCode: 'ec2', QuotaCode: code }
  try {
    const { Quota } = await client
      .send(new GetServiceQuotaCommand(quota))
      .catch(async (error: unknown) => {
        if (!isNamed(error, 'NoSuchResourceException')) throw error
        return await client.send(new GetAWSDefaultServiceQuotaCommand(quota))
      })
      .catch((error: unknown) => {
        throw explainAwsError(error, 'servicequotas:GetServiceQuota')
      })
    return Quota?.Value ?? 0
  } finally {
    client.destroy()
  }
}
