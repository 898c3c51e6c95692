// IAM's evaluation of the few kinds of statement that we write: what is not known here throws.
import { resolved, resourcesOf, type Synthesized } from './synthesized.ts'

export type Statement = {
  Effect: 'Allow' | 'Deny'
  Action: string | string[]
  Resource?: string | string[]
  Condition?: Record<string, Record<string, string | string[]>>
  Principal?: unknown
}

export type Request = { action: string; resource: string; context?: Readonly<Record<string, string>> }

/** Whether a role with these statements may do it: something allows, and nothing denies. */
export function mayDo(statements: readonly Statement[], request: Request): boolean {
  const matching = statements.filter((statement) => matches(statement, request))
  return matching.some(({ Effect }) => Effect === 'Allow') && !isDenied(statements, request)
}

export function isDenied(statements: readonly Statement[], request: Request): boolean {
  return statements.some((statement) => statement.Effect === 'Deny' && matches(statement, request))
}

function matches({ Action, Resource = [], Condition = {} }: Statement, request: Request): boolean {
  const { action, resource, context = {} } = request
  return (
    listOf(Action).some((pattern) => isLike(action.toLowerCase(), pattern.toLowerCase())) &&
    listOf(Resource).some((pattern) => isLike(resource, pattern)) &&
    Object.entries(Condition).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) => holds(operator, context[key], listOf(wanted))),
    )
  )
}

function holds(operator: string, value: string | undefined, wanted: readonly string[]): boolean {
  switch (operator) {
    case 'Null':
      return wanted.includes(String(value === undefined))
    case 'StringEquals':
    case 'Bool':
      return value !== undefined && wanted.includes(value)
    case 'StringLike':
    case 'ArnEquals':
      return value !== undefined && wanted.some((pattern) => isLike(value, pattern))
    case 'NumericLessThan':
      return value !== undefined && wanted.some((limit) => Number(value) < Number(limit))
    default:
      throw new Error(`the operator ${operator} is not known here; teach it to this file`)
  }
}

function isLike(text: string, pattern: string): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`, 's').test(text)
}

function listOf(value: string | number | readonly string[]): readonly string[] {
  return typeof value === 'object' ? value : [String(value)]
}

/** The statements of every role, inline and attached, by the name of its construct. */
export function statementsByRole(synthesized: Synthesized): Map<string, Statement[]> {
  const roles = new Map<string, Statement[]>()
  const ids = new Map<string, string>()
  for (const { id, path, resource } of resourcesOf(synthesized, 'AWS::IAM::Role')) {
    const name = path.split('/')[1] ?? id
    const policies = (resource.Properties['Policies'] ?? []) as { PolicyDocument: { Statement: unknown } }[]
    ids.set(id, name)
    roles.set(
      name,
      policies.flatMap(({ PolicyDocument }) => resolved(PolicyDocument.Statement) as Statement[]),
    )
  }
  for (const { resource } of resourcesOf(synthesized, 'AWS::IAM::Policy')) {
    const { Roles, PolicyDocument } = resource.Properties as {
      Roles: { Ref: string }[]
      PolicyDocument: { Statement: unknown }
    }
    for (const { Ref } of Roles)
      roles.get(ids.get(Ref) ?? '')?.push(...(resolved(PolicyDocument.Statement) as Statement[]))
  }
  return roles
}

/** The statements of the policies of buckets, queues and topics, by the construct they are for. */
export function resourcePolicies(synthesized: Synthesized): Map<string, Statement[]> {
  const types = ['AWS::S3::BucketPolicy', 'AWS::SQS::QueuePolicy', 'AWS::SNS::TopicPolicy', 'AWS::KMS::Key']
  const found = types.flatMap((type) => resourcesOf(synthesized, type))
  return new Map(
    found.map(({ path, resource }) => {
      const { PolicyDocument, KeyPolicy } = resource.Properties as Record<string, { Statement: unknown }>
      const document = PolicyDocument ?? KeyPolicy
      return [path.split('/')[1] ?? path, resolved(document?.Statement) as Statement[]]
    }),
  )
}
