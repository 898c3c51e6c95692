// The pipeline with a counting engine: one record for each image and task, whatever happens on the way.
import { chmod, mkdir, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadIdIndex } from '../../dataset/sealed-ids.ts'
import { openSource } from '../../dataset/ingest.ts'
import { readRecords } from '../../dataset/read.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openMemoryStore } from '../../dataset/stores/memory.ts'
import { listAll, type ObjectStore } from '../../dataset/stores/object-store.ts'
import { EngineCrashError } from '../../gpu-worker/engine/contract.ts'
import {
  defaultRunLimits,
  labelSource,
  type RunEvent,
  type RunOptions,
} from '../../gpu-worker/pipeline/run.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { type CountingEngine, openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng, writeImages } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

type Once = {
  folder: string
  store?: ObjectStore
  engine?: CountingEngine
  questions?: string[]
  temperature?: number
} & Partial<Pick<RunOptions, 'limits' | 'drain' | 'stop' | 'maxImages' | 'onEvent'>>

const clock = () => new Date('2026-01-01T00:00:00Z')

async function labelOnce({
  folder,
  store = openMemoryStore(),
  engine = openCountingEngine(),
  questions = [],
  temperature = 0,
  ...rest
}: Once) {
  const source = await openSource(folder, { exclude: '/nowhere' })
  const { model, template, capabilities } = engine.info
  const tasks = planTasks({
    names: undefined,
    questions,
    phrases: [],
    model: { name: model.name, template, capabilities },
  })
  const sampling = { temperature, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 }
  const config = await openRun(store, {
    wanted: { source: source.source, model, template, tasks, sampling },
    now: clock(),
  })
  const never = new AbortController().signal
  await sealRun({ store, runId: config.runId, clock })
  const done = await loadIdIndex(store)
  const outcome = await labelSource({
    config,
    engine,
    source,
    store,
    done,
    clock,
    drain: never,
    stop: never,
    ...rest,
  })
  await sealRun({ store, runId: config.runId, clock })
  const records: LabelRecord[] = []
  for await (const record of readRecords(store)) records.push(record)
  return { outcome, records, store, engine }
}

const place = (record: LabelRecord) => `${record.source.key} ${record.task} ${record.ordinal}`

test('makes exactly one record for each image and task and shares one prefill', async () => {
  const folder = await tempFolder()
  const keys = await writeImages(folder, 40)
  const { records, engine } = await labelOnce({ folder })
  expect(records.map(place).toSorted()).toEqual(
    keys
      .flatMap((key) => ['caption 0', 'grounded-caption 0', 'qa 0'].map((task) => `${key} ${task}`))
      .toSorted(),
  )
  expect(new Set(records.map((record) => record.recordId)).size).toBe(120)
  expect(records.every((record) => record.status === 'ok')).toBe(true)
  const prompts = records.reduce((sum, record) => sum + record.prompt.text.split('\n').length, 0)
  expect(engine.counts).toEqual({ images: 40, prompts, open: 0, maxOpen: 1 })
})

test('makes the same labels in any order and batching, sampled ones too', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 12)
  const wide = await labelOnce({ folder, temperature: 1 })
  const narrow = await labelOnce({
    folder,
    temperature: 1,
    limits: { ...defaultRunLimits, imagesInFlight: 1, imagesPerPart: 1 },
  })
  const texts = (records: LabelRecord[]) =>
    records.map((record) => `${record.recordId} ${record.raw} ${record.sampling.seed}`).toSorted()
  expect(texts(wide.records)).toEqual(texts(narrow.records))
  expect(new Set(wide.records.map((record) => record.sampling.seed)).size).toBe(36)
})

test('does nothing that is done, and what is new or changed', async () => {
  const folder = await tempFolder()
  const [first = ''] = await writeImages(folder, 6)
  const { store } = await labelOnce({ folder })
  const idle = await labelOnce({ folder, store })
  expect(idle.engine.counts.images).toBe(0)
  await writeFile(join(folder, first), numberedPng(999))
  await writeFile(join(folder, 'new.png'), numberedPng(1000))
  const { engine, records } = await labelOnce({ folder, store })
  expect([engine.counts.images, records.length]).toEqual([2, 24])
})

