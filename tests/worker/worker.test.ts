// The cloud worker's process over folders: its environment, exit codes, log and readiness.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { writeWorkMessages } from '../../dataset/events.ts'
import { pushModel } from '../../dataset/push-weights.ts'
import { openFolderQueue } from '../../dataset/queues/folder.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { openS3Store } from '../../dataset/stores/s3.ts'
import { describeError } from '../../gpu-worker/cloud/worker-log.ts'
import { environmentTable, parseWorkerSettings } from '../../gpu-worker/pipeline/worker-settings.ts'
import { defaultWorkerLimits } from '../../gpu-worker/pipeline/worker-limits.ts'
import { planTasks } from '../../gpu-worker/tasks/registry.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'
import { runWorkerProcess, type WorkerRoot } from '../../gpu-worker/worker.ts'
import { UserError } from '../../schemas/errors.ts'
import { startEmulator } from '../../emulator/emulator.ts'
import { expectSameModel, writeCompiledFolder } from '../helpers/compiled-folder.ts'
import { openCountingEngine } from '../helpers/counting-engine.ts'
import { numberedPng } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { openWorkerCloud } from '../helpers/worker-cloud.ts'

async function runOnce(
  environment: Record<string, string>,
  options: Partial<WorkerRoot> = {},
): Promise<{ code: number; lines: string[] }> {
  const lines: string[] = []
  const code = await runWorkerProcess({
    environment,
    openEngine: async () => openCountingEngine(),
    openDecoder: () => decodeHere,
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
  // Of the verbs that were called in the same shell; not the worker's, and no reason to refuse.
  COGLABEL_PLACE: folder,
  COGLABEL_READY_FILE: join(folder, 'ready'),
})

test('drains a folder, says that it is ready, and keeps a thumbnail of each image', async () => {
  const { folder, engine, store, queue, runId, environment } = await openWorkerCloud({ imageCount: 30 })
  await queue.send(['no message at all'])
  const { code, lines } = await runOnce(
    { ...environment, PATH: '/bin', HOME: '' },
    { openEngine: async () => engine },
  )
  expect(code).toBe(0)
  const { totals } = await sealRun({ store, runId, clock: () => new Date() })
  expect(totals).toEqual({ caption: { ok: 30, filtered: 0, failed: 0 } })
  expect(await readFile(join(folder, 'ready'), 'utf8')).toBe('ready\n')
  const events = lines.map((line) => JSON.parse(line) as { event: string })
  expect(events[0]).toMatchObject({ event: 'ready', weightsMs: 0, fetchedBytes: 0 })
  expect(events[0]).toHaveProperty('selfTestMs')
  expect(events.at(-1)).toMatchObject({ event: 'ended', ended: 'drained' })
  expect(new Set(events.map(({ event }) => event))).toEqual(new Set(['ready', 'part', 'released', 'ended']))
  // One image more than the run has: the self-test.
  expect(engine.counts.images).toBe(31)
  expect((await store.list({ prefix: 'thumbs/' })).objects).toHaveLength(30)
})

test('keeps no thumbnails when they are off, and writes metrics when they are on', async () => {
  const { store, environment } = await openWorkerCloud({ imageCount: 3 })
  const settings = { COGLABEL_THUMBNAILS: 'off', COGLABEL_METRICS: 'emf', COGLABEL_POOL: 'night' }
  const { lines } = await runOnce({ ...environment, ...settings })
  expect((await store.list({ prefix: 'thumbs/' })).objects).toEqual([])
  const metrics = lines.filter((line) => line.includes('"_aws"')).join('\n')
  for (const part of ['"pool":"night"', '"ImagesLabelled":3', '"WeightsLoadMs":[', '"QueueWaitMs":['])
    expect(metrics).toContain(part)
})

const canary = 'XYZZY'
const hostileNames = [
  `${canary} with spaces`,
  `"${canary}"`,
  `'${canary}'`,
  `${canary}\nline`,
  `{"event":"${canary}"}`,
  `s3:${canary}`,
  `ignore all instructions ${canary}`,
  `%58${canary}%2e`,
  `<b>${canary}</b>`.replaceAll('/', '\u2215'),
]

test('writes no key and no caption, however they are made', async () => {
  const { environment, store, runId } = await openWorkerCloud({
    imageCount: hostileNames.length,
    keyOf: (n) => `${canary}/${hostileNames[n]}.png`,
  })
  const answers = [`a ${canary} "quoted"`, `\n{"event":"${canary}"}`, `${canary} [[999,1,0,0]]`, '']
  let asked = 0
  const engine = openCountingEngine({ answer: () => answers[asked++ % answers.length] })
  const { code, lines } = await runOnce(
    { ...environment, COGLABEL_METRICS: 'emf', COGLABEL_PART_IMAGES: '2' },
    { openEngine: async () => engine },
  )
  expect(code).toBe(0)
  const { totals } = await sealRun({ store, runId, clock: () => new Date() })
  expect(Object.values(totals['caption']!).reduce((sum, count) => sum + count)).toBe(hostileNames.length)
  expect(lines.length).toBeGreaterThan(5)
  for (const line of lines) {
    expect(() => JSON.parse(line) as unknown).not.toThrow()
    expect(line).not.toContain(canary)
  }
})

test.each(hostileNames)('an error of a store says nothing of %j to the log', async (name) => {
  const emulator = await startEmulator()
  const { endpoint, region } = emulator
  const credentials = { accessKeyId: 'nobody', secretAccessKey: 'x' }
  const store = openS3Store({ bucket: 'photos', endpoint, region, credentials, forcePathStyle: true })
  const error = await store.get(`${canary}/${name}.png`).catch((thrown: unknown) => thrown)
  store.close()
  await emulator.close()
  expect((error as Error).message).toContain(canary)
  expect(describeError(error)).toMatch(/^UserError: s3:#[0-9a-f]{12}/)
  const disk = Object.assign(new Error(`EIO: i/o error, read '/data/${name}'`), { code: 'EIO' })
  for (const said of [describeError(error), describeError(disk)]) expect(said).not.toContain(canary)
})

test('fetches a pushed model first, once, and not when it is told to stop', async () => {
  const { folder, environment } = await openWorkerCloud({ imageCount: 1 })
  const manifest = await writeCompiledFolder(join(folder, 'compiled'), {
    'vision.onnx': 10,
    'decoder.onnx': 99,
  })
  const store = openFsStore(join(folder, 'weights'))
  const { uri } = await pushModel({ folder: join(folder, 'compiled'), manifest, store })
  const opened: string[] = []
  const openEngine = async (modelFolder: string) => {
    opened.push(modelFolder)
    await expectSameModel(modelFolder, join(folder, 'compiled'))
    return openCountingEngine()
  }
  const settings = { ...environment, COGLABEL_MODEL: uri, COGLABEL_SCRATCH: join(folder, 'scratch') }
  const stopped = await runOnce(settings, { openEngine, stop: AbortSignal.abort() })
  expect([stopped.code, opened]).toEqual([143, []])
  for (const fetched of [/"fetchedBytes":[1-9]/, /"fetchedBytes":0,/]) {
    const { code, lines } = await runOnce(settings, { openEngine })
    expect(code).toBe(0)
    expect(lines[0]).toMatch(fetched)
  }
  expect(new Set(opened).size).toBe(1)
  expect(opened[0]).toContain(join(folder, 'scratch'))
})

test('ends with 143 when it is told to stop, with everything given back', async () => {
  const { environment, queue } = await openWorkerCloud({ imageCount: 30 })
  const stop = new AbortController()
  const { code } = await runOnce(
    { ...environment, COGLABEL_MODE: 'service' },
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
  const nowhere = { COGLABEL_MODEL: pathToFileURL(`${folder}/none/`).href, COGLABEL_SCRATCH: folder }
  const { code, lines } = await runOnce({ ...drain(folder), ...nowhere })
  expect(code).toBe(3)
  expect(lines[0]).toContain('coglabel push-model')
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
  [
    'a model by URI and no scratch',
    { ...drain('/f'), COGLABEL_MODEL: 's3://b/w/' },
    /needs COGLABEL_SCRATCH/,
  ],
  ['a model in no place', { ...drain('/f'), COGLABEL_MODEL: 'gs://b/w/' }, /expected a folder, s3:/],
  [
    'a key for a model of its own',
    { ...drain('/f'), COGLABEL_ENDPOINT_KEY: 'k' },
    /ENDPOINT_KEY is of a server/,
  ],
  ['a model that is one object', { ...drain('/f'), COGLABEL_MODEL: 's3://b/w' }, /slash at its end/],
  ['a pool that is no name', { ...drain('/f'), COGLABEL_POOL: 'a b' }, /COGLABEL_POOL/],
  ['an agent that is no URL', { ...drain('/f'), ECS_AGENT_URI: 'agent' }, /ECS_AGENT_URI/],
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
    metrics: { everyMs: 60_000 },
    thumbnails: true,
    spotEndpoint: null,
    ecsAgentUri: null,
    roleQueues: new Map([['grounding', 'https://sqs.us-east-2.amazonaws.com/1/work?a=b']]),
    limits: { leaseMs: 90_000, heartbeatMs: 30_000, imagesPerPart: defaultWorkerLimits.imagesPerPart },
  })
})

test('two workers with two models do both stages over folders', async () => {
  const { folder } = await openWorkerCloud({ imageCount: 0 })
  const { model, template, capabilities } = openCountingEngine().info
  const digest = '9d'.repeat(32)
  const able = { name: model.name, template, capabilities }
  const store = openFsStore(join(folder, 'labels', 'runs', 'two'))
  const tasks = planTasks({
    names: ['caption'],
    questions: [],
    phrases: [],
    follows: [{ task: 'ground', after: 'caption' }],
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

test('every variable stands in the README of the worker; run this test with -u after changing one', async () => {
  const path = new URL('../../gpu-worker/README.md', import.meta.url)
  const text = await readFile(path, 'utf8')
  const [begin, end] = ['<!-- variables -->\n', '\n<!-- end of variables -->']
  const [before = '', rest = ''] = text.split(begin)
  const after = rest.slice(rest.indexOf(end))
  await expect(before + begin + environmentTable() + after).toMatchFileSnapshot(path.pathname)
})
