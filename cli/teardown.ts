// `coglabel teardown`: a deployment's end, in the one order that works. First what asks for workers, then workers, then
// instances, then what they ran on. It plans as data, says what stays, and does nothing without --yes.
import { parseArgs } from 'node:util'
import { openSqsQueue } from '../dataset/queues/sqs.ts'
import { UserError } from '../schemas/errors.ts'
import { openInstanceGroups } from './account/groups.ts'
import { type Identity, whoAmI } from './account/identity.ts'
import { openStacks, type Stack, type StackResource, type Stacks } from './account/stacks.ts'
import { openWorkerServices } from './account/workers.ts'
import { defaultDeploymentName, stackNamesOf } from './deployment-names.ts'
import { formatDuration } from './progress.ts'
import type { VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const teardownUsage = `coglabel teardown [options]

Deletes the stacks of a deployment in the order that works, and waits for each: first what asks for workers, then the
workers, then their instances, which CloudFormation alone would wait for in vain, then the rest. Labels, images and
weights stay, unless it was deployed with keepData: false. Interrupt it whenever you like: the same command goes on.

  --name NAME            of the deployment (${defaultDeploymentName})
  --region REGION        where it is (that of your AWS settings)
  --yes                  do it; without, it says what it would do

Exit code: 0 done, or said what would be, 1 fatal, 2 wrong usage or settings, 130 interrupted.`

const everyMs = 5000
/** Workers end within two minutes; a deployment of instances takes some more to end them. */
const maxDrainMs = 15 * 60_000
/** CloudFormation's own limit for what hangs is longer; endpoints and Lambdas in a network take up to 40 minutes. */
const maxDeleteMs = 60 * 60_000

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runTeardown(args: readonly string[], root: VerbRoot): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { name: { type: 'string' }, region: { type: 'string' }, yes: { type: 'boolean' } },
  })
  const name = values.name ?? defaultDeploymentName
  const identity = await whoAmI(values)
  const stacks = openStacks(identity)
  const stop = new AbortController()
  const silence = root.onInterrupt(() => stop.abort())
  try {
    const plan = await planTeardown(stacks, { name, identity })
    root.print(renderPlan(plan).join('\n'))
    if (plan.stacks.length === 0) return 0
    if (values.yes !== true) {
      root.print('nothing was changed; the same command with --yes does it')
      return 0
    }
    await tearDown(plan, { stacks, root, stop: stop.signal })
    if (stop.signal.aborted) {
      root.tell('interrupted; the same command goes on from here')
      return 130
    }
    root.print(renderKept(plan).join('\n'))
    return 0
  } finally {
    silence()
    stacks.close()
  }
}

export type TeardownPlan = {
  name: string
  identity: Identity
  /** Those that are there, in the order in which they go. */
  stacks: Stack[]
  cluster: string | null
  services: string[]
  groups: string[]
  /** What stays when its stack goes. */
  kept: StackResource[]
  /** Buckets that go with their stack, which works for empty ones only. */
  lostBuckets: string[]
  queues: { name: string; messages: number | null }[]
}

/** Of all that is deployed under a name, what goes, in which order, and what stays. */
async function planTeardown(
  stacks: Stacks,
  { name, identity }: { name: string; identity: Identity },
): Promise<TeardownPlan> {
  const names = stackNamesOf(name)
  const found: Stack[] = []
  const [goes, kept]: [StackResource[], StackResource[]] = [[], []]
  // The scaler goes first, for it would ask for workers again; the network last, for everything stands in it.
  for (const stackName of [names.observe, names.pipeline, names.compute, names.data, names.network]) {
    const stack = await stacks.find(stackName)
    if (stack === null) continue
    found.push(stack)
    const retained = await stacks.retained(stackName)
    for (const resource of await stacks.resources(stackName))
      (retained.has(resource.logicalId) ? kept : goes).push(resource)
  }
  const ofType = (type: string) =>
    goes.filter((one) => one.type === type && one.physicalId !== '').map(({ physicalId }) => physicalId)
  return {
    name,
    identity,
    stacks: found,
    cluster: ofType('AWS::ECS::Cluster')[0] ?? null,
    services: ofType('AWS::ECS::Service'),
    groups: ofType('AWS::AutoScaling::AutoScalingGroup'),
    kept: kept.filter(({ type }) => keptTypes.has(type)),
    lostBuckets: ofType('AWS::S3::Bucket'),
    queues: await countMessages(ofType('AWS::SQS::Queue'), identity),
  }
}

/** What people know and pay for; policies stay with their bucket and go unsaid. */
const keptTypes = new Map([
  ['AWS::S3::Bucket', 'bucket'],
  ['AWS::KMS::Key', 'key'],
  ['AWS::SQS::Queue', 'queue'],
  ['AWS::Logs::LogGroup', 'log'],
])

async function countMessages(urls: readonly string[], { region }: Identity): Promise<TeardownPlan['queues']> {
  const counts = urls.map(async (queueUrl) => {
    const queue = openSqsQueue({ queueUrl, region })
    try {
      const { visible, inFlight, delayed } = await queue.stats()
      return { name: queueUrl.split('/').at(-1) ?? queueUrl, messages: visible + inFlight + delayed }
    } catch {
      // Gone already, or not ours to look at: then nothing can be said, and nothing hangs on it.
      return { name: queueUrl.split('/').at(-1) ?? queueUrl, messages: null }
    } finally {
      queue.close()
    }
  })
  return await Promise.all(counts)
}