test('goes on from any prefix of the run', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 10)
  const store = openMemoryStore()
  for (const maxImages of [1, 4, 4, 9, 10])
    expect((await labelOnce({ folder, store, maxImages })).records).toHaveLength(maxImages * 3)
})

test('drains at the first signal and keeps what was finished', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 50)
  const store = openMemoryStore()
  const drain = new AbortController()
  const onEvent = (event: RunEvent) => {
    if (event.kind === 'image') drain.abort()
  }
  const first = await labelOnce({
    folder,
    store,
    drain: drain.signal,
    onEvent,
    engine: openCountingEngine({ delayMs: 5 }),
  })
  expect(first.outcome.ended).toBe('drained')
  expect(first.records.length).toBeGreaterThanOrEqual(3)
  expect(first.records.length).toBeLessThan(50)
  expect((await labelOnce({ folder, store })).records).toHaveLength(150)
})

test('stops at once at the second signal, with no record for what was under way', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 50)
  const stop = new AbortController()
  setTimeout(() => stop.abort(), 100)
  const { outcome, records, store, engine } = await labelOnce({
    folder,
    stop: stop.signal,
    engine: openCountingEngine({ delayMs: 60 }),
  })
  expect(outcome.ended).toBe('stopped')
  expect([records.every((record) => record.status === 'ok'), engine.counts.open]).toEqual([true, 0])
  expect((await labelOnce({ folder, store })).records).toHaveLength(150)
})

test('makes failed records with a code of what cannot be read or decoded, and goes on', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 2)
  const files: Record<string, Buffer> = {
    'empty.png': Buffer.alloc(0),
    'text.jpg': Buffer.from('not an image'),
    'cut.png': numberedPng(3).subarray(0, 50),
    'fine.jpg': numberedPng(4),
  }
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes)
  await writeFile(join(folder, 'huge.png'), '')
  await truncate(join(folder, 'huge.png'), 300 * 1024 * 1024)
  const { records } = await labelOnce({ folder })
  const captions = new Map(
    records.filter((record) => record.task === 'caption').map((record) => [record.source.key, record]),
  )
  expect(records).toHaveLength(7 * 3)
  expect(captions.get('fine.jpg')).toMatchObject({ status: 'ok', source: { mime: 'image/png' } })
  expect(captions.get('empty.png')?.error?.code).toBe('image-empty')
  expect(captions.get('text.jpg')?.error?.code).toBe('image-format-unsupported')
  expect(captions.get('cut.png')?.error?.code).toMatch(/image-(corrupt|truncated)/)
  expect(captions.get('huge.png')).toMatchObject({
    error: { code: 'image-too-large' },
    source: { sha256: null, bytes: 300 * 1024 * 1024 },
    image: null,
    raw: null,
  })
})

test('never reads past the source: a manifest entry that is a link outside is not found', async () => {
  const folder = await tempFolder()
  await mkdir(join(folder, 'in'))
  await writeFile(join(folder, 'secret.png'), numberedPng(1))
  await symlink(join(folder, 'secret.png'), join(folder, 'in', 'link.png'))
  await writeFile(join(folder, 'in', 'list.jsonl'), '{"image": "link.png"}\n{"image": "gone.png", "id": 3}')
  const { records } = await labelOnce({ folder: join(folder, 'in', 'list.jsonl') })
  expect(new Set(records.map((record) => record.error?.code))).toEqual(new Set(['source-not-found']))
  expect(records).toHaveLength(6)
  expect(records.find((record) => record.source.key === 'gone.png')?.meta).toEqual({ id: 3 })
})

