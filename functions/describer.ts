// Lambda root, called by CloudFormation: writes what the deployment is into its labels bucket, where every verb and
// function looks first. It knows nothing of what it writes but the schema.
import { z } from 'zod'
import { openS3Store, openS3Sweeper } from '../dataset/stores/s3.ts'
import { Deployment, deploymentKey } from '../schemas/deployment.ts'

const ResourceEvent = z.object({
  RequestType: z.enum(['Create', 'Update', 'Delete']),
  ResponseURL: z.url(),
  StackId: z.string(),
  RequestId: z.string(),
  LogicalResourceId: z.string(),
  PhysicalResourceId: z.string().optional(),
  ResourceProperties: z.object({ deployment: z.string() }),
})
type ResourceEvent = z.infer<typeof ResourceEvent>

const Environment = z.object({
  COGLABEL_AWS_ENDPOINT: z.url().optional().describe('another server that speaks S3'),
})

/** Answers CloudFormation whatever happens: it waits for an hour where nobody does. */
export async function handler(event: unknown): Promise<void> {
  const request = ResourceEvent.parse(event)
  try {
    // Of a deployment that goes the description stays, as the labels do.
    if (request.RequestType !== 'Delete') await describe(request)
    await answer(request, { Status: 'SUCCESS' })
  } catch (error) {
    const Reason = error instanceof Error ? error.message.slice(0, 1000) : String(error)
    await answer(request, { Status: 'FAILED', Reason })
  }
}

/** Replaces the object; an end in between is mended by CloudFormation's next try. */
async function describe({ ResourceProperties }: ResourceEvent): Promise<void> {
  const deployment = Deployment.parse(JSON.parse(ResourceProperties.deployment))
  const { COGLABEL_AWS_ENDPOINT } = Environment.parse(process.env)
  const connection = {
    bucket: deployment.labelsBucket,
    ...(COGLABEL_AWS_ENDPOINT === undefined ? {} : { endpoint: COGLABEL_AWS_ENDPOINT, forcePathStyle: true }),
  }
  const [store, sweeper] = [openS3Store(connection), openS3Sweeper(connection)]
  try {
    const bytes = Buffer.from(`${JSON.stringify(deployment, null, 2)}\n`)
    const standing = await store.get(deploymentKey)
    if (standing !== null && bytes.equals(standing)) return
    if (standing !== null) await sweeper.remove([deploymentKey])
    await store.putIfAbsent(deploymentKey, bytes)
  } finally {
    store.close()
    sweeper.close()
  }
}

async function answer(
  { ResponseURL, StackId, RequestId, LogicalResourceId, PhysicalResourceId }: ResourceEvent,
  outcome: { Status: 'SUCCESS' | 'FAILED'; Reason?: string },
): Promise<void> {
  const body = {
    StackId,
    RequestId,
    LogicalResourceId,
    PhysicalResourceId: PhysicalResourceId ?? deploymentKey,
  }
  // A presigned URL, signed without a content type.
  const headers = { 'content-type': '' }
  await fetch(ResponseURL, { method: 'PUT', headers, body: JSON.stringify({ ...body, ...outcome }) })
}
