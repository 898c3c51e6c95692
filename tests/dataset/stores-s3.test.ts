// The S3 store: the contract over the emulator, and lost answers, conflicts and torn bodies.
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { expect, onTestFinished, test } from 'vitest'
import { listAll } from '../../dataset/stores/object-store.ts'
import { openS3Store, openS3Sweeper } from '../../dataset/stores/s3.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { objectStoreContract } from '../contracts/object-store.ts'
import { objectSweeperContract } from '../contracts/object-sweeper.ts'
import { openEmulated } from '../helpers/emulated-store.ts'
import { seededFaults, type Fault, type FaultPlan } from '../../emulator/faults.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)

objectStoreContract('s3, a whole bucket', async () => (await openEmulated({ prefix: '' })).store)
objectStoreContract(
  's3, a prefix in a bucket',
  async () => (await openEmulated({ prefix: 'runs/r 1+é/' })).store,
)

objectSweeperContract('s3, a prefix in a bucket', async () => {
  const { store, options } = await openEmulated({ prefix: 'runs/r 1+é/' })
  const sweeper = openS3Sweeper(options)
  onTestFinished(() => sweeper.close())
  return { store, sweeper }
})

/** The faults of the PutObjects in order; requests after them have none. */
function onPuts(faults: Fault[]): FaultPlan {
  let puts = 0
  return ({ operation }) => (operation === 'PutObject' ? (faults[puts++] ?? {}) : {})
}

const conflict = { refuseWith: { status: 409, code: 'ConditionalRequestConflict' } }
const broken = { refuseWith: { status: 500, code: 'InternalError' } }

test.each([
  ['the answer is lost', [{ loseResponse: true }]],
  ['the answer is lost and a conflict follows', [{ loseResponse: true }, conflict]],
  ['the race is still open', [conflict, conflict]],
  ['the service fails', [broken, broken]],
  ['the service fails, then loses the answer', [broken, { loseResponse: true }, broken]],
])('knows its own object when %s', async (_name, faults) => {
  const { store } = await openEmulated({ faults: onPuts(faults) })
  expect(await store.putIfAbsent('k', bytesOf('mine'))).toBe('created')
  expect(await store.putIfAbsent('k', bytesOf('mine'))).toBe('exists')
  expect(await store.get('k')).toEqual(bytesOf('mine'))
})

test("knows another's object even after a conflict of its own", async () => {
  const { store, emulator } = await openEmulated()
  await store.putIfAbsent('k', bytesOf('first'))
  emulator.setFaults(onPuts([conflict]))
  expect(await store.putIfAbsent('k', bytesOf('second'))).toBe('exists')
})

test('lets one of many racing puts win while answers are lost and refused', async () => {
  const rates = { refuse: 0.1, conflict: 0.1, loseResponse: 0.1 }
  const { store } = await openEmulated({ faults: seededFaults({ seed: 4, rates }) })
  const results = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => await store.putIfAbsent('race', bytesOf(`${n}`))),
  )
  expect(results.filter((result) => result === 'created')).toHaveLength(1)
  expect(await store.get('race')).toEqual(bytesOf(`${results.indexOf('created')}`))
})

test('reads bodies that tear on the way', async () => {
  const { store, emulator } = await openEmulated()
  const bytes = new Uint8Array(300_000).map((_, index) => index % 251)
  await store.putIfAbsent('k', bytes)
  let gets = 0
  emulator.setFaults(({ operation }) => ({ cutBody: operation === 'GetObject' && gets++ % 2 === 0 }))
  expect(await store.get('k')).toEqual(bytes)
  expect(await store.getRange('k', { start: 1000, end: 250_000 })).toEqual(bytes.slice(1000, 250_000))
})

test('answers an empty range without asking for one', async () => {
  const { store } = await openEmulated()
  await store.putIfAbsent('k', bytesOf('abc'))
  expect(await store.getRange('k', { start: 1, end: 1 })).toEqual(new Uint8Array())
  expect(await store.getRange('missing', { start: 1, end: 1 })).toBeNull()
})

test('sees only what lies below its prefix, and no folder markers', async () => {
  const { store, client } = await openEmulated({ prefix: 'in/' })
  for (const Key of ['in/', 'in/a', 'in/b/', 'in/b/c', 'in/d\u0001+ %', 'inner', 'other'])
    await client.send(new PutObjectCommand({ Bucket: 'labels', Key, Body: Buffer.from(Key) }))
  for (const pageSize of [1, 2, 100]) {
    const found: string[] = []
    for await (const { key } of listAll(store, { prefix: '', pageSize })) found.push(key)
    expect(found).toEqual(['a', 'b/c', 'd\u0001+ %'])
  }
  expect(await store.get('b/c')).toEqual(bytesOf('in/b/c'))
})

test("reports what the user can mend as the user's, and a busy service as retryable", async () => {
  const { store, emulator, options } = await openEmulated()
  const missing = openS3Store({ ...options, bucket: 'missing' })
  const attempts = [
    async () => await missing.get('k'),
    async () => await missing.list({ prefix: '' }),
    async () => await missing.putIfAbsent('k', bytesOf('x')),
  ]
  for (const attempt of attempts)
    await expect(attempt()).rejects.toThrow(/s3:\/\/missing\/k?: the bucket does not exist/)
  const wrong = { accessKeyId: 'nobody', secretAccessKey: 'x' }
  const stranger = openS3Store({ ...options, credentials: wrong })
  await expect(stranger.get('k')).rejects.toThrow(UserError)
  await expect(stranger.head('k')).rejects.toThrow(UserError)
  expect(() => openS3Store({ ...options, prefix: 'no-slash' })).toThrow(UserError)
  await expect(openS3Store({ ...options, prefix: `${'p'.repeat(1020)}/` }).get('long')).rejects.toThrow(
    /shorten/,
  )
  emulator.setFaults(() => ({ refuseWith: { status: 403, code: 'InvalidObjectState' } }))
  await expect(store.get('k')).rejects.toThrow(/s3:\/\/labels\/k: the object is archived; restore it/)
  emulator.setFaults(() => broken)
  await expect(store.head('k')).rejects.toThrow(RetryableError)
})
