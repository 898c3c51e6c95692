// The list of an uploaded manifest: whole or not there, the same however often its writer was killed, and never replaced.
import { expect, test } from 'vitest'
import { readQueueBody } from '../../dataset/events.ts'
import { openShards } from '../../dataset/plan-sources.ts'
import { planRun } from '../../dataset/plan.ts'
import { openMemoryQueue } from '../../dataset/queues/memory.ts'
import { checkRunList, openRunList, writeRunList } from '../../dataset/run-list.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'
import type { WorkItem } from '../../schemas/work-item.ts'

const runId = 'run-1'
const prefix = `listed-uploads/${runId}/`
const source = { kind: 'manifest', uri: 'file:///photos/list.jsonl' } as const

/** Of 12 kB each, so that a file of the list holds some hundred. */
function makeItems(count: number): WorkItem[] {
  return Array.from({ length: count }, (_, n) => ({
    key: `a/${n}.png`,
    ...(n % 3 === 0 ? { questions: [`is it ${n}?`] } : {}),
    ...(n % 3 === 1 ? { phrases: [`the ${n}`] } : {}),
    meta: { id: n, note: 'x'.repeat(12_000) },
  }))
}

const write = async (store: ObjectStore, items: readonly WorkItem[]) => {
  async function* inOrder() {
    yield* items
  }
  const options = { store, bucket: 'images', prefix }
  await checkRunList({ items: inOrder(), ...options })
  await writeRunList({ items: inOrder(), ...options })
}

/** A store that dies before or after the n-th write. */
function dieAt(store: ObjectStore, call: number): ObjectStore {
  let calls = 0
  const die = () => {
    calls += 1
    if (calls === call) throw new Error('killed')
  }
  return {
    ...store,
    async putIfAbsent(key, bytes) {
      die()
      const outcome = await store.putIfAbsent(key, bytes)
      die()
      return outcome
    },
  }
}

async function plan(store: ObjectStore) {
  const queue = openMemoryQueue()
  const bodies: string[] = []
  const place = { uploadBucket: 'images', imagesOf: () => openMemoryStore(), runStoreOf: () => store }
  await planRun(await openShards({ runId, source, itemTasks: ['qa', 'ground'] }, place), {
    runId,
    store,
    queue: {
      async send(batch) {
        bodies.push(...batch)
        return await queue.send(batch)
      },
    },
    clock: () => new Date(0),
  })
  return bodies.flatMap((body) => {
    const event = readQueueBody(body)
    return event.kind === 'work' ? event.items.map(({ runId: _run, bucket: _bucket, ...item }) => item) : []
  })
}

test('asks for every image of the manifest with what it brings, in order', async () => {
  const store = openMemoryStore('run')
  const items = makeItems(700)
  await write(store, items)
  expect(await openRunList(store)).toHaveLength(3)
  expect(await plan(store)).toEqual(items.map((item) => ({ ...item, key: prefix + item.key })))
})

test('is not there before it is whole, and is the same wherever its writer was killed', async () => {
  const items = makeItems(700)
  const whole = openMemoryStore('run')
  await write(whole, items)
  const keys: string[] = []
  for await (const { key } of listAll(whole, { prefix: '' })) keys.push(key)
  for (let call = 1; call <= 8; call += 1) {
    const store = openMemoryStore('run')
    await expect(write(dieAt(store, call), items)).rejects.toThrow('killed')
    if (call < 8) {
      expect(await openRunList(store)).toBeNull()
      await expect(plan(store)).rejects.toThrow(/was not submitted to its end; repeat the command/)
    }
    await write(store, items)
    for (const key of keys)
      expect(Buffer.compare((await store.get(key))!, (await whole.get(key))!), key).toBe(0)
  }
})

test('is never replaced: a manifest that has changed is refused, whole or not', async () => {
  const items = makeItems(700)
  const changes: [string, WorkItem[]][] = [
    ['an image more', [...items, { key: 'b.png' }]],
    ['an image less', items.slice(0, -1)],
    ['a file of the list less', items.slice(0, 300)],
    ['another question', items.with(300, { ...items[300]!, questions: ['why?'] })],
  ]
  const store = openMemoryStore('run')
  await write(store, items)
  for (const [name, changed] of changes) {
    const failed = write(store, changed)
    await expect(failed, name).rejects.toThrow(/submit another run with --run NAME/)
    await expect(failed, name).rejects.toThrow(UserError)
  }
  const half = openMemoryStore('run')
  await expect(write(dieAt(half, 4), items)).rejects.toThrow('killed')
  await expect(write(half, items.with(3, { key: 'other.png' }))).rejects.toThrow(/is not what it was/)
})
