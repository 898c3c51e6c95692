// What gc takes of a run and what it leaves: labels read the same after it, and sealing goes on.
import { expect, test } from 'vitest'
import { findGarbage } from '../../dataset/gc.ts'
import { closeWindow, partKey } from '../../dataset/part-windows.ts'
import { packPart, writePart } from '../../dataset/parts.ts'
import { readRecords } from '../../dataset/read.ts'
import { defaultSealLimits, sealRun } from '../../dataset/seal.ts'
import { openMemoryPlace } from '../../dataset/stores/memory.ts'
import { listAll } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'
import { someRecord } from '../helpers/records.ts'

const dayMs = 24 * 60 * 60 * 1000

function openRun() {
  const clock = { nowMs: Date.parse('2026-01-01') }
  const { store, sweeper } = openMemoryPlace({ nowMs: () => clock.nowMs })
  const limits = { ...defaultSealLimits, windowParts: 4, checkpointEvery: 2 }
  return {
    clock,
    store,
    sweeper,
    async grow(keys: readonly string[]) {
      for (const key of keys) {
        await writePart(store, [someRecord({ key })])
        await sealRun({ store, runId: 'run-test', clock: () => new Date(clock.nowMs), limits })
      }
    },
    async garbage(minAgeMs = 7 * dayMs) {
      const found: { kind: string; key: string }[] = []
      for await (const { kind, key } of findGarbage({ store, sweeper, nowMs: clock.nowMs, minAgeMs }))
        found.push({ kind, key })
      return found
    },
    async keys() {
      const keys: string[] = []
      for await (const { key } of listAll(store, { prefix: '' })) keys.push(key)
      return keys
    },
    async read() {
      const keys: string[] = []
      for await (const { source } of readRecords(store)) keys.push(source.key)
      return keys.toSorted()
    },
  }
}

const letters = 'abcdefghij'.split('')

test('takes sealed parts, lost files and replaced checkpoints once they are old, and labels stay', async () => {
  const run = openRun()
  await run.grow(letters)
  await run.store.putIfAbsent('sealed/000003-caption-0-00112233445566ff.jsonl.gz', new Uint8Array(9))
  await run.store.putIfAbsent('ids/000003-00112233445566ff.bin', new Uint8Array(9))
  const unsealed = await writePart(run.store, [someRecord({ key: 'unsealed' })])
  expect(await run.garbage()).toEqual([])
  run.clock.nowMs += 8 * dayMs
  const found = await run.garbage()
  const counts = Object.groupBy(found, ({ kind }) => kind)
  expect([counts['shard']?.length, counts['ids']?.length]).toEqual([1, 1])
  expect(counts['checkpoint']?.length).toBeGreaterThan(3)
  const before = await run.read()
  await run.sweeper.remove(found.map(({ key }) => key))
  expect(await run.garbage()).toEqual([])
  expect((await run.keys()).filter((key) => key.startsWith('parts/'))).toEqual([unsealed])
  expect(await run.read()).toEqual(before)
  // What was sealed stays sealed, also without its parts.
  await run.grow(['a', 'k', 'l', 'm'])
  expect(await run.read()).toEqual([...letters, 'k', 'l', 'm', 'unsealed'].toSorted())
})

test('leaves what a sealer that sleeps may still commit, however old', async () => {
  const run = openRun()
  await run.grow(['a', 'b', 'c'])
  const next = ['sealed/000004-caption-0-00112233445566ff.jsonl.gz', 'ids/000004-00112233445566ff.bin']
  // Of the state before generation 4: 99999999 - 3.
  next.push('checkpoints/99999996-00112233445566ff.json', 'checkpoints/ids/00000003-00112233445566ff.bin')
  for (const key of next) await run.store.putIfAbsent(key, new Uint8Array(9))
  run.clock.nowMs += 100 * dayMs
  expect((await run.garbage()).filter(({ key }) => next.includes(key))).toEqual([])
  await run.grow(['d'])
  // Decided now, but not for long enough.
  expect((await run.garbage()).filter(({ key }) => next.includes(key))).toEqual([])
  run.clock.nowMs += 8 * dayMs
  expect((await run.garbage()).filter(({ key }) => next.includes(key))).toHaveLength(4)
})

test('takes a part that came too late into its window, but none whose window is open', async () => {
  const run = openRun()
  const { name, bytes } = packPart([someRecord({ key: 'late' })])
  await run.grow(['a'])
  await closeWindow(run.store, 1)
  await run.grow(['b'])
  await run.store.putIfAbsent(partKey(1, name), bytes)
  await run.store.putIfAbsent(partKey(2, name), bytes)
  run.clock.nowMs += 8 * dayMs
  const parts = (await run.garbage()).map(({ key }) => key)
  expect([parts.includes(partKey(1, name)), parts.includes(partKey(2, name))]).toEqual([true, false])
})

test('never names windows, settings, manifests or what it does not know', async () => {
  const run = openRun()
  await run.grow(letters)
  for (const key of [
    'config.json',
    'parts/README',
    'sealed/notes',
    'checkpoints/x',
    'claims/1',
    'thumbs/a.webp',
  ])
    await run.store.putIfAbsent(key, new Uint8Array(1))
  run.clock.nowMs += 100 * dayMs
  const touched = new Set((await run.garbage()).map(({ key }) => key.replace(/^([a-z]+)\/.*/, '$1')))
  expect([...touched].toSorted()).toEqual(['checkpoints', 'parts'])
  const other = openMemoryPlace({ name: 'other' })
  const mixed = findGarbage({ store: run.store, sweeper: other.sweeper, nowMs: 0, minAgeMs: 0 })
  await expect(mixed.next()).rejects.toThrow(UserError)
})
