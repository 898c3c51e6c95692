// Submitted runs whose workers ask a server in their own model's place: over folders and over S3 and SQS, with a server
// that fails, and without the key showing anywhere.
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { runReconcile } from '../../cli/reconcile.ts'
import { runSubmit } from '../../cli/submit.ts'
import { readRecords } from '../../dataset/read.ts'
import { sealRun } from '../../dataset/seal.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'
import { runWorkerProcess } from '../../gpu-worker/worker.ts'
import { complaint, completion, type Reply, startChatServer } from '../helpers/chat-server.ts'
import { writeImages } from '../helpers/images.ts'
import { openFolderTestPlace, type TestPlace, testPlaces } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runVerb } from '../helpers/verbs.ts'

const secret = 'sk-of-the-worker'
const models = ['Qwen2.5-VL-7B']
const said = 'A dog on a lawn, from afar.'

async function drain(environment: Record<string, string>): Promise<{ code: number; log: string }> {
  const lines: string[] = []
  const code = await runWorkerProcess({
    environment: { COGLABEL_MODE: 'drain', COGLABEL_IDLE_EXIT_SECONDS: '0.3', ...environment },
    openEngine: async () => {
      throw new Error('no model of this machine is wanted')
    },
    openDecoder: () => decodeHere,
    log: (line) => lines.push(line),
    stop: new AbortController().signal,
  })
  return { code, log: lines.join('\n') }
}

async function submit({ flags }: TestPlace, images: number, ...more: string[]) {
  const src = join(await tempFolder(), 'in')
  await writeImages(src, images)
  const args = [src, ...flags, '--run', 'r1', '--tasks', 'caption', '--checks', 'none']
  return await runVerb(runSubmit, [...args, ...more])
}

async function sealed(store: ObjectStore): Promise<LabelRecord[]> {
  await sealRun({ store, runId: 'r1', clock: () => new Date() })
  const records: LabelRecord[] = []
  for await (const record of readRecords(store)) records.push(record)
  return records
}

/** Every byte of a run, gzip taken off. */
async function readAll(store: ObjectStore): Promise<string> {
  const { objects } = await store.list({ prefix: '' })
  const texts = objects.map(async ({ key }) => {
    const bytes = (await store.get(key)) ?? new Uint8Array()
    return (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : Buffer.from(bytes)).toString()
  })
  return (await Promise.all(texts)).join('\n')
}

