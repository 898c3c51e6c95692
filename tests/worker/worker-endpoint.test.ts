// A submitted run whose workers ask a server in their own model's place.
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runSubmit } from '../../cli/submit.ts'
import { readRecords } from '../../dataset/read.ts'
import { sealRun } from '../../dataset/seal.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'
import { runWorkerProcess } from '../../gpu-worker/worker.ts'
import { startChatServer } from '../helpers/chat-server.ts'
import { writeImages } from '../helpers/images.ts'
import { openFolderTestPlace } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { runVerb } from '../helpers/verbs.ts'

const secret = 'sk-of-the-worker'

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

test('submit names the model of a server, and a worker with its address and key labels the run', async () => {
  const server = await startChatServer({
    models: ['Qwen2.5-VL-7B'],
    say: () => 'A dog on a lawn, from afar.',
  })
  const { place, flags, workerEnvironment } = await openFolderTestPlace()
  const src = join(await tempFolder(), 'in')
  await writeImages(src, 4)
  const args = [src, ...flags, '--run', 'r1', '--tasks', 'caption', '--checks', 'none']
  expect(await runVerb(runSubmit, [...args, '--endpoint', server.url])).toMatchObject({ code: 0 })

  const { code, log } = await drain({
    ...workerEnvironment,
    COGLABEL_MODEL: server.url,
    COGLABEL_ENDPOINT_KEY: secret,
  })
  expect(code).toBe(0)
  expect(log).toContain(`images are sent to ${server.host}`)
  expect(log).not.toContain(secret)
  const store = place.runStoreOf('r1')
  const { totals } = await sealRun({ store, runId: 'r1', clock: () => new Date() })
  expect(totals).toEqual({ caption: { ok: 4, filtered: 0, failed: 0 } })
  const records: LabelRecord[] = []
  for await (const record of readRecords(store)) records.push(record)
  expect(records[0]?.model).toMatchObject({ name: 'Qwen2.5-VL-7B', host: server.host })
  // Four images and the question by which the worker tries its model.
  expect(server.chats).toHaveLength(5)
  place.close()
})

test('a worker whose key is refused takes no message, and does not say the key', async () => {
  const server = await startChatServer({ key: 'another', say: () => '' })
  const { workerEnvironment } = await openFolderTestPlace()
  const { code, log } = await drain({
    ...workerEnvironment,
    COGLABEL_MODEL: server.url,
    COGLABEL_ENDPOINT_KEY: secret,
  })
  expect(code).toBe(3)
  expect(log).toContain('the key may not ask')
  expect(log).not.toContain(secret)
})
