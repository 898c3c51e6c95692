// The real worker and functions over the emulated cloud, each with the rights of its synthesized role and no others:
// what a policy does not allow is refused, and so is a missing key to whom S3 would not say that it is missing.
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { readRecords } from '../../dataset/read.ts'
import { openRun, readRun } from '../../dataset/run-folder.ts'
import { runSubmit } from '../../cli/submit.ts'
import type { FaultPlan } from '../../emulator/faults.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import { startHttpServer } from '../helpers/http-server.ts'
import { numberedPng } from '../helpers/images.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'
import { runTestWorker, runVerb, writeCountingModel } from '../helpers/verbs.ts'
import {
  isDenied,
  mayDo,
  resourcePolicies,
  type Request,
  type Statement,
  statementsByRole,
} from './policy.ts'
import { synthesize } from './synthesized.ts'

const synthesized = synthesize({
  imagesBucket: 'images',
  labelsBucket: 'labels',
  sources: [{ bucket: 'others', prefix: 'p/' }],
  review: { isOn: true },
})
const roles = statementsByRole(synthesized)
const labelsPolicy = resourcePolicies(synthesized).get('Labels')!

const actions: Readonly<Record<string, string>> = {
  GetObject: 's3:GetObject',
  HeadObject: 's3:GetObject',
  PutObject: 's3:PutObject',
  ListObjectsV2: 's3:ListBucket',
  DeleteObjects: 's3:DeleteObject',
  SendMessageBatch: 'sqs:SendMessage',
  ReceiveMessage: 'sqs:ReceiveMessage',
  DeleteMessageBatch: 'sqs:DeleteMessage',
  ChangeMessageVisibilityBatch: 'sqs:ChangeMessageVisibility',
  GetQueueAttributes: 'sqs:GetQueueAttributes',
}
const queues: Readonly<Record<string, string>> = { work: 'coglabel-chat', dead: 'coglabel-chat-dead-letters' }

type Call = Omit<Parameters<FaultPlan>[0], 'sequence'>

function requestOf({ service, operation, name, key, prefix, ifNoneMatch }: Call): Request {
  const action = actions[operation]
  if (action === undefined) throw new Error(`the action of ${operation} is not known here`)
  if (service === 'sqs')
    return { action, resource: `arn:aws:sqs:us-east-2:111122223333:${queues[name] ?? name}` }
  const context = {
    's3:ObjectCreationOperation': 'true',
    'aws:SecureTransport': 'true',
    's3:TlsVersion': '1.3',
    ...(prefix === undefined ? {} : { 's3:prefix': prefix }),
    ...(ifNoneMatch === undefined ? {} : { 's3:if-none-match': ifNoneMatch }),
  }
  return { action, resource: `arn:aws:s3:::${name}${key === '' ? '' : `/${key}`}`, context }
}

/** A cloud in which `as` does something with a role's rights; outside of it everything is allowed. */
async function openGuardedPlace() {
  let now: { statements: readonly Statement[]; refused: string[]; used: Set<string> } | null = null
  const place = await openEmulatedTestPlace({
    faults: (call) => {
      if (now === null || call.service === 'event') return {}
      const request = requestOf(call)
      now.used.add(`${call.operation} ${call.name}`)
      if (mayDo(now.statements, request) && !isDenied(labelsPolicy, request)) return {}
      now.refused.push(`${call.operation} ${call.name}/${call.key}${call.prefix ?? ''}`)
      return { refuseWith: { status: 403, code: 'AccessDenied' } }
    },
    onAnswer: ({ status, ...call }) => {
      if (now === null || status !== 404 || call.key === '') return
      const context = { 's3:prefix': call.key }
      const request = { action: 's3:ListBucket', resource: `arn:aws:s3:::${call.name}`, context }
      if (!mayDo(now.statements, request))
        now.refused.push(`404 of ${call.operation} ${call.name}/${call.key}`)
    },
  })
  const as = async <T>(role: string, act: () => Promise<T>): Promise<{ result: T; used: Set<string> }> => {
    now = { statements: roles.get(role)!, refused: [], used: new Set() }
    const { refused, used } = now
    try {
      const result = await act()
      expect([role, refused]).toEqual([role, []])
      return { result, used }
    } finally {
      now = null
    }
  }
  return { ...place, as }
}

async function call(name: string, event: object): Promise<unknown> {
  vi.resetModules()
  const { handler } = (await import(`../../functions/${name}.ts`)) as {
    handler: (event: object) => Promise<unknown>
  }
  return await handler(event)
}

