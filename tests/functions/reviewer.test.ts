// The reviewer as a function URL calls it, over the emulated cloud: signed callers only, thumbnails, verdicts by ARN.
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test, vi } from 'vitest'
import { writePart } from '../../dataset/parts.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { readVerdicts } from '../../dataset/verdicts.ts'
import { thumbnailKey } from '../../schemas/thumbnail.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'
import { someRecord, someRun } from '../helpers/records.ts'

const arn = 'arn:aws:sts::123456789012:assumed-role/reviewers/ada'
const record = someRecord({ key: 'a.png', text: 'an owl' })

type Ask = { method?: string; body?: string; signer?: string | null }

async function open() {
  const world = await openEmulatedTestPlace()
  vi.stubEnv('COGLABEL_PLACE', 's3://labels')
  vi.stubEnv('COGLABEL_AWS_ENDPOINT', world.emulator!.endpoint)
  vi.stubEnv('AWS_REGION', 'us-east-1')
  vi.stubEnv('COGLABEL_PAGE', fileURLToPath(new URL('../../review/page/', import.meta.url)))
  vi.resetModules()
  const store = world.place.runStoreOf('run-cloud')
  await openRun(store, { wanted: someRun, now: new Date(), runId: 'run-cloud' })
  await writePart(store, [record])
  await sealRun({ store, runId: 'run-cloud', clock: () => new Date() })
  await store.putIfAbsent(thumbnailKey(record.source.sha256!), Buffer.from([1, 2, 255]))
  const { handler } = await import('../../functions/reviewer.ts')
  const ask = async (path: string, { method = 'GET', body, signer = arn }: Ask = {}) => {
    const [rawPath, rawQueryString = ''] = path.split('?')
    return await handler({
      version: '2.0',
      rawPath,
      rawQueryString,
      headers: { 'content-type': 'application/json', 'host': 'x.lambda-url.eu-central-1.on.aws' },
      ...(body === undefined ? {} : { body: Buffer.from(body).toString('base64'), isBase64Encoded: true }),
      requestContext: {
        domainName: 'x.lambda-url.eu-central-1.on.aws',
        http: { method },
        ...(signer === null ? {} : { authorizer: { iam: { userArn: signer, accountId: '123456789012' } } }),
      },
    })
  }
  return { store, ask }
}

afterEach(() => {
  vi.unstubAllEnvs()
})

test('serves the page of a run, its thumbnails, and writes verdicts in the name of who signed', async () => {
  const { ask, store } = await open()
  expect(await ask('/run-cloud')).toMatchObject({ statusCode: 308, headers: { location: '/run-cloud/' } })
  const page = await ask('/run-cloud/')
  expect(page).toMatchObject({ statusCode: 200, isBase64Encoded: false })
  expect(page.body).toContain('<script type="module" src="page/app.js">')
  expect(page.headers['content-security-policy']).toContain("default-src 'none'")
  const view = JSON.parse((await ask('/run-cloud/api/view?task=caption')).body)
  expect(view).toMatchObject({ records: 1, items: [{ key: 'a.png' }] })
  const picture = await ask(`/run-cloud/picture/0?v=${view.items[0].version}`)
  expect(picture).toMatchObject({
    statusCode: 200,
    isBase64Encoded: true,
    headers: { 'content-type': 'image/webp' },
  })
  expect([...Buffer.from(picture.body, 'base64')]).toEqual([1, 2, 255])
  const judged = await ask('/run-cloud/api/verdict', {
    method: 'POST',
    body: JSON.stringify({ recordId: record.recordId, verdict: 'accept' }),
  })
  expect(judged.statusCode).toBe(200)
  expect((await readVerdicts(store)).get(record.recordId)).toMatchObject({ verdict: 'accept', who: arn })
})

test.each([
  ['/run-cloud/', { signer: null }, 403],
  ['/run-cloud/api/run', { signer: null }, 403],
  ['/run-missing/', {}, 404],
  ['/', {}, 404],
  ['/..%2f..%2fetc/', {}, 404],
])('%s asked as %j is refused with %d', async (path, how, status) => {
  const { ask } = await open()
  const answer = await ask(path, how)
  expect(answer.statusCode).toBe(status)
  expect(answer.body).not.toContain('an owl')
})
