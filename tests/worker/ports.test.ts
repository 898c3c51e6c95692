// Where the cloud's worker puts what it writes, over the emulated cloud.
import { expect, test } from 'vitest'
import { systemClock } from '../../dataset/queues/clock.ts'
import { defaultClaimLimits, takeClaim } from '../../dataset/claims.ts'
import { openPorts } from '../../gpu-worker/cloud/ports.ts'
import { parseWorkerSettings } from '../../gpu-worker/pipeline/worker-settings.ts'
import { openEmulatedTestPlace } from '../helpers/places.ts'

test('claims of every run lie under one prefix of the bucket, where a lifecycle rule finds them', async () => {
  const { place, workerEnvironment } = await openEmulatedTestPlace()
  const open = () => openPorts(parseWorkerSettings({ ...workerEnvironment, COGLABEL_MODEL: 'model' }))
  const take = async (runId: string) =>
    await takeClaim(['record'], {
      store: open().runStoreOf(runId),
      clock: systemClock,
      limits: defaultClaimLimits,
    })
  expect((await take('one')).state).toBe('mine')
  expect((await take('two')).state).toBe('mine')
  // Another worker of the same run finds it there.
  expect((await take('one')).state).toBe('held')
  const keysBelow = async (prefix: string) =>
    (await place.labels.list({ prefix })).objects.map(({ key }) => key)
  expect(await keysBelow('runs/')).toEqual([])
  expect(await keysBelow('claims/')).toEqual([
    expect.stringMatching(/^claims\/one\/[0-9a-f]{2}\/[0-9a-f]{32}-0001\.json$/),
    expect.stringMatching(/^claims\/two\//),
  ])
})
