// An AWS account in small: a real HTTP server that speaks the protocols of STS, Service Quotas, CloudFormation, ECS and
// Auto Scaling as far as doctor and teardown ask them, and that has their traps: instances that are protected from
// scaling in keep their group, and a scaler that is still there asks for workers again.
import { onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { startHttpServer, type HttpAnswer, type HttpCall } from './http-server.ts'

export type FakeStack = {
  status: string
  resources: { logicalId: string; type: string; physicalId: string; policy?: string }[]
}

/** In service unless it says otherwise; protection is changed of those alone that are. */
type FakeInstance = { id: string; isProtected: boolean; state?: 'Pending' | 'Terminating' }

export type FakeAccount = {
  quotas: Record<string, number | undefined>
  /** Of quotas that were never granted. */
  defaultQuota: number
  stacks: Map<string, FakeStack>
  services: Map<string, { desired: number; running: number; tasks: number }>
  groups: Map<string, { desired: number; max: number; instances: FakeInstance[] }>
  /** Buckets that are not empty. */
  fullBuckets: Set<string>
  /** Actions that are refused. */
  denied: Set<string>
  /** What was changed, in order. */
  log: string[]
}

export const accountId = '123456789012'

/** Starts it and points the SDK of this process at it, until the test ends. */
export async function startAccount(account: Partial<FakeAccount> = {}): Promise<FakeAccount> {
  const whole: FakeAccount = {
    quotas: { 'L-3819A6DF': 64, 'L-DB2E81BA': 32 },
    defaultQuota: 0,
    stacks: new Map(),
    services: new Map(),
    groups: new Map(),
    fullBuckets: new Set(),
    denied: new Set(),
    log: [],
    ...account,
  }
  const { endpoint } = await startHttpServer((call) => answer(call, whole))
  for (const service of ['STS', 'SERVICE_QUOTAS', 'CLOUDFORMATION', 'ECS', 'AUTO_SCALING'])
    vi.stubEnv(`AWS_ENDPOINT_URL_${service}`, endpoint)
  vi.stubEnv('AWS_ACCESS_KEY_ID', process.env['AWS_ACCESS_KEY_ID'] ?? 'AKIDTEST')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', process.env['AWS_SECRET_ACCESS_KEY'] ?? 'secret')
  vi.stubEnv('AWS_REGION', 'us-east-1')
  onTestFinished(() => void vi.unstubAllEnvs())
  return whole
}

/** Five stacks as infra makes them, with two workers on two protected instances. */
export function deployedAccount({ labelsBucket = 'labels', queueUrl = '' } = {}): Partial<FakeAccount> {
  const cluster = `arn:aws:ecs:us-east-1:${accountId}:cluster/coglabel`
  const service = `arn:aws:ecs:us-east-1:${accountId}:service/coglabel/coglabel-labels-spot`
  const keep = { policy: 'RetainExceptOnCreate' }
  const stack = (resources: FakeStack['resources']): FakeStack => ({ status: 'CREATE_COMPLETE', resources })
  return {
    stacks: new Map([
      ['coglabel-network', stack([{ logicalId: 'Vpc', type: 'AWS::EC2::VPC', physicalId: 'vpc-1' }])],
      [
        'coglabel-data',
        stack([
          { logicalId: 'LabelsF1', type: 'AWS::S3::Bucket', physicalId: labelsBucket, ...keep },
          { logicalId: 'LabelsPolicyF2', type: 'AWS::S3::BucketPolicy', physicalId: labelsBucket, ...keep },
          { logicalId: 'DataKeyF3', type: 'AWS::KMS::Key', physicalId: 'key-1', ...keep },
          ...(queueUrl === ''
            ? []
            : [{ logicalId: 'LabelsQueue', type: 'AWS::SQS::Queue', physicalId: queueUrl }]),
        ]),
      ],
      [
        'coglabel-compute',
        stack([
          { logicalId: 'Cluster', type: 'AWS::ECS::Cluster', physicalId: cluster },
          { logicalId: 'Service', type: 'AWS::ECS::Service', physicalId: service },
          { logicalId: 'Group', type: 'AWS::AutoScaling::AutoScalingGroup', physicalId: 'group-1' },
        ]),
      ],
      [
        'coglabel-pipeline',
        stack([{ logicalId: 'Scaler', type: 'AWS::Lambda::Function', physicalId: 'scaler' }]),
      ],
      ['coglabel-observe', stack([{ logicalId: 'Alarms', type: 'AWS::SNS::Topic', physicalId: 'alarms' }])],
    ]),
    services: new Map([[service, { desired: 2, running: 2, tasks: 2 }]]),
    groups: new Map([
      [
        'group-1',
        { desired: 2, max: 16, instances: [1, 2].map((n) => ({ id: `i-${n}`, isProtected: true })) },
      ],
    ]),
  }
}

function answer(call: HttpCall, account: FakeAccount): HttpAnswer {
  const target = call.headers['x-amz-target']
  if (typeof target === 'string') {
    const [service = '', action = ''] = target.split('.')
    const input = Input.parse(JSON.parse(call.body))
    if (account.denied.has(action)) return json(400, { __type: 'AccessDeniedException', message: 'no' })
    return service.startsWith('ServiceQuotas')
      ? answerQuotas(action, { input, account })
      : answerEcs(action, { input, account })
  }
  const form = new URLSearchParams(call.body)
  const action = form.get('Action') ?? ''
  if (account.denied.has(action)) return xmlError('AccessDenied', 'not allowed')
  if (action === 'GetCallerIdentity')
    return xml(
      action,
      `<Arn>arn:aws:iam::${accountId}:user/ada</Arn><UserId>U</UserId><Account>${accountId}</Account>`,
    )
  if (form.get('Version') === '2011-01-01') return answerScaling(action, { form, account })
  return answerStacks(action, { form, account })
}

/** What is read of the calls in JSON. */
const Input = z.object({
  QuotaCode: z.string().optional(),
  service: z.string().optional(),
  serviceName: z.string().optional(),
  services: z.array(z.string()).optional(),
  desiredCount: z.number().optional(),
  task: z.string().optional(),
})

type JsonCall = { input: z.infer<typeof Input>; account: FakeAccount }
type FormCall = { form: URLSearchParams; account: FakeAccount }

function answerQuotas(action: string, { input, account }: JsonCall): HttpAnswer {
  const value = account.quotas[input.QuotaCode ?? '']
  if (action === 'GetAWSDefaultServiceQuota') return json(200, { Quota: { Value: account.defaultQuota } })
  if (value === undefined) return json(400, { __type: 'NoSuchResourceException', message: 'not granted' })
  return json(200, { Quota: { QuotaCode: input.QuotaCode, Value: value } })
}

function answerEcs(action: string, { input, account }: JsonCall): HttpAnswer {
  const { services, stacks, log } = account
  const name = input.service ?? input.serviceName ?? input.services?.[0] ?? ''
  const service = services.get(name)
  if (action === 'StopTask') {
    log.push(`stop ${input.task}`)
    for (const one of services.values()) one.tasks = Math.max(0, one.tasks - 1)
    return json(200, {})
  }
  if (service === undefined) return json(200, { services: [], failures: [{ reason: 'MISSING' }] })
  if (action === 'UpdateService') {
    service.desired = input.desiredCount ?? 0
    log.push(`desired ${service.desired}`)
    return json(200, {})
  }
  if (action === 'ListTasks')
    return json(200, { taskArns: Array.from({ length: service.tasks }, (_, n) => `task-${n}`) })
  // The scaler asks every minute; a look is a minute here. What was stopped has ended by the next look.
  if (stacks.has('coglabel-pipeline')) service.desired = 2
  if (service.desired > 0) service.tasks = service.desired
  const { running } = service
  service.running = service.tasks
  return json(200, {
    services: [{ serviceArn: name, status: 'ACTIVE', desiredCount: service.desired, runningCount: running }],
  })
}

function answerScaling(action: string, { form, account: { groups, log } }: FormCall): HttpAnswer {
  const name = form.get('AutoScalingGroupName') ?? form.get('AutoScalingGroupNames.member.1') ?? ''
  const group = groups.get(name)
  if (group === undefined) return xml(action, '<AutoScalingGroups/>')
  if (action === 'UpdateAutoScalingGroup') {
    group.desired = Number(form.get('DesiredCapacity'))
    group.max = Number(form.get('MaxSize'))
    log.push(`group ${group.desired} of ${group.max}`)
    return xml(action, '')
  }
  if (action === 'SetInstanceProtection') {
    const ids = [...form].filter(([key]) => key.startsWith('InstanceIds')).map(([, value]) => value)
    for (const one of group.instances.filter(({ id }) => ids.includes(id))) {
      if (one.state !== undefined)
        return xmlError(
          'ValidationError',
          `The instance ${one.id} is not in InService or EnteringStandby or Standby.`,
        )
      one.isProtected = false
    }
    log.push(`unprotect ${ids.join(' ')}`)
    return xml(action, '')
  }
  const members = group.instances.map(
    ({ id, isProtected, state = 'InService' }) =>
      `<member><InstanceId>${id}</InstanceId><LifecycleState>${state}</LifecycleState><ProtectedFromScaleIn>${isProtected}</ProtectedFromScaleIn></member>`,
  )
  // By the next look what nobody protects has ended, and what was ending or beginning has done so.
  if (group.desired === 0)
    group.instances = group.instances
      .filter(({ isProtected, state }) => isProtected && state !== 'Terminating')
      .map(({ id, isProtected }) => ({ id, isProtected }))
  return xml(
    action,
    `<AutoScalingGroups><member><AutoScalingGroupName>${name}</AutoScalingGroupName><MaxSize>${group.max}</MaxSize>` +
      `<DesiredCapacity>${group.desired}</DesiredCapacity><Instances>${members.join('')}</Instances></member></AutoScalingGroups>`,
  )
}

function answerStacks(action: string, { form, account }: FormCall): HttpAnswer {
  const name = form.get('StackName') ?? ''
  const stack = account.stacks.get(name)
  if (stack === undefined) return xmlError('ValidationError', `Stack with id ${name} does not exist`)
  if (action === 'DeleteStack') {
    account.log.push(`delete ${name}`)
    stack.status = 'DELETE_IN_PROGRESS'
    return xml(action, '')
  }
  if (action === 'GetTemplate') {
    const resources = stack.resources.map(
      ({ logicalId, policy }) => [logicalId, { DeletionPolicy: policy }] as const,
    )
    const body = JSON.stringify({ Resources: Object.fromEntries(resources) })
    return xml(action, `<TemplateBody>${body.replaceAll('"', '&quot;')}</TemplateBody>`)
  }
  if (action === 'ListStackResources') {
    // One a page, so that paging is seen.
    const at = Number(form.get('NextToken') ?? 0)
    const one = stack.resources[at]
    const member =
      one === undefined
        ? ''
        : `<member><LogicalResourceId>${one.logicalId}</LogicalResourceId><ResourceType>${one.type}</ResourceType><PhysicalResourceId>${one.physicalId}</PhysicalResourceId><ResourceStatus>CREATE_COMPLETE</ResourceStatus></member>`
    const next = at + 1 < stack.resources.length ? `<NextToken>${at + 1}</NextToken>` : ''
    return xml(action, `<StackResourceSummaries>${member}</StackResourceSummaries>${next}`)
  }
  if (action === 'DescribeStackEvents')
    return xml(
      action,
      '<StackEvents><member><LogicalResourceId>Group</LogicalResourceId><ResourceStatus>DELETE_FAILED</ResourceStatus><ResourceStatusReason>it holds things</ResourceStatusReason></member></StackEvents>',
    )
  const described = `<Stacks><member><StackName>${name}</StackName><StackStatus>${stack.status}</StackStatus><CreationTime>2026-11-26T00:00:00Z</CreationTime></member></Stacks>`
  settle(name, { stack, account })
  return xml(action, described)
}

/** After one look a delete has come to its end: gone, or failed for what is still in the way. */
function settle(name: string, { stack, account }: { stack: FakeStack; account: FakeAccount }): void {
  if (stack.status !== 'DELETE_IN_PROGRESS') return
  const isBusy =
    name === 'coglabel-compute' &&
    [...account.groups.values()].some(({ instances }) => instances.some(({ isProtected }) => isProtected))
  const isFull = stack.resources.some(
    ({ type, physicalId, policy }) =>
      type === 'AWS::S3::Bucket' && policy === undefined && account.fullBuckets.has(physicalId),
  )
  const isNeeded = name === 'coglabel-network' && account.stacks.has('coglabel-compute')
  if (isBusy || isFull || isNeeded) stack.status = 'DELETE_FAILED'
  else account.stacks.delete(name)
}

function json(status: number, body: unknown): HttpAnswer {
  return { status, body: JSON.stringify(body) }
}

function xml(action: string, result: string): HttpAnswer {
  return { body: `<${action}Response><${action}Result>${result}</${action}Result></${action}Response>` }
}

function xmlError(code: string, message: string): HttpAnswer {
  return {
    status: 400,
    body: `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
  }
}
