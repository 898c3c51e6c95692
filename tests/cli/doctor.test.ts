// `coglabel doctor` against an account in small and the emulated S3 and SQS, by the real SDK.
import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { runDoctor } from '../../cli/doctor.ts'
import { runPushModel } from '../../cli/push-model.ts'
import { runSubmit } from '../../cli/submit.ts'
import { listAll } from '../../dataset/stores/object-store.ts'
import { accountId, deployedAccount, startAccount } from '../helpers/account-server.ts'
import { writeCompiledFolder } from '../helpers/compiled-folder.ts'
import { writeImages } from '../helpers/images.ts'
import { openEmulatedTestPlace, openFolderTestPlace } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runVerb, writeCountingModel } from '../helpers/verbs.ts'

/** The line about one thing, with what to do below it. */
function about(out: string, what: string): string {
  const lines = out.split('\n')
  const at = lines.findIndex((line) => line.slice(6).startsWith(what))
  const next = lines[at + 1] ?? ''
  return `${lines[at]}${next.startsWith('      ') ? next.trim() : ''}`
}

describe('the account', () => {
  test('that has everything needs nothing done', async () => {
    const { emulator } = await openEmulatedTestPlace()
    vi.stubEnv('AWS_ENDPOINT_URL_S3', emulator?.endpoint)
    await startAccount(deployedAccount())
    const { code, out } = await runVerb(runDoctor, [])
    expect(about(out, 'credentials')).toContain(`user/ada of account ${accountId}`)
    expect(about(out, 'spot quota')).toMatch(
      /^ok .*64 vCPUs of "All G and VT Spot.*L-3819A6DF.*16 workers of 4/,
    )
    expect(about(out, 'demand quota')).toMatch(/^ok .*32 vCPUs of "Running On-Demand G and VT.*L-DB2E81BA/)
    expect(about(out, 'stack coglabel-compute')).toMatch(/^ok .*CREATE_COMPLETE/)
    // Found through the stack, no --place needed.
    expect(about(out, 'place')).toContain('s3://labels/, the deployment test')
    expect(about(out, 'dead letters')).toMatch(/^ok /)
    expect(about(out, 'models')).toMatch(/^look .*none was pushed.*coglabel push-model COMPILED/)
    expect([code, out.split('\n').at(-1)]).toEqual([0, 'nothing has to be done'])
  })

  test('without quota or stacks is told how to get them', async () => {
    await startAccount({ quotas: { 'L-DB2E81BA': 0 } })
    const { code, out } = await runVerb(runDoctor, ['--region', 'eu-central-1'])
    expect(code).toBe(3)
    // Never granted, so the default counts.
    expect(about(out, 'spot quota')).toMatch(
      /^BAD .*0 vCPUs.*no worker fits-> aws service-quotas request-service/,
    )
    expect(about(out, 'spot quota')).toContain(
      '--region eu-central-1 --service-code ec2 --quota-code L-3819A6DF',
    )
    expect(about(out, 'demand quota')).toMatch(/^look /)
    expect(about(out, 'stacks')).toMatch(
      /^BAD .*nothing is deployed as coglabel in eu-central-1-> npx cdk deploy/,
    )
  })

  test('with a stack that is missing, broken or under way says which', async () => {
    const account = await startAccount(deployedAccount())
    account.stacks.delete('coglabel-observe')
    account.stacks.get('coglabel-compute')!.status = 'UPDATE_ROLLBACK_FAILED'
    account.stacks.get('coglabel-network')!.status = 'UPDATE_IN_PROGRESS'
    account.stacks.get('coglabel-data')!.resources = []
    const { code, out } = await runVerb(runDoctor, [])
    expect(about(out, 'stack coglabel-observe')).toMatch(/^BAD .*not in us-east-1-> npx cdk deploy --all/)
    expect(about(out, 'stack coglabel-compute')).toMatch(/^BAD .*describe-stack-events/)
    expect(about(out, 'stack coglabel-network')).toMatch(/^look .*UPDATE_IN_PROGRESS/)
    expect(code).toBe(3)
  })

  test('that refuses the credentials, or has none, is said at once', async () => {
    const account = await startAccount()
    account.denied.add('GetCallerIdentity')
    const refused = await runVerb(runDoctor, [])
    expect([refused.code, about(refused.out, 'account')]).toEqual([
      3,
      expect.stringContaining('may not do sts:'),
    ])
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined)
    const empty = fileURLToPath(new URL('no-such-file', import.meta.url))
    for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, empty)
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
    const none = await runVerb(runDoctor, [])
    expect(about(none.out, 'account')).toMatch(
      /^BAD .*no credentials are found-> run aws configure or aws sso login/,
    )
    vi.stubEnv('AWS_REGION', undefined)
    const nowhere = await runVerb(runDoctor, [])
    expect(about(nowhere.out, 'account')).toMatch(/no region is set-> give --region/)
  })

  test('where a look is not allowed names the permission and goes on', async () => {
    await startAccount({ ...deployedAccount(), denied: new Set(['GetServiceQuota', 'ListStackResources']) })
    const { out } = await runVerb(runDoctor, [])
    expect(about(out, 'spot quota')).toMatch(/^look .*servicequotas:GetServiceQuota/)
    expect(about(out, 'stacks')).toMatch(/^look .*cloudformation:ListStackResources/)
  })
})

