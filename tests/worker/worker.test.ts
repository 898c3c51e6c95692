// The cloud worker's process over folders: its environment, exit codes, log and readiness.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { writeWorkMessages } from '../../dataset/events.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { parseWorkerSettings } from '../../gpu-worker/pipeline/worker-settings.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { runWorkerProcess, type WorkerRoot } from '../../gpu-worker/worker.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { UserError } from '../../schemas/errors.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const secret = 'private name'

/** A folder that stands for a cloud: a run, a bucket with images, and a queue that asks for them. */
async function openCloud(imageCount: number) {
  const folder = await tempFolder()
  const engine = openCountingEngine()
  const { model, template, capabilities } = engine.info
  const wanted = {
    source: { kind: 'folder' as const, uri: 'file:///photos/' },
    model,
    template,
    tasks: planTasks({
      names: ['caption'],
      questions: [],
      phrases: [],
      model: { name: model.name, template, capabilities },
    }),
    sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 },
  }
  const now = new Date('2026-01-01T00:00:00Z')
  const { runId } = await openRun(openFsStore(join(folder, 'plan')), { wanted, now })
  const store = openFsStore(join(folder, 'labels', 'runs', runId))
  await openRun(store, { wanted, now })
  const images = Array.from({ length: imageCount }, (_, n) => ({
    bucket: 'photos',
    key: `${secret}/${n}.png`,
  }))
  for (const [n, { key }] of images.entries()) {
    const path = join(folder, 'buckets', 'photos', key)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, numberedPng(n))
  }
  const queue = openFolderQueue(join(folder, 'queue'))
  for (const body of writeWorkMessages(images, { runId })) await queue.send([body])
  return { folder, engine, store, queue, runId }
}

async function runOnce(
  environment: Record<string, string>,
  options: Partial<WorkerRoot> = {},
): Promise<{ code: number; lines: string[] }> {
  const lines: string[] = []
  const code = await runWorkerProcess({
    environment,
    openEngine: async () => openCountingEngine(),
    log: (line) => lines.push(line),
    stop: new AbortController().signal,
    ...options,
  })
  return { code, lines }
}

const drain = (folder: string) => ({
  COGLABEL_BACKEND: 'folder',
  COGLABEL_FOLDER: folder,
  COGLABEL_MODEL: 'model',
  COGLABEL_MODE: 'drain',
  COGLABEL_IDLE_EXIT_SECONDS: '0.3',
  COGLABEL_READY_FILE: join(folder, 'ready'),
})

test('drains a folder, says that it is ready, and logs neither captions nor keys', async () => {
  const { folder, engine, store, queue, runId } = await openCloud(60)
  await queue.send(['no message at all'])
  const { code, lines } = await runOnce(
    { ...drain(folder), PATH: '/bin', HOME: '' },
    { openEngine: async () => engine },
  )
  expect(code).toBe(0)
  const { totals } = await sealRun({ store, runId, clock: () => new Date() })
  expect(totals).toEqual({ caption: { ok: 60, filtered: 0, failed: 0 } })
  expect(await readFile(join(folder, 'ready'), 'utf8')).toBe('ready\n')
  const events = lines.map((line) => JSON.parse(line) as { event: string })
  expect(events[0]?.event).toBe('ready')
  expect(events.at(-1)).toMatchObject({ event: 'ended', ended: 'drained' })
  expect(new Set(events.map(({ event }) => event))).toEqual(new Set(['ready', 'part', 'released', 'ended']))
  // One image more than the run has: the self-test.
  expect(engine.counts.images).toBe(61)
  expect(lines.join('\n')).not.toContain(secret)
  expect(lines.join('\n')).not.toContain('thing ')
})

test('ends with 143 when it is told to stop, with everything given back', async () => {
  const { folder, queue } = await openCloud(60)
  const stop = new AbortController()
  const { code } = await runOnce(
    { ...drain(folder), COGLABEL_MODE: 'service' },
    {
      openEngine: async () => openCountingEngine({ delayMs: 5 }),
      stop: stop.signal,
      log: (line) => {
        if (line.includes('"ready"')) setTimeout(() => stop.abort(), 100)
      },
    },
  )
  expect(code).toBe(143)
  expect((await queue.stats()).inFlight).toBe(0)
})

test('ends with 3 when the model cannot be loaded or does not answer', async () => {
  const folder = await tempFolder()
  const missing = async () => {
    throw new UserError('"model" is no model')
  }
  const silent = async () =>
    openCountingEngine({
      answer: () => {
        throw new Error('out of memory')
      },
    })
  for (const openEngine of [missing, silent]) {
    const { code, lines } = await runOnce(drain(folder), { openEngine })
    expect([code, lines.length]).toEqual([3, 1])
  }
})

test('ends with 4 when the queue refuses', async () => {
  const folder = await tempFolder()
  await writeFile(join(folder, 'queue'), 'a file where a folder belongs')
  const { code, lines } = await runOnce(drain(folder))
  expect(code).toBe(4)
  expect(lines.at(-1)).toContain('UserError')
})