test('a run goes from a source to its export, and nobody needs a right that it does not have', async () => {
  const world = await openGuardedPlace()
  const { place, as, flags, emulator } = world
  for (let n = 0; n < 40; n += 1) await place.imagesOf('others').putIfAbsent(`p/${n}.png`, numberedPng(n))
  const { folder: model } = await writeCountingModel()
  vi.stubEnv('COGLABEL_PLACE', 's3://labels')
  vi.stubEnv('COGLABEL_AWS_ENDPOINT', emulator!.endpoint)
  const asked = [
    '--model',
    model,
    '--tasks',
    'caption',
    '--claims',
    '--dedupe',
    'exact',
    '--existing',
    'keep',
    '--run',
    'one',
    ...flags,
  ]
  expect((await runVerb(runSubmit, ['s3://others/p/', ...asked])).code).toBe(0)

  // Two more that nobody has planned, one of them by a list that lies among the images.
  const list = [1, 2, 3, 'gone'].map((n) => `${JSON.stringify({ key: `p/${n}.png` })}\n`).join('')
  await place.imagesOf('others').putIfAbsent('p/list.jsonl', Buffer.from(list))
  const { v: _v, runId: _id, createdAt: _at, ...wanted } = (await readRun(place.runStoreOf('one')))!
  const begin = async (runId: string, source: RunConfig['source']) =>
    await openRun(place.runStoreOf(runId), { wanted: { ...wanted, source }, now: new Date(), runId })
  await begin('two', wanted.source)
  await begin('three', {
    kind: 'list',
    uri: 's3://others/p/list.jsonl',
    bucket: 'others',
    key: 'p/list.jsonl',
  })
  const planned = await as('PlannerRole', async () => await call('planner', {}))
  expect(planned.result).toMatchObject({ one: { images: 40 }, two: { images: 40 }, three: { images: 4 } })
  const body = { schema: 'coglabel.work.v2', runId: 'none', items: [{ bucket: 'images', key: 'a' }] }
  await place.queue.send([JSON.stringify(body)])

  const worked = await as(
    'ChatTaskRole',
    async () => await runTestWorker(world, { COGLABEL_PART_IMAGES: '8' }),
  )
  expect(worked.result).toMatchObject({ code: 0, images: 83 })
  expect([...worked.used]).toEqual(
    expect.arrayContaining(['HeadObject labels', 'PutObject labels', 'GetObject others']),
  )

  const sealed = await as('SealerRole', async () => await call('sealer', {}))
  expect(sealed.result).toMatchObject({ one: {}, two: {}, three: {} })
  const failures: unknown[] = []
  for await (const { source, error } of readRecords(place.runStoreOf('three')))
    if (error !== null) failures.push([source.key, error.code])
  expect(failures).toEqual([['p/gone.png', 'source-not-found']])

  const reviewed = await as('ReviewerRole', async () => await reviewOneImage('one'))
  expect(reviewed.result).toEqual({ records: 40, thumbnail: 200, missing: 404, judged: 200 })
  expect([...reviewed.used]).toContain('PutObject labels')

  for (const format of ['jsonl', 'openai-batch']) {
    const exported = await as('ExporterRole', async () => await call('exporter', { runId: 'one', format }))
    expect(exported.result).toMatchObject({ records: 40 })
  }

  await place.deadLetters.send([
    JSON.stringify({ ...body, runId: 'one', items: [{ bucket: 'others', key: 'p/1.png' }] }),
  ])
  const redriven = await as('RedriverRole', async () => await call('redriver', {}))
  expect(redriven.result).toMatchObject({ sent: { 'try-again': 1 } })
  // What is sealed is not labelled again.
  expect((await as('ChatTaskRole', async () => await runTestWorker(world))).result).toMatchObject({
    images: 0,
  })

  const services = ['spot', 'more'].map((serviceName) => ({ serviceName, desiredCount: 0, runningCount: 0 }))
  const ecs = await startHttpServer(() => ({ body: JSON.stringify({ services, failures: [] }) }))
  vi.stubEnv('AWS_ENDPOINT_URL_ECS', ecs.endpoint)
  vi.stubEnv('COGLABEL_CLUSTER', 'cluster')
  vi.stubEnv('COGLABEL_SPOT_SERVICE', 'spot')
  vi.stubEnv('COGLABEL_ON_DEMAND_SERVICE', 'more')
  vi.stubEnv('COGLABEL_IMAGES_PER_SECOND', '1')
  expect((await as('ScalerRole', async () => await call('scaler', {}))).result).toMatchObject({ onDemand: 0 })
  vi.unstubAllEnvs()
})

/** As a browser behind something that signs would: the page, its list, a picture, a verdict; and a run that is not. */
async function reviewOneImage(runId: string): Promise<Record<string, unknown>> {
  vi.stubEnv('COGLABEL_PAGE', fileURLToPath(new URL('../../review/page/', import.meta.url)))
  vi.resetModules()
  const { handler } = await import('../../functions/reviewer.ts')
  const ask = async (path: string, body?: object) => {
    const [rawPath, rawQueryString] = path.split('?')
    const http = { method: body === undefined ? 'GET' : 'POST' }
    const iam = { userArn: 'arn:aws:sts::111122223333:assumed-role/reviewers/ada' }
    const headers = { 'content-type': 'application/json' }
    const requestContext = { domainName: 'x.lambda-url.us-east-2.on.aws', http, authorizer: { iam } }
    const event = { rawPath, rawQueryString, headers, body: JSON.stringify(body), requestContext }
    return await handler(event)
  }
  expect((await ask(`/${runId}/`)).statusCode).toBe(200)
  const { records, items } = JSON.parse((await ask(`/${runId}/api/view`)).body) as {
    records: number
    items: { version: string; records: { recordId: string }[] }[]
  }
  const { recordId } = items[0]!.records[0]!
  return {
    records,
    thumbnail: (await ask(`/${runId}/thumb/0?v=${items[0]!.version}`)).statusCode,
    missing: (await ask('/none/')).statusCode,
    judged: (await ask(`/${runId}/api/verdict`, { recordId, verdict: 'accept' })).statusCode,
  }
}

test('a role that lacks a right is found out', async () => {
  const { place, as } = await openGuardedPlace()
  await place.runStoreOf('one').putIfAbsent('sealed/a', Buffer.from('x'))
  const peek = as('ChatTaskRole', async () => await place.runStoreOf('one').get('sealed/a'))
  await expect(peek).rejects.toThrow(/access is denied/)
  const miss = as('RedriverRole', async () => await place.runStoreOf('one').get('config.json'))
  expect((await miss).result).toBeNull()
  const unsaid = as('DescriberRole', async () => await place.imagesOf('images').get('_deployment.json'))
  await expect(unsaid).rejects.toThrow()
})
