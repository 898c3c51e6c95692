// labels.jsonl: sorted, complete, and of two contents of one key the newest.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { writeLabelsView } from '../../dataset/labels-view.ts'
import { writePart } from '../../dataset/parts.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { someRecord } from '../helpers/records.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

async function viewOf(records: LabelRecord[], options: { maxSortedBytes?: number } = {}) {
  const store = openMemoryStore()
  const folder = await tempFolder()
  await writePart(store, records)
  await sealRun({ store, runId: 'run-test', clock: () => new Date(0) })
  const view = await writeLabelsView(store, folder, options)
  const lines = (await readFile(join(folder, 'labels.jsonl'), 'utf8')).trimEnd().split('\n')
  return { view, folder, rows: lines.map((line) => JSON.parse(line) as LabelRecord) }
}

test('sorts by key, task and ordinal and counts', async () => {
  const records = [
    someRecord({ key: 'b' }),
    someRecord({ key: 'a', task: 'qa' }),
    someRecord({ key: 'a', task: 'ground', ordinal: 1 }),
    someRecord({ key: 'a', task: 'ground', ordinal: 0, status: 'failed' }),
    someRecord({ key: 'a', task: 'caption' }),
  ]
  const { rows, view, folder } = await viewOf(records)
  expect(rows.map((row) => `${row.source.key} ${row.task} ${row.ordinal}`)).toEqual([
    'a caption 0',
    'a ground 0',
    'a ground 1',
    'a qa 0',
    'b caption 0',
  ])
  expect(view).toMatchObject({
    images: 2,
    records: 5,
    byTask: { ground: { ok: 1, failed: 1 } },
    byErrorCode: { 'answer-empty': 1 },
  })
  expect(await readdir(join(folder, '.tmp'))).toEqual([])
})

test('shows the newest label of an image that was replaced', async () => {
  const { rows, view } = await viewOf([
    someRecord({ key: 'a', id: 'old', text: 'old', createdAt: '2026-01-01T00:00:00.000Z' }),
    someRecord({ key: 'a', id: 'new', text: 'new', createdAt: '2026-01-02T00:00:00.000Z' }),
  ])
  expect(rows.map((row) => row.raw)).toEqual(['new'])
  expect(view.records).toBe(1)
})

test('shows the label of an image that could not be read when it was asked for again', async () => {
  const label = someRecord({ key: 'a', id: 'old', createdAt: '2026-01-01T00:00:00.000Z' })
  const gone = someRecord({ key: 'a', id: 'new', status: 'failed', createdAt: '2026-01-02T00:00:00.000Z' })
  const unread: LabelRecord = {
    ...gone,
    image: null,
    source: { ...gone.source, sha256: null, bytes: null, mime: null, unread: true },
  }
  const { rows, view } = await viewOf([label, unread])
  expect(rows.map(({ status }) => status)).toEqual(['ok'])
  expect(view.byErrorCode).toEqual({})
})

test('merges more than fits into one sorting', async () => {
  const keys = Array.from({ length: 400 }, (_, n) => String((n * 17) % 400).padStart(3, '0'))
  const { rows } = await viewOf(
    keys.map((key) => someRecord({ key })),
    { maxSortedBytes: 10_000 },
  )
  expect(rows.map((row) => row.source.key)).toEqual(keys.toSorted())
})
