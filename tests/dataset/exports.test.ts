// Export formats: every row once, in files of bounded size, whatever is sealed meanwhile.
import { expect, test } from 'vitest'
import { exportRun } from '../../dataset/exports/export-run.ts'
import { jsonlFiles, jsonlFormat } from '../../dataset/exports/jsonl.ts'
import { exportFormats, findFormat } from '../../dataset/exports/registry.ts'
import { unpackLines, writePart } from '../../dataset/parts.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { UserError } from '../../schemas/errors.ts'
import { someRecord } from '../helpers/records.ts'

test('every format is found by its own name, and no other', () => {
  for (const format of exportFormats) expect(findFormat(format.name)).toBe(format)
  expect(() => findFormat('JSONL')).toThrow(UserError)
})

test('cuts files by size, never a row', async () => {
  async function* lines() {
    for (let n = 0; n < 10; n += 1) yield JSON.stringify({ n, text: 'x'.repeat(n * 10) })
  }
  const seen: unknown[] = []
  for await (const { bytes, records } of jsonlFiles(lines(), 150)) {
    const rows = unpackLines(bytes, 'a file')
    expect(rows).toHaveLength(records)
    expect(rows.join('').length).toBeLessThanOrEqual(150)
    seen.push(...rows.map((row) => (JSON.parse(row) as { n: number }).n))
  }
  expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('exports one generation, also when another is sealed while it reads', async () => {
  const store = openMemoryStore()
  const seal = async (key: string) => {
    await writePart(store, [someRecord({ key })])
    await sealRun({ store, runId: 'run-test', clock: () => new Date(0) })
  }
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
  const { index } = await exportRun(racing, jsonlFormat)
  expect(index).toMatchObject({ generation: 1, records: 1 })
  expect(unpackLines((await store.get(index.files[0]!.key))!, 'the file')).toHaveLength(1)
  expect((await exportRun(store, jsonlFormat)).index).toMatchObject({ generation: 2, records: 2 })
})
