// The JSON Schemas for outsiders are those of the code, and the run folder's config is kept.
import { readFile, readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openRun, readRun, wantedRunId } from '../../dataset/run-folder.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { modelOfRole, RunConfig } from '../../schemas/run-config.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { TaskDefinition } from '../../schemas/task-file.ts'
import { jsonSchemasFolder, renderJsonSchemas } from '../../schemas/write-json-schemas.ts'
import { someRecord, someRun as wanted } from '../helpers/records.ts'

test('has JSON Schemas that are up to date; run `node cli/launch.js schemas/write-json-schemas.ts`', async () => {
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
  ['source', { ...wanted, source: { kind: 'standing' as const, uri: 'file:///images/', bucket: 'images' } }],
  ['grounding model', { ...wanted, grounding: { ...wanted.model, digest: 'e' } }],
  ['claims', { ...wanted, claims: 'on' as const }],
  ['cost cap', { ...wanted, costCapUsd: 5 }],
  ['qa role', { ...wanted, tasks: [{ ...wanted.tasks[0]!, role: 'grounding' as const }] }],
  ['model', { ...wanted, model: { ...wanted.model, digest: 'e' } }],
  ['grounding template', { ...wanted, groundingTemplate: 'base' as const }],
  ['qa template', { ...wanted, tasks: [{ ...wanted.tasks[0]!, template: 'vqa' as const }] }],
  ['qa prefix', { ...wanted, tasks: [{ ...wanted.tasks[0]!, prefix: '<grounding>' }] }],
])('fails when the %s differs and names it', async (name, changed) => {
  const store = openMemoryStore()
  await openRun(store, { wanted, now: new Date(0) })
  const asked = name === 'tasks' ? { ...changed, tasks: [{ ...wanted.tasks[0]!, task: 'caption' }] } : changed
  await expect(openRun(store, { wanted: asked, now: new Date(0) })).rejects.toThrow(
    new RegExp(`  ${name}: it has .*, now [^]*--out`),
  )
})

test('fails when a task comes after another one than before, and names it', async () => {
  const store = openMemoryStore()
  const [qa] = wanted.tasks
  const caption = { ...qa!, task: 'caption' }
  await openRun(store, { wanted: { ...wanted, tasks: [caption, qa!] }, now: new Date(0) })
  const tasks = [caption, { ...qa!, after: 'caption' }]
  await expect(openRun(store, { wanted: { ...wanted, tasks }, now: new Date(0) })).rejects.toThrow(
    'qa comes after: it has [], now ["caption"]',
  )
})

test('a task of the user has no name that every object has', () => {
  const named = (name: string) => TaskDefinition.safeParse({ name, prompt: 'What?' }).success
  expect([named('mine'), named('constructor')]).toEqual([true, false])
})

test('reads the runs of the version before, under the ids they have', async () => {
  const store = openMemoryStore()
  const old = { v: 1, runId: 'run-0123456789abcdef', ...wanted, createdAt: '2025-01-01T00:00:00.000Z' }
  await store.putIfAbsent('config.json', Buffer.from(JSON.stringify(old)))
  expect(await readRun(store)).toEqual(old)
  expect((await openRun(store, { wanted, now: new Date(0) })).runId).toBe('run-0123456789abcdef')
  // Its id came from the same settings; a newer program derives the same.
  expect(wantedRunId(wanted)).toBe('run-68e173cca1f7de1d')
})

test('takes a chosen id, and derives one from what shapes the labels only', async () => {
  const chosen = await openRun(openMemoryStore(), { wanted, now: new Date(0), runId: 'photos-2026' })
  expect(chosen.runId).toBe('photos-2026')
  for (const runId of ['../up', 'a/b', '', '-x', 'x'.repeat(101)])
    await expect(openRun(openMemoryStore(), { wanted, now: new Date(0), runId }), runId).rejects.toThrow()
  expect(wantedRunId({ ...wanted, claims: 'on', costCapUsd: 3 })).toBe(wantedRunId(wanted))
  const bucket = { kind: 'bucket' as const, uri: 's3://b-1/x/', bucket: 'b-1', prefix: 'x/' }
  expect(wantedRunId({ ...wanted, source: bucket })).not.toBe(wantedRunId(wanted))
})

test('knows the model of each role', () => {
  const run = RunConfig.parse({ v: 2, runId: 'r', ...wanted, createdAt: '2026-01-01T00:00:00.000Z' })
  const other = { ...run.model, digest: 'other' }
  expect([modelOfRole(run).digest, modelOfRole(run, 'grounding').digest]).toEqual(['d', 'd'])
  expect(modelOfRole({ ...run, grounding: other }, 'grounding')).toBe(other)
})

test('lets tasks come after each other as long as there is an order, and models take turns only so often', () => {
  const [qa] = wanted.tasks
  const caption = { ...qa!, task: 'caption' }
  const ground = { ...qa!, task: 'ground' }
  const problemOf = (...tasks: object[]) =>
    RunConfig.safeParse({ v: 2, runId: 'r', ...wanted, tasks, createdAt: '2026-01-01T00:00:00.000Z' }).error
      ?.issues[0]?.message ?? null
  expect(problemOf(caption, { ...qa, after: 'caption' })).toBeNull()
  expect(problemOf({ ...qa, after: 'caption' })).toBe(
    '"qa" comes after "caption", which is no task of the run',
  )
  expect(problemOf({ ...qa, after: 'qa' })).toMatch(/^the tasks "qa" after "qa" wait for each other/)
  const seconds = { ...caption, role: 'grounding' }
  expect(problemOf(seconds, { ...qa, after: 'caption' })).toBeNull()
  const turns = Array.from({ length: 10 }, (_, at) => ({
    ...qa,
    task: `t${at}`,
    ...(at % 2 === 0 ? {} : { role: 'grounding' }),
    ...(at === 0 ? {} : { after: `t${at - 1}` }),
  }))
  expect(problemOf(...turns.slice(0, 9))).toBeNull()
  expect(problemOf(...turns)).toMatch(/^before "t9" an image would go .* to the other 9 times; at most 8/)
  expect(problemOf(seconds, { ...qa, role: 'grounding', after: 'caption' })).toBeNull()
  expect(
    problemOf({ ...ground, after: 'qa', besides: ['caption'] }, { ...qa, after: 'caption' }, caption),
  ).toBeNull()
  expect(
    problemOf({ ...caption, after: 'ground' }, { ...qa, after: 'caption' }, { ...ground, after: 'qa' }),
  ).toMatch(/"caption" after "ground" after "qa" after "caption"/)
})
