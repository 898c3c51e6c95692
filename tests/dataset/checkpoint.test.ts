// Checkpoints: late generations cost what early ones cost, damaged and forged ones change nothing, old runs go on.
import { expect, test } from 'vitest'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { manifestKey, readChain, readManifest } from '../../dataset/chain.ts'
import { writeCheckpoint } from '../../dataset/checkpoint.ts'
import { closeWindow } from '../../dataset/part-windows.ts'
import { writePart } from '../../dataset/parts.ts'
import { readRecords } from '../../dataset/read.ts'
import { defaultSealLimits, sealRun } from '../../dataset/seal.ts'
import { listUnsealed, loadState } from '../../dataset/seal-state.ts'
import { loadIdIndex } from '../../dataset/sealed-ids.ts'
import { openMemoryPlace, openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { someRecord } from '../helpers/records.ts'

const limits = { ...defaultSealLimits, windowParts: 6, checkpointEvery: 4 }
const seal = async (store: ObjectStore) =>
  await sealRun({ store, runId: 'run-test', clock: () => new Date(0), limits })

/** Adds generations of three records each in two parts, each by a sealer that starts anew. */
async function grow(store: ObjectStore, { from = 0, generations }: { from?: number; generations: number }) {
  for (let n = from; n < from + generations; n += 1) {
    await writePart(store, [someRecord({ key: `${n}-a` }), someRecord({ key: `${n}-b`, status: 'failed' })])
    await writePart(store, [someRecord({ key: `${n}-c`, task: 'qa' })])
    expect((await seal(store)).generations).toBe(1)
  }
}

const keysOf = async (store: ObjectStore, prefix = '') => {
  const keys: string[] = []
  for await (const { key } of listAll(store, { prefix })) keys.push(key)
  return keys
}

const read = async (store: ObjectStore) => {
  const rows: string[] = []
  for await (const { source, status } of readRecords(store)) rows.push(`${source.key} ${status}`)
  return rows.toSorted()
}

test('a late generation takes the requests and the bytes of an early one', async () => {
  const store = openMemoryStore()
  const cost = { requests: 0, bytes: 0 }
  const counted = <A extends unknown[], R>(act: (...args: A) => Promise<R>) => {
    return async (...args: A) => {
      const result = await act(...args)
      cost.requests += 1
      if (result instanceof Uint8Array) cost.bytes += result.length
      return result
    }
  }
  const watched: ObjectStore = {
    ...store,
    putIfAbsent: counted(store.putIfAbsent),
    get: counted(store.get),
    getRange: counted(store.getRange),
    head: counted(store.head),
    // The pages a bucket would answer with: what is listed shows in the count.
    list: async (page) => await counted(store.list)({ ...page, limit: Math.min(page.limit ?? 8, 8) }),
  }
  const worst = async (from: number) => {
    const costs: (typeof cost)[] = []
    for (let n = from; n < from + 16; n += 1) {
      Object.assign(cost, { requests: 0, bytes: 0 })
      await grow(watched, { from: n, generations: 1 })
      costs.push({ ...cost })
    }
    const worstOf = (field: keyof typeof cost) => Math.max(...costs.map((one) => one[field]))
    return { requests: worstOf('requests'), bytes: worstOf('bytes') }
  }
  const early = await worst(1)
  await grow(store, { from: 17, generations: 200 })
  const late = await worst(217)
  expect(late.requests).toBeLessThan(early.requests * 1.5)
  expect(late.bytes).toBeLessThan(early.bytes * 2)
})

test('goes on after any file of the checkpoints was changed or lost, and says the same', async () => {
  const { store, sweeper } = openMemoryPlace()
  await grow(store, { generations: 22 })
  const files = await keysOf(store, 'checkpoints/')
  expect(files.filter((key) => key.endsWith('.bin')).length).toBeGreaterThan(2)
  for (const [n, key] of files.entries()) {
    for (const damage of ['lost', 'changed'] as const) {
      const bytes = (await store.get(key)) ?? new Uint8Array()
      await sweeper.remove([key])
      if (damage === 'changed')
        await store.putIfAbsent(
          key,
          bytes.map((byte) => byte ^ 1),
        )
      expect((await loadIdIndex(store)).size).toBe((await read(store)).length)
      // All of it was sealed before: nothing may come twice, and a failure gives way once.
      await writePart(store, [
        someRecord({ key: '0-a', text: `${n} ${damage}` }),
        someRecord({ key: `${n}-b`, text: damage }),
      ])
      await seal(store)
      await sweeper.remove([key])
      await store.putIfAbsent(key, bytes)
    }
  }
  const rows = await read(store)
  expect(rows).toHaveLength(66)
  expect(rows.filter((row) => row.endsWith('failed'))).toHaveLength(22 - Math.min(22, files.length))
  const last = await loadState(store)
  expect(last.checkpointed).toBeGreaterThan(0)
})

test('takes no checkpoint that the chain does not name', async () => {
  const store = openMemoryStore()
  await grow(store, { generations: 6 })
  const last = await readManifest(store, 6)
  const forged = {
    runId: 'run-test',
    manifestSha256: last?.sha256 ?? '',
    totals: {},
    partsFrom: 99,
    parts: [],
    idRuns: [],
    createdAt: new Date(0).toISOString(),
  }
  for (const generation of [6, 5, 1000, 99_999_999]) await writeCheckpoint(store, { ...forged, generation })
  await grow(store, { from: 6, generations: 4 })
  expect(await read(store)).toHaveLength(30)
  expect((await loadIdIndex(store)).size).toBe(30)
})

test('reads and continues a run of the first format, whose parts have no windows', async () => {
  const modern = openMemoryStore()
  await grow(modern, { generations: 5 })
  const store = await asFirstFormat(modern)
  const before = await read(store)
  expect(before).toEqual(await read(modern))
  // Left behind by its last worker.
  const [unsealed = ''] = await keysOf(await partOf([someRecord({ key: 'late' })]), 'parts/')
  const bytes = (await (await partOf([someRecord({ key: 'late' })])).get(unsealed)) ?? new Uint8Array()
  await store.putIfAbsent(firstFormatKey(unsealed), bytes)
  expect(await countUnsealed(store)).toBe(1)
  await writePart(store, [someRecord({ key: '0-b' }), someRecord({ key: 'new' })])
  await seal(store)
  const retried = before.map((row) => (row === '0-b failed' ? '0-b ok' : row))
  expect(await read(store)).toEqual([...retried, 'late ok', 'new ok'].toSorted())
  await grow(store, { from: 5, generations: 9 })
  expect((await loadState(store)).parts.size).toBeLessThan(30)
  expect(await read(store)).toHaveLength(before.length + 2 + 27)
  expect(await countUnsealed(store)).toBe(0)
  expect((await loadState(store)).totals).toMatchObject({ qa: { ok: 14 } })
})

test('a part whose window was closed while its writer slept is written again where it is found', async () => {
  const store = openMemoryStore()
  const asleep = { until: Promise.resolve() }
  const sleepy: ObjectStore = {
    ...store,
    async putIfAbsent(key, bytes) {
      await asleep.until
      return await store.putIfAbsent(key, bytes)
    },
  }
  expect(await writePart(sleepy, [someRecord({ key: 'a' })])).toMatch(/^parts\/w00000001\//)
  const gate = Promise.withResolvers<void>()
  asleep.until = gate.promise
  const late = writePart(sleepy, [someRecord({ key: 'b' })])
  await closeWindow(store, 1)
  await closeWindow(store, 2)
  await seal(store)
  expect((await loadState(store)).partsFrom).toBe(3)
  gate.resolve()
  expect(await late).toMatch(/^parts\/w00000003\//)
  await seal(store)
  expect(await read(store)).toEqual(['a ok', 'b ok'])
  expect(await countUnsealed(store)).toBe(0)
})

async function countUnsealed(store: ObjectStore): Promise<number> {
  let count = 0
  for await (const { sizeBytes } of listUnsealed(store, await loadState(store)))
    count += sizeBytes > 0 ? 1 : 0
  return count
}

async function partOf(records: ReturnType<typeof someRecord>[]): Promise<ObjectStore> {
  const store = openMemoryStore()
  await writePart(store, records)
  return store
}

function firstFormatKey(part: string): string {
  return part.replace(/^parts\/w[0-9]{8}\/(..)/, 'parts/$1/$1')
}

/** The same run as the first format had it: no windows, no checkpoints, version 1. */
async function asFirstFormat(modern: ObjectStore): Promise<ObjectStore> {
  const store = openMemoryStore('first')
  for (const prefix of ['parts/', 'sealed/', 'ids/']) {
    for (const key of await keysOf(modern, prefix))
      await store.putIfAbsent(firstFormatKey(key), (await modern.get(key)) ?? new Uint8Array())
  }
  let prevSha256: string | null = null
  for await (const { manifest } of readChain(modern)) {
    const { partsFrom: _, checkpoint: __, ...rest } = manifest
    const old = { ...rest, v: 1, prevSha256, parts: manifest.parts.map(firstFormatKey) }
    const bytes = Buffer.from(JSON.stringify(old))
    await store.putIfAbsent(manifestKey(manifest.generation), bytes)
    prevSha256 = sha256Hex(bytes)
  }
  return store
}
