// Who may do what, from the synthesized policies: what each role needs, and what none of them may.
import { describe, expect, test } from 'vitest'
import { isListKey } from '../../dataset/plan-lists.ts'
import { isDenied, mayDo, resourcePolicies, type Request, statementsByRole } from './policy.ts'
import { deployments, groundingModel, model, synthesize } from './synthesized.ts'

const synthesized = synthesize(deployments['two fleets, sources, reviews and a NAT gateway']!)
const roles = statementsByRole(synthesized)
const policies = resourcePolicies(synthesized)
const weights = 'coglabel-weights-111122223333-us-east-2'

const queue = (name: string) => `arn:aws:sqs:us-east-2:111122223333:coglabel-${name}`
const object = (key: string) => `arn:aws:s3:::${key}`
const create = (key: string): Request => ({
  action: 's3:PutObject',
  resource: object(key),
  context: { 's3:if-none-match': '*', 's3:ObjectCreationOperation': 'true' },
})
const overwrite = (key: string): Request => ({
  action: 's3:PutObject',
  resource: object(key),
  context: { 's3:ObjectCreationOperation': 'true' },
})
const get = (key: string): Request => ({ action: 's3:GetObject', resource: object(key) })
const remove = (key: string): Request => ({ action: 's3:DeleteObject', resource: object(key) })
const list = (bucket: string, prefix?: string): Request => ({
  action: 's3:ListBucket',
  resource: object(bucket),
  ...(prefix === undefined ? {} : { context: { 's3:prefix': prefix } }),
})
const sqs = (action: string, name: string): Request => ({ action: `sqs:${action}`, resource: queue(name) })
const ecs = (action: string, service: string): Request => ({
  action: `ecs:${action}`,
  resource: `arn:aws:ecs:us-east-2:111122223333:service/${service}`,
  context: { 'ecs:cluster': 'arn:aws:ecs:us-east-2:111122223333:cluster/coglabel' },
})

const protect = (cluster: string): Request => ({
  action: 'ecs:UpdateTaskProtection',
  resource: `arn:aws:ecs:us-east-2:111122223333:task/${cluster}/abc`,
  context: { 'ecs:cluster': `arn:aws:ecs:us-east-2:111122223333:cluster/${cluster}` },
})

