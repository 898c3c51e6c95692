// Whose account the credentials are of, and which region requests go to. The only importer of the client of STS.
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { UserError } from '../../schemas/errors.ts'
import { explainAwsError } from './explain.ts'

export type AccountConnection = { region?: string | undefined }

export type Identity = { account: string; arn: string; region: string }

/** Throws UserError where no region is set, or no credentials are found, or they are refused. */
export async function whoAmI({ region }: AccountConnection): Promise<Identity> {
  const client = new STSClient(region === undefined ? {} : { region })
  try {
    const known = await client.config.region().catch((cause: unknown) => {
      throw new UserError(
        'no region is set; give --region, or set AWS_REGION, or run aws configure set region us-east-1',
        { cause },
      )
    })
    const { Account = '', Arn = '' } = await client
      .send(new GetCallerIdentityCommand({}))
      .catch((error: unknown) => {
        throw explainAwsError(error, 'sts:GetCallerIdentity')
      })
    return { account: Account, arn: Arn, region: known }
  } finally {
    client.destroy()
  }
}
