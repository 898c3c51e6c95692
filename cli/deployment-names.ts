// What a deployment's stacks are called (infra/app.ts), and what teardown and doctor look for in them. It asks nobody.
import type { StackResource } from './account/stacks.ts'

export const defaultDeploymentName = 'coglabel'

/** In an order in which they can be made; the reverse of that in which they can go. */
export function stackNamesOf(name: string) {
  return {
    network: `${name}-network`,
    data: `${name}-data`,
    compute: `${name}-compute`,
    pipeline: `${name}-pipeline`,
    observe: `${name}-observe`,
  } as const
}

/** The bucket that is the place of every verb; null where the stack has none. */
export function labelsBucketOf(resources: readonly StackResource[]): string | null {
  const bucket = resources.find(
    ({ type, logicalId }) => type === 'AWS::S3::Bucket' && logicalId.startsWith('Labels'),
  )
  return bucket === undefined || bucket.physicalId === '' ? null : bucket.physicalId
}