/** The plan as lines for people. Pure. */
export function renderPlan(plan: TeardownPlan): string[] {
  const { name, identity, stacks, services, groups, lostBuckets, queues } = plan
  const where = `account ${identity.account}, ${identity.region}`
  if (stacks.length === 0) return [`nothing is deployed as ${name} in ${where}`]
  const waiting = queues.filter(({ messages }) => messages !== null && messages > 0)
  const compute = stackNamesOf(name).compute
  const steps = stacks.flatMap((stack) => [
    ...(stack.name === compute && services.length > 0
      ? [
          `  workers    ${counted(services.length, 'service')} to zero; what workers hold goes back to the queue`,
        ]
      : []),
    ...(stack.name === compute && groups.length > 0
      ? [`  instances  ${counted(groups.length, 'group')} to zero, protected or not`]
      : []),
    `  stack      ${stack.name} (${stack.status})`,
  ])
  return [
    `teardown of ${name} in ${where}, in this order:`,
    ...steps,
    ...waiting.map(
      (queue) =>
        `  LOST       ${counted(queue.messages ?? 0, 'message')} in ${queue.name} go with it: images not labelled yet; submit them anew, or wait`,
    ),
    ...lostBuckets.map(
      (bucket) => `  LOST       the bucket ${bucket} goes with its stack, which only works when it is empty`,
    ),
    ...keptLines(plan),
  ]
}

function keptLines({ kept }: TeardownPlan): string[] {
  return kept.map(({ type, physicalId }) => `  stays      ${keptTypes.get(type) ?? type} ${physicalId}`)
}

/** What is left to pay for, and how to be rid of it. */
function renderKept(plan: TeardownPlan): string[] {
  const buckets = plan.kept.filter(({ type }) => type === 'AWS::S3::Bucket')
  if (plan.kept.length === 0) return [`${plan.name} is gone`]
  return [
    `${plan.name} is gone; this stays:`,
    ...keptLines(plan),
    ...(buckets.length === 0
      ? []
      : ['labels can still be read: coglabel pull-labels; docs/teardown.md says how to delete what stays']),
  ]
}

type Doing = { stacks: Stacks; root: VerbRoot; stop: AbortSignal }

async function tearDown(plan: TeardownPlan, doing: Doing): Promise<void> {
  for (const { name, status } of plan.stacks) {
    if (doing.stop.aborted) return
    if (name === stackNamesOf(plan.name).compute) await drain(plan, doing)
    if (doing.stop.aborted) return
    await deleteStack(name, status, doing)
  }
}

/** Workers to zero, then instances; both again and again until none is left, for either takes minutes. */
async function drain({ cluster, services, groups, identity }: TeardownPlan, doing: Doing): Promise<void> {
  const workers = cluster === null ? null : openWorkerServices(cluster, identity)
  const instances = openInstanceGroups(identity)
  try {
    if (workers !== null)
      await until('workers', doing, { left: async () => await workers.drain(services), noun: 'worker' })
    await until('instances', doing, { left: async () => await instances.empty(groups), noun: 'instance' })
  } finally {
    workers?.close()
    instances.close()
  }
}

async function until(
  what: string,
  { root, stop }: Doing,
  { left, noun }: { left: () => Promise<number>; noun: string },
): Promise<void> {
  const endMs = root.clock().getTime() + maxDrainMs
  for (let last = -1; !stop.aborted;) {
    const count = await left()
    if (count === 0) {
      root.tell(`${what}: none is left`)
      return
    }
    if (count !== last) root.tell(`${what}: ${counted(count, noun)} left`)
    last = count
    if (root.clock().getTime() > endMs)
      throw new UserError(
        `${counted(count, noun)} did not end within ${formatDuration(maxDrainMs)}; look at the cluster in the console, end them there, and run the same command again`,
      )
    await root.sleep(everyMs, stop)
  }
}

async function deleteStack(name: string, status: string, { stacks, root, stop }: Doing): Promise<void> {
  if (status !== 'DELETE_IN_PROGRESS') await stacks.remove(name)
  root.tell(`${name}: deleting`)
  const startMs = root.clock().getTime()
  while (!stop.aborted) {
    const stack = await stacks.find(name)
    if (stack === null || stack.status === 'DELETE_COMPLETE') {
      root.tell(`${name}: gone after ${formatDuration(root.clock().getTime() - startMs)}`)
      return
    }
    if (stack.status !== 'DELETE_IN_PROGRESS') {
      const reasons = await stacks.failures(name)
      throw new UserError(
        `${name} could not be deleted (${stack.status} ${stack.reason}):\n${reasons.map((reason) => `  ${reason}`).join('\n')}\nmend that (a bucket has to be empty), and run the same command again`,
      )
    }
    if (root.clock().getTime() - startMs > maxDeleteMs)
      throw new UserError(
        `${name} is still being deleted after ${formatDuration(maxDeleteMs)}; look at its events in the console, and run the same command again`,
      )
    await root.sleep(everyMs, stop)
  }
}