describe.each(testPlaces)('at %s', (_what, openTestPlace) => {
  test('submit names the model of a server, and a worker with its address and key labels the run', async () => {
    const server = await startChatServer({ models, key: secret, say: () => said })
    const open = await openTestPlace()
    const submitted = await submit(open, 4, '--endpoint', server.url, '--endpoint-model', 'Qwen2.5-VL-7B')
    expect(submitted).toMatchObject({ code: 0 })
    expect(submitted.told).toContain(`of the workers: images are sent to ${server.host}`)
    // The model was named, so nobody was asked for it: the server may be out of reach from here.
    expect(server.calls).toEqual([])

    const { code, log } = await drain({
      ...open.workerEnvironment,
      COGLABEL_MODEL: server.url,
      COGLABEL_ENDPOINT_KEY: secret,
    })
    expect(code).toBe(0)
    expect(log).toContain(`images are sent to ${server.host}`)
    const store = open.place.runStoreOf('r1')
    const records = await sealed(store)
    expect(records.map(({ status }) => status)).toEqual(Array(4).fill('ok'))
    expect(records[0]?.model).toMatchObject({ name: 'Qwen2.5-VL-7B', host: server.host })
    // Four images and the question by which the worker tries its model.
    expect(server.chats).toHaveLength(5)
    expect(log + (await readAll(store))).not.toContain(secret)
  })

  test('a server that is overrun, falls over or hangs up is asked again', async () => {
    const faults: Reply[] = [
      complaint(429, 'slow down', { 'retry-after': '0' }),
      complaint(503, 'loading'),
      { cut: true, body: completion(said) },
      { status: 500, body: '<html>oops' },
    ]
    // Turn 0 is the worker's question of its own.
    const server = await startChatServer({ models, say: (_call, turn) => faults[turn - 1] ?? said })
    const open = await openTestPlace()
    expect(await submit(open, 6, '--endpoint', server.url)).toMatchObject({ code: 0 })
    const { code } = await drain({ ...open.workerEnvironment, COGLABEL_MODEL: server.url })
    expect(code).toBe(0)
    const records = await sealed(open.place.runStoreOf('r1'))
    expect(records.map(({ status }) => status)).toEqual(Array(6).fill('ok'))
    expect(server.chats).toHaveLength(1 + 6 + faults.length)
  })

  test('a key that is taken back ends the worker and gives its messages back; another worker goes on', async () => {
    let takenBack = true
    const server = await startChatServer({
      models,
      say: (_call, turn) => (takenBack && turn > 3 ? complaint(401, `no such key: ${secret}`) : said),
    })
    const open = await openTestPlace()
    expect(await submit(open, 40, '--endpoint', server.url)).toMatchObject({ code: 0 })
    const environment = {
      ...open.workerEnvironment,
      COGLABEL_MODEL: server.url,
      COGLABEL_ENDPOINT_KEY: secret,
      COGLABEL_ENDPOINT_CONCURRENCY: '2',
    }
    const first = await drain(environment)
    expect(first.code).toBe(4)
    expect(first.log).toContain('the key may not ask for')
    takenBack = false
    const store = open.place.runStoreOf('r1')
    const before = (await sealed(store)).length
    expect(before).toBeLessThan(40)
    // What was given back stays away for half a minute, which a test has not: what is missing is asked for anew.
    const { code, out } = await runVerb(runReconcile, ['r1', ...open.flags])
    expect({ code, out }).toMatchObject({
      code: 0,
      out: expect.stringContaining(`asked for ${40 - before} of 40 images`),
    })
    const second = await drain(environment)
    expect(second.code).toBe(0)
    const records = await sealed(store)
    expect(records.map(({ status }) => status)).toEqual(Array(40).fill('ok'))
    expect(first.log + second.log + (await readAll(store))).not.toContain(secret)
  })
})

test.each([
  ['whose key is refused', {}, /the key may not ask .*COGLABEL_ENDPOINT_KEY or the file of COGLABEL_END/],
  ['that finds nobody', { COGLABEL_MODEL: 'http://127.0.0.1:9/v1' }, /nothing answers .*of COGLABEL_MODEL/],
  ['with a key file that is not there', { COGLABEL_ENDPOINT_KEY_FILE: '/none' }, /KEY_FILE \/none cannot be/],
])('a worker %s takes no message, and does not say the key', async (_what, environment, message) => {
  const server = await startChatServer({ key: 'another', say: () => '' })
  const { workerEnvironment } = await openFolderTestPlace()
  const { code, log } = await drain({
    ...workerEnvironment,
    COGLABEL_MODEL: server.url,
    COGLABEL_ENDPOINT_KEY: secret,
    ...environment,
  })
  expect(code).toBe(3)
  expect(log).toMatch(message)
  expect(log).not.toContain(secret)
})

test('another model, or another way to write boxes, is another run’s', async () => {
  const server = await startChatServer({ models, say: () => said })
  const open = await openFolderTestPlace()
  await submit(open, 2, '--endpoint', server.url)
  const { code, log } = await drain({
    ...open.workerEnvironment,
    COGLABEL_MODEL: server.url,
    COGLABEL_ENDPOINT_BOXES: 'none',
  })
  expect(code).toBe(0)
  expect(log).toContain('other-model')
  expect(await sealed(open.place.runStoreOf('r1'))).toEqual([])
})