type Row = readonly [what: string, request: Request]
const table: Readonly<Record<string, { may: readonly Row[]; mayNot: readonly Row[] }>> = {
  ChatTaskRole: {
    may: [
      ['take messages', sqs('ReceiveMessage', 'chat')],
      ['delete them', sqs('DeleteMessage', 'chat')],
      ['hold them longer', sqs('ChangeMessageVisibility', 'chat')],
      ['send them anew', sqs('SendMessage', 'chat')],
      ['send on what comes second', sqs('SendMessage', 'boxes')],
      ['read uploads', get('my-images/incoming/r/a.png')],
      ['read a source', get('photos/a/1.jpg')],
      ['learn that an image is gone', list('my-images', 'incoming/r/a.png')],
      ['learn that one of a source is gone', list('photos', 'a/1.jpg')],
      ['learn that an image has no caption beside it', list('photos', 'a/1.txt')],
      ['read its model', get(`${weights}/weights/${model.digest}/weights.lock.json`)],
      ['learn that its model is not there', list(weights, `weights/${model.digest}/weights.lock.json`)],
      ['read settings', get('my-labels/runs/r/config.json')],
      ['learn that there is no run', list('my-labels', 'runs/r/config.json')],
      ['learn that a run was not paused', list('my-labels', 'runs/r/control/00000001.json')],
      ['look whether a window is closed', list('my-labels', 'runs/r/closed/00000001')],
      ['find the open window', list('my-labels', 'runs/r/closed/')],
      ['read what is sealed by id', get('my-labels/runs/r/ids/1.bin')],
      ['find the newest checkpoint', list('my-labels', 'runs/r/checkpoints/')],
      ['create parts', create('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['look at its part when an answer was lost', get('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['say whose bytes it has seen', create('my-labels/runs/r/seen/abc.json')],
      ['read whose they are', get('my-labels/runs/r/seen/abc.json')],
      ['create thumbnails', create('my-labels/runs/r/thumbs/a.webp')],
      ['claim', create('my-labels/claims/r/ab/c-0001.json')],
      ['be left alone while it works', protect('coglabel')],
      ['look for a claim', list('my-labels', 'claims/r/ab/c-0001.json')],
    ],
    mayNot: [
      ['protect tasks of another cluster', protect('others')],
      ['take dead letters', sqs('ReceiveMessage', 'chat-dead-letters')],
      ["take the other fleet's messages", sqs('ReceiveMessage', 'boxes')],
      ['empty the queue', sqs('PurgeQueue', 'chat')],
      ['overwrite a part', overwrite('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ["say that they are another image's", overwrite('my-labels/runs/r/seen/abc.json')],
      ['delete a part', remove('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['list parts', list('my-labels', 'runs/r/parts/')],
      ['list labels', list('my-labels', 'runs/r/sealed/')],
      ['list all', list('my-labels')],
      ['read labels', get('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
      ['seal', create('my-labels/runs/r/manifests/00000001.json')],
      ['close a window', create('my-labels/runs/r/closed/00000001')],
      ['begin a run', create('my-labels/runs/r/config.json')],
      ['say what the deployment is', create('my-labels/_deployment.json')],
      ['write images', create('my-images/incoming/r/a.png')],
      ['list all images', list('my-images')],
      ['list a whole source', list('photos', 'a/')],
      ['look outside the prefix of a source', list('photos', 'b/1.jpg')],
      ['read outside the prefix of a source', get('photos/b/1.jpg')],
      ["read the other fleet's model", get(`${weights}/weights/${groundingModel.digest}/weights.lock.json`)],
      ['change a model', create(`${weights}/weights/${model.digest}/weights.lock.json`)],
    ],
  },
  BoxesTaskRole: {
    may: [
      ['take messages', sqs('ReceiveMessage', 'boxes')],
      ['send back what the first model comes after', sqs('SendMessage', 'chat')],
    ],
    mayNot: [["take the first fleet's messages", sqs('ReceiveMessage', 'chat')]],
  },
  PlannerRole: {
    may: [
      ['list uploads', list('my-images', 'incoming/r/')],
      ['list a source', list('photos', 'a/')],
      ['read a list of images', get('scans/inventory/manifest.json')],
      ['read a run', get('my-labels/runs/r/config.json')],
      ['list runs', list('my-labels', 'runs/')],
      ['write a page of the plan', create('my-labels/runs/r/plan/prefix/00000001.json')],
      ['send messages', sqs('SendMessage', 'chat')],
      ['read the deployment', get('my-labels/_deployment.json')],
    ],
    mayNot: [
      ['read images', get('my-images/incoming/r/a.png')],
      ['list outside the prefix of a source', list('photos', 'b/')],
      ['take messages', sqs('ReceiveMessage', 'chat')],
      ['write parts', create('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['change a page', overwrite('my-labels/runs/r/plan/prefix/00000001.json')],
    ],
  },
  SealerRole: {
    may: [
      ['list parts', list('my-labels', 'runs/r/parts/')],
      ['read parts', get('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ...['closed/1', 'sealed/1', 'manifests/1', 'ids/1', 'checkpoints/1'].map((key): Row => [
        `create ${key}`,
        create(`my-labels/runs/r/${key}`),
      ]),
    ],
    mayNot: [
      ['read images', get('my-images/incoming/r/a.png')],
      ['read a source', get('photos/a/1.jpg')],
      ['list images', list('my-images', 'incoming/')],
      ['overwrite a manifest', overwrite('my-labels/runs/r/manifests/1')],
      ['delete parts', remove('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['write parts', create('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['take messages', sqs('ReceiveMessage', 'chat')],
    ],
  },
  ChatScalerRole: {
    may: [
      ['count messages', sqs('GetQueueAttributes', 'chat')],
      ['count dead letters', sqs('GetQueueAttributes', 'chat-dead-letters')],
      ['count workers', ecs('DescribeServices', 'coglabel/coglabel-chat-spot')],
      ['read what was estimated', get('my-labels/runs/r/estimate.json')],
      ['pause a run', create('my-labels/runs/r/control/00000001.json')],
      ['read how long images took', get('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
    ],
    mayNot: [
      ['change capacity', ecs('UpdateService', 'coglabel/coglabel-chat-spot')],
      ["count the other fleet's workers", ecs('DescribeServices', 'coglabel/coglabel-boxes-spot')],
      ['take messages', sqs('ReceiveMessage', 'chat')],
      ['read images', get('my-images/incoming/r/a.png')],
      ['write labels', create('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
    ],
  },
  ChatRedriverRole: {
    may: [
      ['take dead letters', sqs('ReceiveMessage', 'chat-dead-letters')],
      ['delete them', sqs('DeleteMessage', 'chat-dead-letters')],
      ['send them again', sqs('SendMessage', 'chat')],
      ['learn that there is no run', list('my-labels', 'runs/r/config.json')],
    ],
    mayNot: [
      ['take work', sqs('ReceiveMessage', 'chat')],
      ['send to the other fleet', sqs('SendMessage', 'boxes')],
      ['read labels', get('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
    ],
  },
  ExporterRole: {
    may: [
      ['read labels', get('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
      ['read verdicts', get('my-labels/runs/r/verdicts/1.jsonl')],
      ['read images', get('my-images/incoming/r/a.png')],
      ['learn that an image is gone', list('my-images', 'incoming/r/a.png')],
      ['write an export', create('my-labels/runs/r/exports/llava/00000001/index.json')],
    ],
    mayNot: [
      ['write labels', create('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
      ['change an export', overwrite('my-labels/runs/r/exports/llava/00000001/index.json')],
    ],
  },
  ReviewerRole: {
    may: [
      ['read labels', get('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
      ['find what was sealed last', list('my-labels', 'runs/r/manifests/00000002.json')],
      ['read thumbnails', get('my-labels/runs/r/thumbs/a.webp')],
      ['learn that there is no thumbnail', list('my-labels', 'runs/r/thumbs/a.webp')],
      ['learn that there is no run', list('my-labels', 'runs/r/config.json')],
      ['list verdicts', list('my-labels', 'runs/r/verdicts/')],
      ['read verdicts', get('my-labels/runs/r/verdicts/ab/1.json')],
      ['judge', create('my-labels/runs/r/verdicts/ab/1.json')],
    ],
    mayNot: [
      ['read images', get('my-images/incoming/r/a.png')],
      ['read a source', get('photos/a/1.jpg')],
      ['list images', list('my-images', 'incoming/')],
      ['change a verdict', overwrite('my-labels/runs/r/verdicts/ab/1.json')],
      ['take a verdict back for good', remove('my-labels/runs/r/verdicts/ab/1.json')],
      ['write labels', create('my-labels/runs/r/sealed/000001-caption.jsonl.gz')],
      ['write thumbnails', create('my-labels/runs/r/thumbs/a.webp')],
      ['list runs', list('my-labels', 'runs/')],
      ['read parts that are not sealed', get('my-labels/runs/r/parts/w00000001/a.jsonl.gz')],
      ['take messages', sqs('ReceiveMessage', 'chat')],
      ['send messages', sqs('SendMessage', 'chat')],
    ],
  },
  DescriberRole: {
    may: [
      ['write the deployment', create('my-labels/_deployment.json')],
      ['replace it', remove('my-labels/_deployment.json')],
    ],
    mayNot: [
      ['touch runs', create('my-labels/runs/r/config.json')],
      ['read runs', get('my-labels/runs/r/config.json')],
    ],
  },
  ChatSpotInstanceRole: {
    may: [],
    mayNot: [
      ['read images', get('my-images/incoming/r/a.png')],
      ['take messages', sqs('ReceiveMessage', 'chat')],
      ['read labels', get('my-labels/runs/r/config.json')],
    ],
  },
}

const rows = (side: 'may' | 'mayNot') =>
  Object.entries(table).flatMap(([role, rights]) =>
    rights[side].map(([what, request]) => [role, what, request] as const),
  )

describe('each role', () => {
  test.each(rows('may'))('%s may %s', (role, _what, request) => {
    expect(mayDo(roles.get(role)!, request)).toBe(true)
  })
  test.each(rows('mayNot'))('%s may not %s', (role, _what, request) => {
    expect(mayDo(roles.get(role)!, request)).toBe(false)
  })
})

describe('every role', () => {
  test('is one that a test knows', () => {
    const tested = [...Object.keys(table), 'BoxesScalerRole', 'BoxesRedriverRole']
    // Vpc is that of the flow logs.
    const ofEcs = [...roles.keys()].filter((name) => /(ExecutionRole|InstanceRole|^Vpc)$/.test(name))
    expect([...roles.keys()].toSorted()).toEqual([...new Set([...tested, ...ofEcs])].toSorted())
  })

  test.each([
    ['delete labels', remove('my-labels/runs/r/sealed/a')],
    ['delete images', remove('my-images/incoming/r/a.png')],
    ['overwrite labels', overwrite('my-labels/runs/r/sealed/a')],
    ['delete a queue', sqs('DeleteQueue', 'chat')],
    ['change a bucket', { action: 's3:PutBucketPolicy', resource: object('my-labels') }],
    ['change capacity', ecs('UpdateService', 'coglabel/coglabel-chat-spot')],
    ['become more', { action: 'iam:PassRole', resource: 'arn:aws:iam::111122223333:role/admin' }],
    [
      'use the key for itself',
      { action: 'kms:Decrypt', resource: '<DataKey>', context: { 'kms:ViaService': 'ec2' } },
    ],
  ] as const)('may not %s', (_what, request) => {
    expect([...roles].filter(([, statements]) => mayDo(statements, request)).map(([name]) => name)).toEqual(
      [],
    )
  })

  test('that reads data may use its key, through S3 only', () => {
    const users = [...roles].filter(([, statements]) => JSON.stringify(statements).includes('kms:'))
    const isReader = (name: string) => !/(ExecutionRole|InstanceRole|Vpc)$/.test(name)
    expect(users.map(([name]) => name)).toEqual([...roles.keys()].filter(isReader))
    for (const [, statements] of users)
      for (const { Action, Condition } of statements)
        if (String(Action).includes('kms:'))
          expect(Condition).toEqual({ StringEquals: { 'kms:ViaService': 's3.us-east-2.amazonaws.com' } })
  })
})

test.each([
  'manifest.json',
  'a.jsonl',
  'a.jsonl.gz',
  'a.ndjson',
  'a.ndjson.gz',
  'a.csv',
  'a.csv.gz',
  'a.JSONL',
  'a.csv.GZ',
  'Manifest.json',
  'a.png',
])('the planner may read %s below a source just if it is taken for a list', (name) => {
  const may = mayDo(roles.get('PlannerRole')!, get(`photos/a/lists/${name}`))
  expect(may).toBe(isListKey(`a/lists/${name}`))
})

describe('the policy of', () => {
  test('labels refuses anybody who would overwrite below a run', () => {
    const labels = policies.get('Labels')!
    const tls = { 'aws:SecureTransport': 'true', 's3:TlsVersion': '1.3' }
    const withTls = (request: Request) => ({ ...request, context: { ...request.context, ...tls } })
    expect(isDenied(labels, withTls(overwrite('my-labels/runs/r/parts/a')))).toBe(true)
    expect(isDenied(labels, withTls(create('my-labels/runs/r/parts/a')))).toBe(false)
    expect(isDenied(labels, withTls(overwrite('my-labels/_deployment.json')))).toBe(false)
  })

  test.each(['Images', 'Labels', 'Weights', 'Logs'])(
    '%s refuses what is not encrypted on its way',
    (name) => {
      const statements = policies.get(name)!
      const resources = statements.flatMap(({ Resource = [] }) => Resource)
      const everything = resources.find((resource) => /^[^/]+\/\*$/.test(resource))!
      const asked = { action: 's3:GetObject', resource: everything.replace('*', 'a') }
      expect(isDenied(statements, { ...asked, context: { 'aws:SecureTransport': 'false' } })).toBe(true)
      const old = { 'aws:SecureTransport': 'true', 's3:TlsVersion': '1.1' }
      expect(isDenied(statements, { ...asked, context: old })).toBe(true)
    },
  )
})

test('the statements of all roles are those that were agreed on', async () => {
  const text = [...roles]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, statements]) => `${name}\n${statements.map(lineOf).join('\n')}\n`)
    .join('\n')
  await expect(text).toMatchFileSnapshot('./statements.txt')
})

function lineOf({
  Effect,
  Action,
  Resource,
  Condition,
}: (typeof roles extends Map<string, infer S> ? S : never)[number]): string {
  const condition = Condition === undefined ? '' : ` if ${JSON.stringify(Condition)}`
  return [
    `  ${Effect} ${[Action].flat().join(', ')}${condition}`,
    ...[Resource ?? []].flat().map((one) => `    ${one}`),
  ].join('\n')
}
