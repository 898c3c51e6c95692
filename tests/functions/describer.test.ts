// The function that writes what a deployment is, as CloudFormation calls it: an answer whatever happens.
import { expect, test, vi } from 'vitest'
import { openPlace } from '../../dataset/place.ts'
import { handler } from '../../functions/describer.ts'
import type { Deployment } from '../../schemas/deployment.ts'
import { startHttpServer } from '../helpers/http-server.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'

async function open() {
  const { place, emulator } = await openEmulatedTestPlace()
  vi.stubEnv('COGLABEL_AWS_ENDPOINT', emulator!.endpoint)
  const server = await startHttpServer(() => ({}))
  const call = async (
    type: 'Create' | 'Update' | 'Delete',
    deployment: Partial<Deployment> | string,
  ): Promise<Record<string, unknown>> => {
    await handler({
      RequestType: type,
      ResponseURL: `${server.endpoint}/answer`,
      StackId: 'stack',
      RequestId: 'request',
      LogicalResourceId: 'Description',
      ResourceProperties: {
        deployment: typeof deployment === 'string' ? deployment : JSON.stringify(deployment),
      },
    })
    const { method, body, headers } = server.calls.at(-1)!
    expect([method, headers['content-type'] ?? '']).toEqual(['PUT', ''])
    return JSON.parse(body) as Record<string, unknown>
  }
  const reopened = async () => {
    const opened = await openPlace('s3://labels', { endpoint: emulator!.endpoint })
    opened.close()
    return opened.deployment
  }
  return { deployment: place.deployment!, call, reopened }
}

test('writes the description, and writes it anew when it has changed', async () => {
  const { deployment, call, reopened } = await open()
  expect(await call('Create', deployment)).toEqual({
    Status: 'SUCCESS',
    StackId: 'stack',
    RequestId: 'request',
    LogicalResourceId: 'Description',
    PhysicalResourceId: '_deployment.json',
  })
  expect(await call('Update', { ...deployment, workerHourUsd: 2 })).toMatchObject({ Status: 'SUCCESS' })
  expect((await reopened())?.workerHourUsd).toBe(2)
})

test('leaves the description where the labels stay', async () => {
  const { deployment, call, reopened } = await open()
  expect(await call('Delete', deployment)).toMatchObject({ Status: 'SUCCESS' })
  expect(await reopened()).toEqual(deployment)
})

test.each([
  ['no description', '{"v":1}', /name/],
  ['a bucket that is not there', { labelsBucket: 'missing' }, /the bucket does not exist/],
] as const)('says what is wrong with %s', async (_name, wrong, reason) => {
  const { deployment, call } = await open()
  const given = typeof wrong === 'string' ? wrong : { ...deployment, ...wrong }
  expect(await call('Create', given)).toMatchObject({
    Status: 'FAILED',
    Reason: expect.stringMatching(reason),
  })
})
