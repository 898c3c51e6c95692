// Parts, sealing and reading back: one row for each id, whatever was written, by whomever, how often.
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { manifestKey, readManifest } from '../../dataset/chain.ts'
import { packPart, writePart } from '../../dataset/parts.ts'
import { readRecords } from '../../dataset/read.ts'
import { defaultSealLimits, sealRun } from '../../dataset/seal.ts'
import { loadIdIndex } from '../../dataset/sealed-ids.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'
import { SealedManifest } from '../../schemas/sealed-manifest.ts'
import { someRecord } from '../helpers/records.ts'

const seal = async (store: ObjectStore, limits = defaultSealLimits) =>
  await sealRun({ store, runId: 'run-test', clock: () => new Date(0), limits })

const read = async (store: ObjectStore) => {
  const rows: string[] = []
  for await (const record of readRecords(store))
    rows.push(`${record.source.key} ${record.task} ${record.status} ${record.raw}`)
  return rows.toSorted()
}

test('packs the same records into the same part, in whatever order they came', () => {
  const records = ['a', 'b', 'c'].map((key) => someRecord({ key }))
  const part = packPart(records)
  expect(packPart(records.toReversed())).toEqual(part)
  expect(part.name).toMatch(/^[0-9a-f]{40}\.jsonl\.gz$/)
  expect([...part.bytes.subarray(4, 10)]).toEqual([0, 0, 0, 0, 0, 255])
  expect(gunzipSync(part.bytes).toString().split('\n')).toHaveLength(4)
})

test('seals each id once over many parts and generations', async () => {
  const store = openMemoryStore()
  await writePart(store, [someRecord({ key: 'a' }), someRecord({ key: 'b' })])
  await writePart(store, [someRecord({ key: 'b' }), someRecord({ key: 'c', task: 'qa' })])
  expect(await seal(store)).toEqual({
    generations: 1,
    lastGeneration: 1,
    totals: { caption: { ok: 2, filtered: 0, failed: 0 }, qa: { ok: 1, filtered: 0, failed: 0 } },
  })
  await writePart(store, [someRecord({ key: 'a', text: 'again' }), someRecord({ key: 'd' })])
  expect((await seal(store)).totals).toMatchObject({ caption: { ok: 3 } })
  expect((await seal(store)).generations).toBe(0)
  expect(await read(store)).toEqual([
    'a caption ok a thing',
    'b caption ok a thing',
    'c qa ok a thing',
    'd caption ok a thing',
  ])
  expect((await loadIdIndex(store)).size).toBe(4)
})

/** Which of two rows of one id stands, whether or not the first was sealed before the second came. */
const standings = [
  { first: 'failed', second: 'failed', wins: 'first' },
  { first: 'failed', second: 'filtered', wins: 'second' },
  { first: 'failed', second: 'ok', wins: 'second' },
  { first: 'filtered', second: 'failed', wins: 'first' },
  { first: 'filtered', second: 'filtered', wins: 'first' },
  { first: 'filtered', second: 'ok', wins: 'second' },
  { first: 'ok', second: 'failed', wins: 'first' },
  { first: 'ok', second: 'filtered', wins: 'first' },
  { first: 'ok', second: 'ok', wins: 'first' },
] as const

test.each(standings)('lets one row stand of $first, then $second', async ({ first, second, wins }) => {
  for (const isTogether of [true, false]) {
    const store = openMemoryStore()
    const records = [
      someRecord({ key: 'a', status: first, text: 'first' }),
      someRecord({ key: 'a', status: second, text: 'second' }),
    ]
    // The order of parts sealed together is that of their names: the first part is the one that is listed first.
    const inOrder = isTogether && packPart([records[0]!]).name > packPart([records[1]!]).name
    await writePart(store, [records[0]!])
    if (!isTogether) await seal(store)
    await writePart(store, [records[1]!])
    const { totals } = await seal(store)
    const status = wins === 'first' ? first : second
    const text = first === second && inOrder ? 'second' : wins
    expect(await read(store)).toEqual([`a caption ${status} ${text}`])
    expect(totals['caption']).toEqual({ ok: 0, filtered: 0, failed: 0, [status]: 1 })
    const superseded = (await readManifest(store, 2))?.manifest.superseded ?? []
    expect(superseded).toEqual(!isTogether && wins === 'second' ? [records[0]!.recordId] : [])
  }
})

test('names a superseded failure in the manifest, and fail, seal, retry, seal leaves one ok row', async () => {
  const store = openMemoryStore()
  const failed = someRecord({ key: 'a', status: 'failed' })
  await writePart(store, [failed, someRecord({ key: 'b' })])
  await seal(store)
  await writePart(store, [someRecord({ key: 'a' })])
  await seal(store)
  expect((await readManifest(store, 2))?.manifest.superseded).toEqual([failed.recordId])
  expect(await read(store)).toEqual(['a caption ok a thing', 'b caption ok a thing'])
})

test('gives every part to exactly one generation when sealers race', async () => {
  const store = openMemoryStore()
  for (let n = 0; n < 40; n += 1)
    await writePart(store, [someRecord({ key: `k${n}` }), someRecord({ key: `k${n + 1}` })])
  const limits = { ...defaultSealLimits, maxParts: 3 }
  await Promise.all(Array.from({ length: 5 }, async () => await seal(store, limits)))
  expect(await read(store)).toHaveLength(41)
  const parts: string[] = []
  for await (const object of listAll(store, { prefix: 'manifests/' })) {
    parts.push(
      ...SealedManifest.parse(JSON.parse(Buffer.from((await store.get(object.key)) ?? []).toString())).parts,
    )
  }
  expect([parts.length, new Set(parts).size]).toEqual([40, 40])
})

test('cuts shards by size and sorts each by key', async () => {
  const store = openMemoryStore()
  await writePart(
    store,
    ['c', 'a', 'b'].map((key) => someRecord({ key })),
  )
  await seal(store, { ...defaultSealLimits, maxShardBytes: 10 })
  const keys: string[] = []
  for await (const record of readRecords(store)) keys.push(record.source.key)
  expect(keys).toEqual(['a', 'b', 'c'])
})

test('fails on a chain that was changed by hand', async () => {
  const store = openMemoryStore()
  await writePart(store, [someRecord({ key: 'a' })])
  await seal(store)
  const forged = JSON.parse(Buffer.from((await store.get(manifestKey(1))) ?? []).toString()) as object
  await store.putIfAbsent(
    manifestKey(2),
    Buffer.from(JSON.stringify({ ...forged, generation: 2, prevSha256: '0'.repeat(64) })),
  )
  await expect(read(store)).rejects.toThrow(UserError)
  await expect(seal(store)).rejects.toThrow(/does not follow generation 1/)
})

test('ignores objects under parts/ that are no parts', async () => {
  const store = openMemoryStore()
  await store.putIfAbsent('parts/README', new Uint8Array(3))
  expect((await seal(store)).generations).toBe(0)
})