test.skipIf(process.getuid?.() === 0)(
  'says source-denied for a file it may not read (skipped as root)',
  async () => {
    const folder = await tempFolder()
    await writeImages(folder, 1)
    await chmod(join(folder, '0/00000.png'), 0)
    expect((await labelOnce({ folder })).records[0]?.error?.code).toBe('source-denied')
  },
)

test('keeps the raw answer when parsing fails, and the other tasks', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 1)
  const engine = openCountingEngine({
    answer: ({ question }) => (question.includes('boxes') ? 'just words' : undefined),
  })
  const { records } = await labelOnce({ folder, engine })
  const failed = records.filter((record) => record.status === 'failed')
  expect(failed).toHaveLength(1)
  expect(failed[0]).toMatchObject({
    task: 'grounded-caption',
    raw: 'just words',
    error: { code: 'answer-unparsable' },
    finishReason: 'stop',
  })
})

test('makes failed records of the image on which the engine crashes, and only of it', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 20)
  let bad = ''
  const engine = openCountingEngine({
    answer: (_request, hash) => {
      bad ||= hash
      if (hash === bad) throw new EngineCrashError('the runtime died twice')
      return undefined
    },
  })
  const { records } = await labelOnce({ folder, engine })
  expect(records).toHaveLength(60)
  const failed = records.filter((record) => record.status === 'failed')
  expect(failed.map((record) => record.error?.code)).toEqual([
    'engine-crashed',
    'engine-crashed',
    'engine-crashed',
  ])
  expect(new Set(failed.map((record) => record.source.key)).size).toBe(1)
})

test('keeps failures of the engine also when no image comes after', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 2)
  const engine = openCountingEngine({
    answer: () => {
      throw new Error('out of memory')
    },
  })
  const { records } = await labelOnce({ folder, engine })
  expect(records.map((record) => record.error?.code)).toEqual(Array.from({ length: 6 }, () => 'engine-error'))
})

test('fails the run, not the images, when the engine fails on all of them', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 30)
  const store = openMemoryStore()
  const broken = openCountingEngine({
    answer: () => {
      throw new Error('out of memory')
    },
  })
  await expect(labelOnce({ folder, store, engine: broken })).rejects.toThrow(
    /8 images in a row.*out of memory/,
  )
  expect((await labelOnce({ folder, store })).records.every((record) => record.status === 'ok')).toBe(true)
})

test('stops for a bug of ours and keeps what was finished before it', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 20)
  const store = openMemoryStore()
  let prompts = 0
  const engine = openCountingEngine({
    answer: () => {
      if ((prompts += 1) > 41) throw new InvariantError('impossible')
      return undefined
    },
  })
  await expect(labelOnce({ folder, store, engine })).rejects.toThrow(InvariantError)
  // Five prompts an image: eight were answered by the 41st.
  expect((await labelOnce({ folder, store })).engine.counts.images).toBe(12)
})

test('fails when a part cannot be written', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 50)
  const store = openMemoryStore()
  const full: ObjectStore = {
    ...store,
    putIfAbsent: async (key, bytes) => {
      if (key.startsWith('parts/')) throw new UserError('the disk is full')
      return await store.putIfAbsent(key, bytes)
    },
  }
  await expect(labelOnce({ folder, store: full })).rejects.toThrow('the disk is full')
})

test('writes parts by images and by age', async () => {
  const folder = await tempFolder()
  await writeImages(folder, 10)
  const parts = async (limits: Partial<typeof defaultRunLimits>, delayMs: number) => {
    const { store } = await labelOnce({
      folder,
      limits: { ...defaultRunLimits, ...limits },
      engine: openCountingEngine({ delayMs }),
    })
    let count = 0
    for await (const object of listAll(store, { prefix: 'parts/' })) if (object.sizeBytes > 0) count += 1
    return count
  }
  expect(await parts({ imagesPerPart: 3 }, 0)).toBe(4)
  expect(await parts({ imagesPerPart: 100 }, 0)).toBe(1)
  expect(await parts({ imagesPerPart: 100, partAgeMs: 40, imagesInEngine: 1 }, 15)).toBeGreaterThan(2)
})
