// Runs of ids: a look-up finds what a map finds, reads little, and a damaged file is noticed.
import { expect, test } from 'vitest'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { IdIndex } from '../../dataset/id-index.ts'
import { entryBytes, openIdRun, packIdRun, sortEntries } from '../../dataset/id-run.ts'
import { openMemoryPlace } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { IdRunHead } from '../../schemas/checkpoint.ts'

const idOf = (n: number) => sha256Hex(`id ${n}`).slice(0, 32)
const key = 'checkpoints/ids/00000001-0123456789abcdef.bin'

async function openRun(count: number) {
  const { store, sweeper } = openMemoryPlace()
  const index = new IdIndex()
  for (let n = 0; n < count; n += 1) index.set(idOf(n), n % 3)
  const { head, bytes } = packIdRun(sortEntries(index.entries()), 0)
  await store.putIfAbsent(key, bytes)
  const read = { bytes: 0 }
  const counted: ObjectStore = {
    ...store,
    async getRange(name, range) {
      const part = await store.getRange(name, range)
      read.bytes += part?.length ?? 0
      return part
    },
  }
  const open = () => openIdRun(counted, IdRunHead.parse({ key, ...head }))
  return { open, bytes, read, store, sweeper }
}

test.each([0, 1, 2, 255, 3000, 40_000])('finds each of %i ids with its rank, and no other', async (count) => {
  const run = (await openRun(count)).open()
  const ids = Array.from({ length: Math.min(count, 3000) }, (_, n) => idOf(n))
  const strangers = Array.from({ length: 3000 }, (_, n) => idOf(1_000_000 + n))
  const found = await run.ranksOf([...strangers, ...ids])
  expect(found).toEqual(new Map(ids.map((id, n) => [id, n % 3])))
  expect((await run.readEntries())?.length).toBe(count * entryBytes)
})

test('reads a few buckets of many', async () => {
  const { open, bytes, read } = await openRun(40_000)
  expect((await open().ranksOf([idOf(7), idOf(-1)]))?.get(idOf(7))).toBe(7 % 3)
  expect(read.bytes).toBeLessThan(bytes.length / 20)
})

test('says when any byte of what it reads was changed, and never answers wrongly', async () => {
  const { open, bytes, store, sweeper } = await openRun(2000)
  const ids = Array.from({ length: 2000 }, (_, n) => idOf(n))
  for (let at = 0; at < bytes.length; at += 499) {
    const damaged = Uint8Array.from(bytes)
    damaged[at] = (damaged[at] ?? 0) ^ 1
    for (const content of [damaged, bytes.subarray(0, at)]) {
      await sweeper.remove([key])
      await store.putIfAbsent(key, content)
      expect(await open().ranksOf(ids), `byte ${at}`).toBeNull()
      expect(await open().readEntries(), `byte ${at}`).toBeNull()
    }
  }
  await sweeper.remove([key])
  expect(await open().ranksOf([idOf(0)])).toBeNull()
})

test('keeps the last of entries with one id', () => {
  const entry = (n: number, rank: number) => Buffer.concat([Buffer.from(idOf(n), 'hex'), Buffer.of(rank)])
  const sorted = sortEntries(Buffer.concat([entry(1, 0), entry(2, 0), entry(1, 2), entry(3, 1), entry(2, 1)]))
  const entries = [entry(1, 2), entry(2, 1), entry(3, 1)].toSorted(Buffer.compare)
  expect(sorted).toEqual(Buffer.concat(entries))
})
