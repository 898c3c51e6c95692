// The JSON Schemas for outsiders are those of the code, and the run folder's config is kept.
import { readFile, readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openRun } from '../../dataset/run-folder.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { jsonSchemasFolder, renderJsonSchemas } from '../../schemas/write-json-schemas.ts'
import { someRecord } from '../helpers/records.ts'

test('has JSON Schemas that are up to date; run `node schemas/write-json-schemas.ts`', async () => {
  const rendered = renderJsonSchemas()
  expect((await readdir(jsonSchemasFolder)).toSorted()).toEqual(Object.keys(rendered).toSorted())
  for (const [name, text] of Object.entries(rendered)) {
    const written: unknown = JSON.parse(await readFile(new URL(name, jsonSchemasFolder), 'utf8'))
    expect(written, name).toEqual(JSON.parse(text))
  }
})

test('refuses records that contradict themselves or carry unknown fields', () => {
  const good = someRecord({ key: 'a' })
  const bad = [
    { ...good, output: null },
    { ...good, status: 'failed' },
    { ...good, extra: 1 },
    { ...good, v: 2 },
    { ...good, error: { code: 'image-corrupt', message: 'x' } },
    { ...good, output: { text: 'x', boxes: [] } },
  ]
  for (const record of bad) expect(LabelRecord.safeParse(record).success, JSON.stringify(record)).toBe(false)
})

const wanted = {
  source: { kind: 'folder' as const, uri: 'file:///images/' },
  model: { name: 'm', digest: 'd', weights: 'int8', licence: 'l' },
  template: 'chat' as const,
  tasks: [
    {
      task: 'qa',
      taskVersion: 1,
      ordinal: 0,
      template: 'chat' as const,
      prompts: [{ question: 'q' }],
      maxNewTokens: 8,
    },
  ],
  sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
}

test('opens the same run again on another day', async () => {
  const store = openMemoryStore()
  const first = await openRun(store, { wanted, now: new Date(0) })
  expect(await openRun(store, { wanted, now: new Date(1e12) })).toEqual(first)
  expect((await openRun(openMemoryStore('other'), { wanted, now: new Date(5) })).runId).toBe(first.runId)
})

test.each([
  ['source', { ...wanted, source: { kind: 'folder' as const, uri: 'file:///other/' } }],
  ['seed', { ...wanted, sampling: { ...wanted.sampling, seed: 3 } }],
  ['qa prompts', { ...wanted, tasks: [{ ...wanted.tasks[0]!, prompts: [{ question: 'other' }] }] }],
  ['tasks', { ...wanted, tasks: [] as typeof wanted.tasks }],
  ['model', { ...wanted, model: { ...wanted.model, digest: 'e' } }],
])('fails when the %s differs and names it', async (name, changed) => {
  const store = openMemoryStore()
  await openRun(store, { wanted, now: new Date(0) })
  const asked = name === 'tasks' ? { ...changed, tasks: [{ ...wanted.tasks[0]!, task: 'caption' }] } : changed
  await expect(openRun(store, { wanted: asked, now: new Date(0) })).rejects.toThrow(
    new RegExp(`  ${name}: it has .*, now [^]*--out`),
  )
})
