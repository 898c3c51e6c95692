// Exports beside the data: one generation with its verdicts, once, whatever is sealed meanwhile.
import { expect, test } from 'vitest'
import { exportToStore } from '../../../dataset/exports/core/export-to-store.ts'
import { exportFormats, findFormat } from '../../../dataset/exports/registry.ts'
import { writePart } from '../../../dataset/parts.ts'
import { sealRun } from '../../../dataset/seal.ts'
import { openMemoryStore } from '../../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../../dataset/stores/object-store.ts'
import { writeVerdict } from '../../../dataset/verdicts.ts'
import { bytesOf, everyShape, recordsOf, sealedStore, testConfig } from '../../helpers/export-run.ts'
import { someRecord } from '../../helpers/records.ts'
import { tempFolder } from '../../helpers/temp-folder.ts'

async function exportTo(store: ObjectStore, format = 'jsonl') {
  return await exportToStore({
    store,
    config: testConfig,
    format: findFormat(format),
    folder: await tempFolder(),
    readImage: async (uri) => bytesOf(uri.replace('s3://test/', '')),
    version: '0.0.0',
  })
}

async function keysOf(store: ObjectStore, key: string): Promise<string[]> {
  const lines = Buffer.from((await store.get(key))!)
    .toString('utf8')
    .trim()
    .split('\n')
  return lines.map((line) => (JSON.parse(line) as { source: { key: string } }).source.key)
}

test('exports one generation, also when another is sealed while it reads', async () => {
  const store = openMemoryStore()
  const seal = async (key: string) => {
    await writePart(store, [someRecord({ key })])
    await sealRun({ store, runId: 'run-test', clock: () => new Date(0) })
  }
  await expect(exportTo(store)).rejects.toThrow(/nothing of .* is sealed/)
  await seal('a')
  let isRacing = true
  const racing = {
    ...store,
    async get(key: string) {
      const bytes = await store.get(key)
      // The chain has been walked once; now a sealer is faster than the rows are read.
      if (bytes === null && isRacing) {
        isRacing = false
        await seal('b')
      }
      return bytes
    },
  }
  const { index } = await exportTo(racing)
  expect(index).toMatchObject({ generation: 1, records: 1 })
  expect(await keysOf(store, index.files[0]!.key)).toEqual(['a'])
  expect((await exportTo(store)).index).toMatchObject({ generation: 2, records: 2 })
})

test('repeating changes nothing, and goes on where an earlier one broke off', async () => {
  const store = await sealedStore(recordsOf(everyShape))
  let puts = 0
  const breaking = {
    ...store,
    async putIfAbsent(key: string, bytes: Uint8Array) {
      puts += 1
      if (puts > 1) throw new Error('the line went dead')
      return await store.putIfAbsent(key, bytes)
    },
  }
  await expect(exportTo(breaking)).rejects.toThrow('went dead')
  const first = await exportTo(store)
  expect(await exportTo(store)).toEqual(first)
  expect(first.index.files.map(({ key }) => key)).toContain('exports/jsonl/00000001/README.md')
})

test('a new verdict makes a new export beside the old one', async () => {
  const records = recordsOf(everyShape)
  const store = await sealedStore(records)
  const before = await exportTo(store)
  const { recordId } = records[0]!
  await writeVerdict(store, { v: 1, recordId, verdict: 'reject', who: 'ada', at: '2026-01-01T00:00:00.000Z' })
  const after = await exportTo(store)
  expect(after.indexKey).not.toBe(before.indexKey)
  expect(after.index.records).toBe(before.index.records - 1)
})

test.each(exportFormats.map(({ name, imageModes }) => [name, imageModes] as const))(
  '%s is written beside the data, or says why not',
  async (name, imageModes) => {
    const store = await sealedStore(recordsOf(everyShape))
    const isPossible = imageModes.includes('reference') || imageModes.includes('embed')
    if (isPossible) expect((await exportTo(store, name)).index.entries).toBeGreaterThan(0)
    else await expect(exportTo(store, name)).rejects.toThrow(/needs its images as files/)
  },
)
