// Of an image that was replaced, whatever reads the run takes what was said of the bytes that are there now.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { readByKey } from '../../dataset/current-content.ts'
import { parseShares } from '../../dataset/exports/core/split.ts'
import { findFormat } from '../../dataset/exports/registry.ts'
import { writeLabelsView } from '../../dataset/labels-view.ts'
import { writePart } from '../../dataset/parts.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { openRunIndex } from '../../review/run-index.ts'
import { exportStore } from '../helpers/export-run.ts'
import { someRecord } from '../helpers/records.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

/** A run over one image that was labelled, replaced and labelled again. */
async function replacedImage() {
  const folder = await tempFolder()
  const path = join(folder, 'a.png')
  const store = openMemoryStore()
  for (const [day, content] of ['first', 'second'].entries()) {
    const record = someRecord({
      key: 'a.png',
      id: content,
      text: content,
      createdAt: `2026-01-0${day + 1}T00:00:00.000Z`,
    })
    const source = { ...record.source, uri: pathToFileURL(path).href, sha256: sha256Hex(content) }
    await writePart(store, [{ ...record, source }])
    await sealRun({ store, runId: 'run-test', clock: () => new Date(0) })
  }
  return { folder, path, store }
}

test.each([
  ['put back to its first bytes', 'first', 'first'],
  ['left as it was labelled last', 'second', 'second'],
  ['replaced once more', 'third', 'second'],
  ['deleted', null, 'second'],
])('an image that was %s', async (_what, now, said) => {
  const { folder, path, store } = await replacedImage()
  if (now !== null) await writeFile(path, now)
  const view = await writeLabelsView(store, folder)
  expect(view.records).toBe(1)
  expect(JSON.parse(await readFile(view.path, 'utf8'))).toMatchObject({ raw: said })
  expect((await readByKey(store)).get('a.png')?.map(({ raw }) => raw)).toEqual([said])
  const split = { shares: parseShares('all=1'), seed: 0, groupDepth: 0, previous: null }
  const readImage = async () => (now === null ? null : Buffer.from(now))
  const { report } = await exportStore(store, findFormat('llava'), { ports: { readImage }, split })
  expect(report.records).toBe(now === said ? 1 : 0)
  expect(report.statistics.splits).toEqual(now === said ? { all: 1 } : {})
})

test('an index of the run is built anew when such an image changes', async () => {
  const { folder, path, store } = await replacedImage()
  const open = async () => {
    const index = await openRunIndex(store, join(folder, 'index'))
    const [image] = index.images
    const records = image === undefined ? [] : await index.readRecords(image)
    await index.close()
    return [index.how, ...records.map(({ raw }) => raw)]
  }
  await writeFile(path, 'second')
  expect(await open()).toEqual(['built', 'second'])
  expect(await open()).toEqual(['read', 'second'])
  await writeFile(path, 'first')
  expect(await open()).toEqual(['built', 'first'])
  expect(await open()).toEqual(['read', 'first'])
  await rm(path)
  expect(await open()).toEqual(['built', 'second'])
})
