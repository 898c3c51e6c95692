// `coglabel push-model` as a process, and a worker's fetch of what it printed, over every kind of place.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { openModelFolder } from '../../gpu-worker/cloud/ports.ts'
import { parseWorkerSettings } from '../../gpu-worker/pipeline/worker-settings.ts'
import { expectSameModel, writeCompiledFolder } from '../helpers/compiled-folder.ts'
import { testPlaces } from '../helpers/places.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const main = new URL('../../cli/main.ts', import.meta.url).pathname
const coglabel = async (...args: string[]) =>
  await promisify(execFile)(process.execPath, [main, ...args], { env: process.env })

test.each(testPlaces)('prints the URI that a worker fetches the model from: %s', async (_name, open) => {
  const { flags, workerEnvironment } = await open()
  const folder = await tempFolder()
  const manifest = await writeCompiledFolder(join(folder, 'compiled'), {
    'vision.onnx': 10,
    'decoder.weights': 70_000,
  })
  const first = await coglabel('push-model', join(folder, 'compiled'), ...flags)
  expect(first.stderr).toContain('pushed noise: 0.1 MB sent')
  const uri = first.stdout.trim()
  expect(uri.endsWith(`weights/${manifest.digest}/`)).toBe(true)
  expect((await coglabel('push-model', join(folder, 'compiled'), ...flags)).stderr).toContain('0.0 MB sent')
  const { model } = parseWorkerSettings({
    ...workerEnvironment,
    COGLABEL_MODEL: uri,
    COGLABEL_SCRATCH: join(folder, 'scratch'),
  })
  if (model.kind === 'endpoint') throw new Error(`${uri} was taken for a server`)
  const fetched = await openModelFolder(model, new AbortController().signal)
  await expectSameModel(fetched.folder, join(folder, 'compiled'))
})

test('ends with 2 for what is no compiled model, and for no place', async () => {
  const folder = await tempFolder()
  await expect(coglabel('push-model', folder, '--place', folder)).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('is no compiled model') as string,
  })
  await writeCompiledFolder(folder, { 'vision.onnx': 1 })
  await expect(
    promisify(execFile)(process.execPath, [main, 'push-model', folder], { env: { PATH: '' } }),
  ).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('which place?') as string })
})
