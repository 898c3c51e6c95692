// The stacks of a deployment: how they stand, what is in them, what outlives them, and their end. The only importer of
// the client of CloudFormation.
import {
  CloudFormationClient,
  DeleteStackCommand,
  DescribeStackEventsCommand,
  DescribeStacksCommand,
  GetTemplateCommand,
  ListStackResourcesCommand,
} from '@aws-sdk/client-cloudformation'
import { z } from 'zod'
import { explainAwsError } from './explain.ts'
import type { AccountConnection } from './identity.ts'

export type Stack = {
  name: string
  /** As CloudFormation has it: CREATE_COMPLETE, DELETE_FAILED, … */
  status: string
  reason: string
}

export type StackResource = {
  logicalId: string
  type: string
  /** Its name or ARN in the account; empty before it is made. */
  physicalId: string
}

export type Stacks = {
  /** Null where there is none of this name. */
  find(name: string): Promise<Stack | null>
  resources(name: string): Promise<StackResource[]>
  /** Logical ids of what stays when the stack goes. */
  retained(name: string): Promise<Set<string>>
  /** Returns before it is gone. */
  remove(name: string): Promise<void>
  /** Why things of the stack could not be deleted, newest first. */
  failures(name: string): Promise<string[]>
  close(): void
}

const maxFailuresShown = 5

/** The second keeps what a stack made, but not what it failed to make; CDK writes it for RETAIN_ON_UPDATE_OR_DELETE. */
export const keepingPolicies = ['Retain', 'RetainExceptOnCreate']

/** What a template says of a resource. */
const Template = z.object({
  Resources: z.record(z.string(), z.object({ DeletionPolicy: z.string().optional() })),
})

/** Each call throws UserError when it is not allowed, and RetryableError when it does not work. */
export function openStacks({ region }: AccountConnection): Stacks {
  const client = new CloudFormationClient(region === undefined ? {} : { region })
  return {
    async find(name) {
      const described = await client
        .send(new DescribeStacksCommand({ StackName: name }))
        .catch((error: unknown) => {
          if (isMissing(error)) return null
          throw explainAwsError(error, 'cloudformation:DescribeStacks')
        })
      const stack = described?.Stacks?.[0]
      if (stack === undefined) return null
      return { name, status: stack.StackStatus ?? '', reason: stack.StackStatusReason ?? '' }
    },
    resources: async (name) => await listResources(client, name),
    async retained(name) {
      const { TemplateBody = '{"Resources":{}}' } = await client
        .send(new GetTemplateCommand({ StackName: name }))
        .catch((error: unknown) => {
          throw explainAwsError(error, 'cloudformation:GetTemplate')
        })
      // CDK writes JSON.
      const { Resources } = Template.parse(JSON.parse(TemplateBody))
      const kept = Object.entries(Resources).filter(([, { DeletionPolicy }]) =>
        keepingPolicies.includes(DeletionPolicy ?? ''),
      )
      return new Set(kept.map(([logicalId]) => logicalId))
    },
    async remove(name) {
      await client.send(new DeleteStackCommand({ StackName: name })).catch((error: unknown) => {
        throw explainAwsError(error, 'cloudformation:DeleteStack')
      })
    },
    async failures(name) {
      const { StackEvents = [] } = await client
        .send(new DescribeStackEventsCommand({ StackName: name }))
        .catch((error: unknown) => {
          throw explainAwsError(error, 'cloudformation:DescribeStackEvents')
        })
      return StackEvents.filter(({ ResourceStatus }) => ResourceStatus === 'DELETE_FAILED')
        .map(
          ({ LogicalResourceId, ResourceStatusReason }) =>
            `${LogicalResourceId ?? ''}: ${ResourceStatusReason ?? 'no reason was given'}`,
        )
        .slice(0, maxFailuresShown)
    },
    close: () => client.destroy(),
  }
}

async function listResources(client: CloudFormationClient, name: string): Promise<StackResource[]> {
  const resources: StackResource[] = []
  let next: string | undefined
  do {
    const page = await client
      .send(
        new ListStackResourcesCommand({
          StackName: name,
          ...(next === undefined ? {} : { NextToken: next }),
        }),
      )
      .catch((error: unknown) => {
        throw explainAwsError(error, 'cloudformation:ListStackResources')
      })
    for (const one of page.StackResourceSummaries ?? []) {
      if (one.ResourceStatus === 'DELETE_COMPLETE') continue
      resources.push({
        logicalId: one.LogicalResourceId ?? '',
        type: one.ResourceType ?? '',
        physicalId: one.PhysicalResourceId ?? '',
      })
    }
    next = page.NextToken
  } while (next !== undefined)
  return resources
}

/** CloudFormation has no name of its own for that error. */
function isMissing(error: unknown): boolean {
  return (
    error instanceof Error && error.name === 'ValidationError' && error.message.includes('does not exist')
  )
}