describe.each([
  ['a folder', openFolderTestPlace],
  ['an emulated cloud', openEmulatedTestPlace],
])('at %s', (_, openTestPlace) => {
  test('models that are whole, cut off or damaged are told apart', async () => {
    const { place, flags } = await openTestPlace()
    const folder = join(await tempFolder(), 'compiled')
    const manifest = await writeCompiledFolder(folder, { 'vision.onnx': 3000, 'decoder.onnx': 5000 })
    await runPushModel([folder, ...flags])
    const what = `model ${manifest.digest.slice(0, 12)}…`
    const whole = await runVerb(runDoctor, [...flags, '--model', folder])
    expect(about(whole.out, what)).toMatch(/^ok .*all pieces there/)
    expect(about(whole.out, 'the model you named')).toMatch(/^ok /)
    expect(whole.code).toBe(0)
    expect(about(whole.out, 'account')).toMatch(/^- .*not AWS/)
    if (!place.uri.startsWith('file:')) return
    const pieces: string[] = []
    for await (const { key } of listAll(place.weights, { prefix: `${manifest.digest}/files/` }))
      pieces.push(key)
    await unlink(fileURLToPath(new URL(pieces[0] ?? '', place.weights.uri)))
    const damaged = await runVerb(runDoctor, flags)
    expect(about(damaged.out, what)).toMatch(/^BAD .*1 piece missing.*push the model again/)
    await unlink(fileURLToPath(new URL(`${manifest.digest}/weights.lock.json`, place.weights.uri)))
    expect(about((await runVerb(runDoctor, flags)).out, what)).toMatch(/^BAD .*push has not ended/)
    expect(damaged.code).toBe(3)
  })

  test('dead letters and runs whose model nobody can fetch are said', async () => {
    const { place, flags } = await openTestPlace()
    const model = await writeCountingModel()
    const folder = await tempFolder()
    await writeImages(folder, 1)
    await runVerb(runSubmit, [folder, '--run', 'r1', '--model', model.folder, ...flags])
    await place.deadLetters.send(['{"what": "is this"}'])
    const { code, out } = await runVerb(runDoctor, [...flags, '--model', model.folder])
    expect(about(out, 'dead letters')).toMatch(/^look .*1 message-> coglabel redrive --place /)
    expect(about(out, 'queue')).toMatch(/^ok .*1 message waiting/)
    expect(about(out, 'runs')).toMatch(
      /^look .*1 run of 1 want a model that was not pushed: r1 \(counting c0c0/,
    )
    expect(about(out, 'the model you named')).toMatch(/^BAD .*was not pushed-> coglabel push-model/)
    expect(code).toBe(3)
  })
})

test('a place that cannot be opened is a finding', async () => {
  const { emulator } = await openEmulatedTestPlace()
  const { code, out } = await runVerb(runDoctor, [
    '--place',
    's3://images',
    '--aws-endpoint',
    emulator?.endpoint ?? '',
  ])
  expect(code).toBe(3)
  expect(about(out, 'place')).toMatch(
    /^BAD .*there is no s3:\/\/images\/_deployment\.json-> give the labels bucket/,
  )
})

test('looks twice at a place that is no folder yet: its name may be a slip of the pen', async () => {
  const folder = await tempFolder()
  const { code, out } = await runVerb(runDoctor, ['--place', join(folder, 'typo')])
  expect(code).toBe(0)
  expect(out).toMatch(/^look +place +file:.*typo\/ is not there yet\n +-> check its name/m)
  expect((await runVerb(runDoctor, ['--place', folder])).out).toMatch(/^ok +place/m)
})
