// Following a chain that grows: only what is new is read.
import { expect, test } from 'vitest'
import { followIds } from '../../dataset/sealed-ids.ts'
import { writePart } from '../../dataset/parts.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { statusRank } from '../../schemas/label-record.ts'
import { someRecord } from '../helpers/records.ts'

/** A run whose every seal adds one generation of one record. */
function openGrowingRun() {
  const store = openMemoryStore()
  const reads: string[] = []
  const watched: ObjectStore = {
    ...store,
    get: async (key) => {
      reads.push(key.replace(/-[0-9a-f]+\.bin$/, ''))
      return await store.get(key)
    },
  }
  return {
    watched,
    reads,
    async grow(key: string, status: 'ok' | 'failed' = 'ok') {
      const record = someRecord({ key, status })
      await writePart(store, [record])
      await sealRun({ store, runId: 'run-test', clock: () => new Date(0) })
      return record.recordId
    },
  }
}

test('knows the ids of each generation after a refresh, and reads none twice', async () => {
  const { watched, reads, grow } = openGrowingRun()
  const ids = followIds(watched, { maxIds: 100 })
  const first = await grow('a', 'failed')
  await ids.refresh()
  expect(ids.index.rankOf(first)).toBe(statusRank.failed)
  const second = await grow('b')
  await grow('a')
  reads.length = 0
  await ids.refresh()
  expect([ids.index.rankOf(first), ids.index.rankOf(second)]).toEqual([statusRank.ok, statusRank.ok])
  expect(reads).toEqual([
    'manifests/00000002.json',
    'manifests/00000003.json',
    'manifests/00000004.json',
    'ids/000002',
    'ids/000003',
  ])
})

test('learns no more than it may', async () => {
  const { watched, grow } = openGrowingRun()
  for (const key of ['a', 'b', 'c', 'd']) await grow(key)
  const ids = followIds(watched, { maxIds: 2 })
  await ids.refresh()
  expect(ids.index.size).toBe(2)
})
