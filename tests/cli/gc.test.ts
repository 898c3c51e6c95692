// `coglabel gc`: lists without touching anything, deletes with --yes, in folders and in the cloud.
import { expect, test } from 'vitest'
import { runGc } from '../../cli/gc.ts'
import { writePart } from '../../dataset/parts.ts'
import { readRecords } from '../../dataset/read.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { UserError } from '../../schemas/errors.ts'
import { testPlaces } from '../helpers/places.ts'
import { someRecord } from '../helpers/records.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runVerb } from '../helpers/verbs.ts'

const dayMs = 24 * 60 * 60 * 1000

async function gc(args: string[], { afterDays = 8 } = {}) {
  const { code, out } = await runVerb(runGc, args, { clock: () => new Date(Date.now() + afterDays * dayMs) })
  const lines = out.split('\n')
  return { code, lines, last: lines.at(-1) ?? '' }
}

const wanted = {
  source: { kind: 'folder' as const, uri: 'file:///images/' },
  model: { name: 'm', digest: 'd', weights: 'int8', licence: 'l' },
  template: 'chat' as const,
  tasks: [],
  sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 },
}

async function fillRun(store: ObjectStore) {
  await openRun(store, { wanted, now: new Date() })
  for (const key of ['a', 'b']) await writePart(store, [someRecord({ key })])
  await sealRun({ store, runId: 'run-test', clock: () => new Date() })
}

async function partsOf(store: ObjectStore): Promise<number> {
  let count = 0
  for await (const { key } of listAll(store, { prefix: 'parts/' })) if (key !== '') count += 1
  return count
}

async function keysRead(store: ObjectStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { source } of readRecords(store)) keys.push(source.key)
  return keys
}

test.each(testPlaces)('lists first and deletes with --yes: %s', async (_name, open) => {
  const { place, flags } = await open()
  const stores = ['run-1', 'run-2'].map((runId) => place.runStoreOf(runId))
  for (const store of stores) await fillRun(store)
  const dry = await gc(flags)
  expect(dry.lines.filter((line) => line.startsWith('part '))).toHaveLength(4)
  expect(dry.last).toMatch(/^run-2: would delete part 2 \([0-9]+ bytes\); add --yes to do it$/)
  expect(await Promise.all(stores.map(partsOf))).toEqual([2, 2])
  expect((await gc(['run-2', ...flags, '--yes'], { afterDays: 1 })).last).toBe('run-2: nothing to delete')
  expect((await gc(['run-2', ...flags, '--yes'])).last).toMatch(/^run-2: deleted part 2/)
  expect(await Promise.all(stores.map(partsOf))).toEqual([2, 0])
  for (const store of stores) expect(await keysRead(store)).toEqual(['a', 'b'])
  await expect(gc(['run-3', ...flags])).rejects.toThrow(/there is no run run-3/)
})

test('takes the folder of a local run', async () => {
  const folder = await tempFolder()
  const store = openFsStore(folder)
  await fillRun(store)
  expect((await gc([folder, '--yes', '--older-than', '0.5'], { afterDays: 1 })).last).toMatch(
    /deleted part 2/,
  )
  expect(await partsOf(store)).toBe(0)
})

test.each(['0', '0.01', '-1', 'week', ''])('refuses an age of %j', async (days) => {
  await expect(gc(['--older-than', days, '--place', '.'])).rejects.toThrow()
  if (days !== '-1') await expect(gc([`--older-than=${days}`])).rejects.toThrow(UserError)
})
