// The index of a reviewed run: built once, read again, built anew when more was sealed; and verdicts of several people.
import { readdir } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { writePart } from '../../dataset/parts.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openVerdictLog } from '../../dataset/verdicts.ts'
import { openRunIndex } from '../../review/run-index.ts'
import type { TaskOutput } from '../../schemas/task-output.ts'
import type { Labelled } from '../helpers/export-run.ts'
import { everyShape, recordsOf, sealedStore } from '../helpers/export-run.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const caption = (key: string, text: string, change: Partial<Labelled> = {}): Labelled => ({
  key,
  said: [{ task: 'caption', question: 'q', output: { text } }],
  ...change,
})

it('is built, then read, and gives whole records back', async () => {
  const records = recordsOf(everyShape)
  const store = await sealedStore(records)
  const folder = await tempFolder()
  const [built, read] = [await openRunIndex(store, folder), await openRunIndex(store, folder)]
  expect([built.how, read.how]).toEqual(['built', 'read'])
  expect(read.images).toEqual(built.images)
  const found = []
  for await (const { records: whole } of read.readAll()) found.push(...whole)
  expect(found).toHaveLength(records.length)
  expect(found).toEqual(expect.arrayContaining(records))
  for (const { recordId } of records) {
    const place = read.find(recordId)!
    expect(read.images[place.image]!.records[place.record]!.recordId).toBe(recordId)
  }
  await built.close()
  await read.close()
})

it('is built anew when more was sealed, and leaves one folder', async () => {
  const store = await sealedStore(recordsOf([caption('a.png', 'one')]))
  const folder = await tempFolder()
  await (await openRunIndex(store, folder)).close()
  await writePart(store, recordsOf([caption('b.png', 'two')]))
  await sealRun({ store, runId: 'run-test', clock: () => new Date('2026-01-02T00:00:00Z') })
  const index = await openRunIndex(store, folder)
  expect([index.how, index.images.length]).toEqual(['built', 2])
  expect(await readdir(folder)).toHaveLength(1)
  await index.close()
})

it('shows the newest content of an image that was replaced, and groups look-alikes', async () => {
  const images = [
    caption('same.png', 'old', { bytes: 'old', createdAt: '2026-01-01T00:00:00.000Z' }),
    {
      ...caption('same.png', 'new', { bytes: 'new', createdAt: '2026-01-02T00:00:00.000Z' }),
      said: [{ task: 'qa', question: 'q', output: { text: 'new' } }],
    },
    caption('x.png', 'x', { perceptualHash: '0000000000000001' }),
    caption('y.png', 'y', { perceptualHash: '0000000000000003' }),
    caption('z.png', 'z', { perceptualHash: 'ffffffffffffffff' }),
  ]
  const index = await openRunIndex(await sealedStore(recordsOf(images)), await tempFolder())
  expect(
    index.images.map(({ key, records, groupSize }) => [
      key,
      records.map(({ text }) => text.split('\n')[0]).join(),
      groupSize,
    ]),
  ).toEqual([
    ['same.png', 'new', 1],
    ['x.png', 'x', 2],
    ['y.png', 'y', 2],
    ['z.png', 'z', 1],
  ])
  await index.close()
})

it('takes in verdicts of others at a refresh, newest first, and reads only new ones', async () => {
  const store = await sealedStore(recordsOf([caption('a.png', 'one')]))
  const recordId = 'a'.repeat(32)
  const [mine, theirs] = [openVerdictLog(store), openVerdictLog(store)]
  const give = (verdict: 'accept' | 'reject', at: string) => ({
    v: 1 as const,
    recordId,
    verdict,
    who: 'w',
    at,
  })
  await mine.add(give('accept', '2026-01-01T00:00:00.000Z'))
  await theirs.add(give('reject', '2026-01-02T00:00:00.000Z'))
  await mine.add(give('accept', '2026-01-01T12:00:00.000Z'))
  expect(mine.newest.get(recordId)?.verdict).toBe('accept')
  await mine.refresh()
  expect(mine.newest.get(recordId)?.verdict).toBe('reject')
})

it.each<[string, TaskOutput, string[]]>([
  ['tags', { tags: ['Penguin', 'ice floe'] }, ['penguin', 'ice floe']],
  ['the answer to a task of the user', { value: { mood: 'Calm', people: 3 } }, ['"mood":"calm"']],
  ['questions', { questions: ['Why is it WHITE?'] }, ['why is it white?']],
  ['probes', { probes: [{ question: 'Is there an owl?', answer: 'no' }] }, ['is there an owl? no']],
  ['counts', { counts: [{ object: 'Boats', count: 12 }] }, ['boats: 12']],
  ['lines of text', { lines: ['STOP', 'Here'] }, ['stop', 'here']],
  ['regions', { regions: [{ box: [0, 0, 1, 1], text: 'A kite' }] }, ['a kite']],
])('searches %s, what was asked, and what checks saw', async (_name, output, words) => {
  const said = [{ task: 'tags', question: 'Where is Wally?', output }]
  const checks = [{ name: 'yes-no', pass: false, score: 0, evidence: 'denied the Kite' }]
  const store = await sealedStore(recordsOf([{ key: 'a.png', said, checks }]))
  const index = await openRunIndex(store, await tempFolder())
  const text = index.images[0]!.records[0]!.text
  for (const word of [...words, 'where is wally?', 'denied the kite']) expect(text).toContain(word)
  await index.close()
})
