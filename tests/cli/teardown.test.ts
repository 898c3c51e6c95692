// `coglabel teardown` against an account in small, by the real SDK: the order, what stays, what is in the way.
import { describe, expect, test } from 'vitest'
import { renderPlan, runTeardown, type TeardownPlan } from '../../cli/teardown.ts'
import { UserError } from '../../schemas/errors.ts'
import { deployedAccount, startAccount } from '../helpers/account-server.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'
import { runVerb } from '../helpers/verbs.ts'

describe('teardown', () => {
  test('says what goes in which order and what stays, and changes nothing without --yes', async () => {
    const account = await startAccount(deployedAccount())
    const { code, out } = await runVerb(runTeardown, [])
    expect(code).toBe(0)
    expect(account.log).toEqual([])
    expect(out.split('\n')).toEqual([
      'teardown of coglabel in account 123456789012, us-east-1, in this order:',
      '  stack      coglabel-observe (CREATE_COMPLETE)',
      '  stack      coglabel-pipeline (CREATE_COMPLETE)',
      '  workers    1 service to zero; what workers hold goes back to the queue',
      '  instances  1 group to zero, protected or not',
      '  stack      coglabel-compute (CREATE_COMPLETE)',
      '  stack      coglabel-data (CREATE_COMPLETE)',
      '  stack      coglabel-network (CREATE_COMPLETE)',
      '  stays      bucket labels',
      '  stays      key key-1',
      'nothing was changed; the same command with --yes does it',
    ])
  })

  test('deletes in the order that works: the scaler, workers, instances, then what they stood in', async () => {
    const account = await startAccount(deployedAccount())
    const { code, out, told } = await runVerb(runTeardown, ['--yes'])
    expect(code).toBe(0)
    expect(account.stacks.size).toBe(0)
    expect(account.log).toEqual([
      'delete coglabel-observe',
      'delete coglabel-pipeline',
      'desired 0',
      'stop task-0',
      'stop task-1',
      'group 0 of 0',
      'unprotect i-1 i-2',
      'delete coglabel-compute',
      'delete coglabel-data',
      'delete coglabel-network',
    ])
    expect(told).toContain('workers: 2 workers left')
    expect(told).toContain('instances: none is left')
    expect(out).toContain('coglabel is gone; this stays:\n  stays      bucket labels')
    expect((await runVerb(runTeardown, ['--yes'])).out).toBe(
      'nothing is deployed as coglabel in account 123456789012, us-east-1',
    )
  })

  test('an interrupt ends the waiting, and the same command goes on', async () => {
    const account = await startAccount(deployedAccount())
    let interrupt = () => {}
    const first = await runVerb(runTeardown, ['--yes'], {
      onInterrupt: (call) => ((interrupt = call), () => {}),
      tell: (text) => void (text.startsWith('workers: 2') && interrupt()),
    })
    expect(first.code).toBe(130)
    expect(account.stacks.has('coglabel-compute')).toBe(true)
    expect((await runVerb(runTeardown, ['--yes'])).code).toBe(0)
    expect(account.stacks.size).toBe(0)
  })

  test('what cannot be deleted is named with its reason', async () => {
    const account = await startAccount({ ...deployedAccount(), fullBuckets: new Set(['mine']) })
    account.stacks
      .get('coglabel-data')
      ?.resources.push({ logicalId: 'ImagesF9', type: 'AWS::S3::Bucket', physicalId: 'mine' })
    expect((await runVerb(runTeardown, [])).out).toContain('LOST       the bucket mine goes with its stack')
    const failing = runVerb(runTeardown, ['--yes'])
    await expect(failing).rejects.toThrow(UserError)
    await expect(failing).rejects.toThrow(
      /coglabel-data could not be deleted \(DELETE_FAILED \):\n {2}Group: it holds/,
    )
    account.fullBuckets.clear()
    expect((await runVerb(runTeardown, ['--yes'])).code).toBe(0)
  })

  test('instances that begin or end just now are waited for, though their protection cannot be changed', async () => {
    const account = await startAccount(deployedAccount())
    account.groups.get('group-1')!.instances = [
      { id: 'i-1', isProtected: true },
      { id: 'i-2', isProtected: true, state: 'Terminating' },
      { id: 'i-3', isProtected: true, state: 'Pending' },
    ]
    expect((await runVerb(runTeardown, ['--yes'])).code).toBe(0)
    expect(account.log.filter((line) => line.startsWith('unprotect'))).toEqual([
      'unprotect i-1',
      'unprotect i-3',
    ])
  })

  test('workers that never end are said after their limit', async () => {
    const account = await startAccount(deployedAccount())
    account.stacks.delete('coglabel-pipeline')
    for (const service of account.services.values()) service.desired = 2
    let nowMs = 0
    const root = { clock: () => new Date(nowMs), sleep: async () => void (nowMs += 60_000) }
    // An instance that something protects again at each look.
    const group = account.groups.get('group-1')
    if (group === undefined) throw new Error('no group')
    Object.defineProperty(group, 'instances', {
      get: () => [{ id: 'i-9', isProtected: true }],
      set: () => {},
    })
    await expect(runVerb(runTeardown, ['--yes'], root)).rejects.toThrow(
      /1 instance did not end within 15 min/,
    )
  })

  test('says how many messages go with a queue', async () => {
    const { place, emulator } = await openEmulatedTestPlace()
    await place.queue.send(['one', 'two'])
    await startAccount(deployedAccount({ queueUrl: place.deployment?.queueUrl ?? '' }))
    expect(emulator).not.toBeNull()
    const { out } = await runVerb(runTeardown, [])
    expect(out).toMatch(/LOST {7}2 messages in work go with it/)
  })

  test('is not allowed to look, and says which permission that is', async () => {
    await startAccount({ ...deployedAccount(), denied: new Set(['GetTemplate']) })
    await expect(runVerb(runTeardown, [])).rejects.toThrow(/may not do cloudformation:GetTemplate/)
  })
})

test('of a deployment without instances of ours nothing is said about them', () => {
  const plan: TeardownPlan = {
    name: 'x',
    identity: { account: '1', arn: 'a', region: 'r' },
    stacks: [{ name: 'x-compute', status: 'CREATE_COMPLETE', reason: '' }],
    cluster: 'c',
    services: ['s'],
    groups: [],
    kept: [],
    lostBuckets: [],
    queues: [{ name: 'q', messages: 0 }],
  }
  expect(renderPlan(plan)).toEqual([
    'teardown of x in account 1, r, in this order:',
    '  workers    1 service to zero; what workers hold goes back to the queue',
    '  stack      x-compute (CREATE_COMPLETE)',
  ])
})
