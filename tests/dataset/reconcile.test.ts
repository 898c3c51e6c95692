// Reconciling: exactly the images without all their records are asked for, however small the window.
import { expect, test } from 'vitest'
import { readAskedAgain } from '../../dataset/asked-again.ts'
import { readQueueBody } from '../../dataset/events.ts'
import { writePart } from '../../dataset/parts.ts'
import { openShards } from '../../dataset/plan-sources.ts'
import { reconcileRun } from '../../dataset/reconcile.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { objectUri } from '../../dataset/stores/object-store.ts'
import type { RunConfig } from '../../schemas/run-config.ts'
import { someRecord } from '../helpers/records.ts'
import { seededRandom } from '../helpers/seeded-random.ts'

const runId = 'run-1'
const taskNames = ['caption', 'qa'] as const
const tasks: RunConfig['tasks'] = taskNames.map((task) => ({
  task,
  taskVersion: 1,
  ordinal: 0,
  template: 'chat',
  prompts: [{ question: 'q' }],
  maxNewTokens: 8,
}))

type Fate = 'sealed' | 'lost' | 'half' | 'failed' | 'failed, then sealed'

/** A bucket of images with odd names, and a run in which each has met its fate. */
async function openWorld(fates: readonly Fate[]) {
  const [images, store] = [openMemoryStore('images'), openMemoryStore('run')]
  const byKey = new Map(fates.map((fate, n) => [`p/é b+%2F${String(n).padStart(3, '0')}/a.png`, fate]))
  for (const key of byKey.keys()) await images.putIfAbsent(key, Buffer.from('x'))
  const record = (key: string, task: string, status: 'ok' | 'failed' = 'ok') => {
    const made = someRecord({ key, task, status })
    return { ...made, source: { ...made.source, uri: objectUri(images, key) } }
  }
  const seal = async (wanted: (fate: Fate, task: string) => 'ok' | 'failed' | null) => {
    const records = [...byKey].flatMap(([key, fate]) =>
      taskNames.flatMap((task) => {
        const status = wanted(fate, task)
        return status === null ? [] : [record(key, task, status)]
      }),
    )
    if (records.length > 0) await writePart(store, records)
    await sealRun({ store, runId, clock: () => new Date(0) })
  }
  await seal((fate, task) => {
    if (fate === 'lost' || (fate === 'half' && task === 'qa')) return null
    return fate.startsWith('failed') && task === 'qa' ? 'failed' : 'ok'
  })
  await seal((fate, task) => (fate === 'failed, then sealed' && task === 'qa' ? 'ok' : null))
  const place = { uploadBucket: 'images', imagesOf: () => images, runStoreOf: () => store }
  const source = { kind: 'bucket', uri: 's3://images/p/', bucket: 'images', prefix: 'p/' } as const
  return {
    async reconcile(more: { windowRecords?: number; retriesFailed?: boolean } = {}) {
      const asked: string[] = []
      const tally = await reconcileRun({
        config: { runId, tasks },
        shards: await openShards({ runId, source }, place),
        store,
        queue: {
          async send(bodies) {
            for (const body of bodies) {
              const event = readQueueBody(body)
              if (event.kind === 'work') asked.push(...event.items.map(({ key }) => key))
            }
            return bodies.map(() => true)
          },
        },
        clock: () => new Date(0),
        ...more,
      })
      return { tally, asked, told: (await readAskedAgain(store, 0)).at(-1) ?? null }
    },
    keysOf: (...wanted: Fate[]) => [...byKey].filter(([, fate]) => wanted.includes(fate)).map(([key]) => key),
  }
}

test('asks for what lacks a record, each once, whatever the window', async () => {
  const random = seededRandom(7)
  const all: Fate[] = ['sealed', 'lost', 'half', 'failed', 'failed, then sealed']
  const fates = Array.from({ length: 60 }, () => all[Math.floor(random() * all.length)] ?? 'sealed')
  const world = await openWorld(fates)
  for (const windowRecords of [1, 2, 7, 40, 120, 1_000_000]) {
    const { tally, asked, told } = await world.reconcile({ windowRecords })
    expect(asked, `a window of ${windowRecords}`).toEqual(world.keysOf('lost', 'half'))
    const records = 2 * world.keysOf('lost').length + world.keysOf('half').length
    expect(tally).toMatchObject({ listed: 60, missing: asked.length, records })
    // Of two generations.
    expect(told).toMatchObject({ images: asked.length, records, afterGeneration: 2 })
  }
  const retried = await world.reconcile({ windowRecords: 11, retriesFailed: true })
  expect(retried.asked).toEqual(world.keysOf('lost', 'half', 'failed'))
})

test('asks for nothing where nothing is missing, and for all where nothing is sealed', async () => {
  expect(await (await openWorld(['sealed', 'sealed'])).reconcile({ windowRecords: 4 })).toEqual({
    tally: { listed: 2, missing: 0, records: 0, messages: 0 },
    asked: [],
    told: null,
  })
  expect((await (await openWorld([])).reconcile()).tally.listed).toBe(0)
  const none = await openWorld(['lost', 'lost', 'lost'])
  expect((await none.reconcile()).asked).toEqual(none.keysOf('lost'))
})
