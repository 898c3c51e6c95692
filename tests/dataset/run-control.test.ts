// Pause, resume and cancel: what a run stands at after any sequence of them, and who wins a race.
import { expect, test } from 'vitest'
import { controlRun, readControl } from '../../dataset/run-control.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'
import type { RunAction } from '../../schemas/run-control.ts'

const now = new Date('2026-01-01T00:00:00Z')

test.each<[RunAction[], string, number]>([
  [[], 'running', 0],
  [['resume'], 'running', 0],
  [['pause'], 'paused', 1],
  [['pause', 'pause'], 'paused', 1],
  [['pause', 'resume'], 'running', 2],
  [['pause', 'resume', 'pause'], 'paused', 3],
  [['pause', 'cancel'], 'cancelled', 2],
  [['cancel', 'cancel'], 'cancelled', 1],
])('stands after %j at %s, with %i entries', async (actions, state, entries) => {
  const store = openMemoryStore()
  for (const action of actions) await controlRun(store, { action, now })
  expect(await readControl(store)).toMatchObject({ state, entries })
})

test.each(['pause', 'resume'] as const)('does not %s a run that is cancelled', async (action) => {
  const store = openMemoryStore()
  await controlRun(store, { action: 'cancel', now })
  await expect(controlRun(store, { action, now })).rejects.toThrow(UserError)
})

test('reads on from what is known', async () => {
  const store = openMemoryStore()
  await controlRun(store, { action: 'pause', now })
  const known = await readControl(store)
  await controlRun(store, { action: 'resume', now })
  const asked: string[] = []
  const watched = {
    ...store,
    get: async (key: string) => {
      asked.push(key)
      return await store.get(key)
    },
  }
  expect(await readControl(watched, known)).toMatchObject({ state: 'running', entries: 2 })
  expect(asked).toEqual(['control/00000002.json', 'control/00000003.json'])
})

test('lets one of many win each entry, and every switch has its effect or its like', async () => {
  const store = openMemoryStore()
  await Promise.all(
    Array.from(
      { length: 12 },
      async (_, n) => await controlRun(store, { action: n % 2 ? 'pause' : 'resume', now }),
    ),
  )
  const keys: string[] = []
  for await (const { key } of listAll(store, { prefix: 'control/' })) keys.push(key)
  expect(keys.length).toBe((await readControl(store)).entries)
})

test('says what is wrong with an entry that was changed by hand', async () => {
  const store = openMemoryStore()
  await store.putIfAbsent('control/00000001.json', Buffer.from('{"v":3,"action":"explode"}'))
  await expect(readControl(store)).rejects.toThrow(/control\/00000001\.json is no entry/)
})