test.each([
  ['no backend', { COGLABEL_MODEL: 'm' }, /COGLABEL_BACKEND/],
  ['a misspelt name', { ...drain('/f'), COGLABEL_MODELL: 'm' }, /COGLABEL_MODELL/],
  ['a mode that is none', { ...drain('/f'), COGLABEL_MODE: 'fast' }, /COGLABEL_MODE/],
  ['a limit that is no number', { ...drain('/f'), COGLABEL_LEASE_SECONDS: 'long' }, /COGLABEL_LEASE_SECONDS/],
  [
    'a cap below the lease',
    { ...drain('/f'), COGLABEL_LEASE_SECONDS: '60', COGLABEL_LEASE_CAP_SECONDS: '50' },
    /LEASE_CAP/,
  ],
  ['no folder', { COGLABEL_BACKEND: 'folder', COGLABEL_MODEL: 'm' }, /needs COGLABEL_FOLDER/],
  ['no queue', { COGLABEL_BACKEND: 'aws', COGLABEL_MODEL: 'm' }, /needs COGLABEL_QUEUE_URL/],
  [
    'a bucket that is a path',
    { ...drain('/f'), COGLABEL_SOURCE_BUCKETS: 'a-b,../c' },
    /COGLABEL_SOURCE_BUCKETS/,
  ],
  ['a role that no run has', { ...drain('/f'), COGLABEL_ROLE_QUEUES: 'admin=queue' }, /COGLABEL_ROLE_QUEUES/],
  ['a role without a queue', { ...drain('/f'), COGLABEL_ROLE_QUEUES: 'grounding' }, /COGLABEL_ROLE_QUEUES/],
  [
    'a role queue that is a path',
    { ...drain('/f'), COGLABEL_ROLE_QUEUES: 'grounding=../q' },
    /expected the name of a folder/,
  ],
])('ends with 2 for %s', async (_name, environment, sentence) => {
  const { code, lines } = await runOnce(environment)
  expect(code).toBe(2)
  expect(lines.at(-1)).toMatch(sentence)
})

test('reads the settings of the cloud', () => {
  const settings = parseWorkerSettings({
    COGLABEL_BACKEND: 'aws',
    COGLABEL_MODEL: 'm',
    COGLABEL_QUEUE_URL: 'https://sqs.us-east-2.amazonaws.com/1/work',
    COGLABEL_LABELS_BUCKET: 'labels',
    COGLABEL_SOURCE_BUCKETS: 'photos, scans',
    COGLABEL_ROLE_QUEUES: 'grounding=https://sqs.us-east-2.amazonaws.com/1/work?a=b',
    COGLABEL_LEASE_SECONDS: '90',
    COGLABEL_PART_IMAGES: '',
    AWS_REGION: 'us-east-2',
  })
  expect(settings).toMatchObject({
    mode: 'service',
    backend: { kind: 'aws', sourceBuckets: ['photos', 'scans'], s3: { forcePathStyle: false } },
    roleQueues: new Map([['grounding', 'https://sqs.us-east-2.amazonaws.com/1/work?a=b']]),
    limits: { leaseMs: 90_000, heartbeatMs: 30_000, imagesPerPart: defaultWorkerLimits.imagesPerPart },
  })
})

test('two workers with two models do both stages over folders', async () => {
  const { folder } = await openCloud(0)
  const { model, template, capabilities } = openCountingEngine().info
  const digest = '9d'.repeat(32)
  const able = { name: model.name, template, capabilities }
  const store = openFsStore(join(folder, 'labels', 'runs', 'two'))
  const tasks = planTasks({
    names: ['caption'],
    questions: [],
    phrases: [],
    from: 'caption',
    model: able,
    grounding: able,
  })
  await openRun(store, {
    wanted: {
      source: { kind: 'standing', uri: 'file:///photos/', bucket: 'photos' },
      model,
      grounding: { ...model, digest },
      template,
      tasks,
      sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 5 },
    },
    now: new Date(),
    runId: 'two',
  })
  const key = 'incoming/two/a.png'
  await mkdir(dirname(join(folder, 'buckets', 'photos', key)), { recursive: true })
  await writeFile(join(folder, 'buckets', 'photos', key), numberedPng(1))
  const queue = openFolderQueue(join(folder, 'queue'))
  for (const body of writeWorkMessages([{ bucket: 'photos', key }], { runId: 'two' }))
    await queue.send([body])
  const chat = await runOnce({ ...drain(folder), COGLABEL_ROLE_QUEUES: 'grounding=grounding-queue' })
  expect((await openFolderQueue(join(folder, 'grounding-queue')).stats()).visible).toBe(1)
  // The other worker's main queue is that of its role.
  await rename(join(folder, 'queue'), join(folder, 'queue-of-chat'))
  await rename(join(folder, 'grounding-queue'), join(folder, 'queue'))
  const grounding = await runOnce(drain(folder), { openEngine: async () => openCountingEngine({ digest }) })
  expect([chat.code, grounding.code]).toEqual([0, 0])
  const { totals } = await sealRun({ store, runId: 'two', clock: () => new Date() })
  expect(totals).toEqual({
    caption: { ok: 1, filtered: 0, failed: 0 },
    ground: { ok: 1, filtered: 0, failed: 0 },
  })
})
