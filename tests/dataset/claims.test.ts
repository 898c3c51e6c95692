// Claims: one of many gets to work, the dead block nobody for long, and nothing that a clock says can block for ever.
import { expect, test } from 'vitest'
import { type Claim, defaultClaimLimits, takeClaim } from '../../dataset/claims.ts'
import { manualClock } from '../helpers/manual-clock.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll } from '../../dataset/stores/object-store.ts'

const limits = defaultClaimLimits
const ids = ['b'.repeat(32), 'a'.repeat(32)]

function openWorld() {
  const clock = manualClock(Date.UTC(2026, 0, 1))
  const store = openMemoryStore()
  const take = async (recordIds: readonly string[] = ids, nowMs: () => number = () => clock.nowMs()) =>
    await takeClaim(recordIds, { store, clock: { nowMs }, limits })
  return { clock, store, take }
}

const mine = async (taken: Promise<Claim>) => {
  const claim = await taken
  if (claim.state !== 'mine') throw new Error(`the claim is ${claim.state}`)
  return claim
}

test('gives work to one of many, whatever the order of its ids, and tells the rest how long', async () => {
  const { take } = openWorld()
  const claims = await Promise.all(
    Array.from({ length: 8 }, async (_, n) => await take(n % 2 ? ids : ids.toReversed())),
  )
  expect(claims.map(({ state }) => state).toSorted()).toEqual([
    ...Array.from({ length: 7 }, () => 'held'),
    'mine',
  ])
  expect(claims.find((claim) => claim.state === 'held')).toEqual({ state: 'held', leftMs: limits.claimMs })
  expect((await take(['c'.repeat(32)])).state).toBe('mine')
})

test('gives the work of a dead worker to one other when its claim has expired', async () => {
  const { take, clock } = openWorld()
  const dead = await mine(take())
  clock.advance(limits.claimMs - 1)
  expect(await take()).toEqual({ state: 'held', leftMs: 1 })
  clock.advance(1)
  const others = await Promise.all([take(), take(), take()])
  expect(others.map(({ state }) => state).toSorted()).toEqual(['held', 'held', 'mine'])
  // The dead one was only slow: what it says now does not undo the other's claim.
  await dead.settle('open')
  expect((await take()).state).toBe('held')
})

test('says that the work is done, for as long as sealing may take and no longer', async () => {
  const { take, clock } = openWorld()
  await (await mine(take())).settle('done')
  expect(await take()).toEqual({ state: 'done' })
  clock.advance(limits.claimDoneMs)
  expect((await take()).state).toBe('mine')
})

test('lets others have at once what was given up', async () => {
  const { take } = openWorld()
  await (await mine(take())).settle('open')
  expect((await take()).state).toBe('mine')
})

test('blocks nobody by a clock that runs ahead', async () => {
  const { take, clock } = openWorld()
  await mine(take(ids, () => clock.nowMs() + 3_600_000))
  expect((await take()).state).toBe('mine')
})

test('blocks nobody by an entry that cannot be read', async () => {
  const { take, store } = openWorld()
  await mine(take())
  const [claim] = (await store.list({ prefix: 'claims/' })).objects
  const damaged = {
    ...store,
    get: async (key: string) => (key === claim?.key ? Buffer.from('{') : await store.get(key)),
  }
  const clock = manualClock(Date.UTC(2026, 0, 1))
  expect((await takeClaim(ids, { store: damaged, clock, limits })).state).toBe('mine')
})

test('costs one entry to take and one to end, under names that nothing of an image goes into', async () => {
  const { take, store } = openWorld()
  await (await mine(take())).settle('done')
  await take()
  const keys: string[] = []
  for await (const { key } of listAll(store, { prefix: '' })) keys.push(key)
  expect(keys.map((key) => key.replace(/[0-9a-f]{32}/, 'ID').replace(/\/[0-9a-f]{2}\//, '/xx/'))).toEqual([
    'claims/xx/ID-0001.json',
    'claims/xx/ID-0002.json',
  ])
})
