// What is said of a device that cannot be used, and that nothing moves to another in silence.
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { chooseDevice } from '../../cli/choose-device.ts'
import { parseLabelFlags } from '../../cli/label-flags.ts'
import { deviceProblem, explainDevice, requireDevice } from '../../gpu-worker/engine/device.ts'
import { tryDevice } from '../../gpu-worker/engine/session.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const owl = fileURLToPath(new URL('../../examples/images/owl.png', import.meta.url))
const seen = { platform: 'linux', arch: 'x64', installer: '/m/install.js' }
const problems = { cuda: await deviceProblem('cuda'), webgpu: await deviceProblem('webgpu') }

describe('what stands in the way of a device', () => {
  test.each<[string, 'cuda' | 'webgpu', Partial<Parameters<typeof explainDevice>[1]>, RegExp]>([
    [
      'libraries that are not there',
      'cuda',
      { reason: 'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library' },
      /npm ci leaves them out; fetch them with "node \/m\/install\.js --onnxruntime-node-install".*CUDA 12 and cuDNN 9/,
    ],
    [
      'another system',
      'cuda',
      { platform: 'darwin', arch: 'arm64' },
      /Linux on x64 only, and this is darwin on arm64/,
    ],
    [
      'a driver that fails',
      'cuda',
      { reason: 'CUDA failure 35:\n driver is old' },
      /says "CUDA failure 35: driver is old"; see nvidia-smi/,
    ],
    [
      'no GPU',
      'webgpu',
      { reason: 'Failed to get a WebGPU adapter: No supported adapters' },
      /no GPU with a driver for Vulkan/,
    ],
    [
      'what nobody foresaw',
      'webgpu',
      { reason: 'a node is on the CPU' },
      /the runtime says "a node is on the CPU"/,
    ],
  ])('%s', (_, device, ...[more, expected]) => {
    expect(explainDevice(device, { reason: '', ...seen, ...more })).toMatch(expected)
  })

  test('is nothing for the CPU, which adds two numbers', async () => {
    expect(await deviceProblem('cpu')).toBeNull()
    await requireDevice('cpu')
    await tryDevice('cpu')
  })
})

const label = async (out: string, device: string) =>
  await new Promise<{ code: number | null; stderr: string }>((resolve) => {
    const args = [main, 'label', owl, '--out', out, '--tasks', 'caption', '--device', device]
    const child = execFile(process.execPath, args, (_, __, stderr) =>
      resolve({ code: child.exitCode, stderr }),
    )
  })

describe('coglabel label --device', () => {
  // What is missing differs between machines; that it is told does not.
  test.skipIf(problems.cuda === null).each(['cuda', 'webgpu'] as const)(
    '%s is refused where it cannot be had, and labels nothing',
    async (device) => {
      const out = join(await tempFolder(), 'out')
      const ended = await label(out, device)
      if (problems[device] === null) return expect(ended.code).toBe(0)
      expect(ended.code).toBe(2)
      expect(ended.stderr).toContain(
        `--device ${device} cannot be used: ${problems[device]}; or give --device cpu`,
      )
      await expect(readFile(join(out, 'config.json'))).rejects.toThrow('ENOENT')
    },
  )

  test('cpu says nothing of it and stands in the record', async () => {
    const out = join(await tempFolder(), 'out')
    const ended = await label(out, 'cpu')
    expect(ended).toMatchObject({ code: 0 })
    expect(ended.stderr).not.toContain('runs on')
    const record = LabelRecord.parse(JSON.parse(await readFile(join(out, 'labels.jsonl'), 'utf8')))
    expect(record.model.engine).toMatch(/^onnxruntime-node\/cpu\//)
  })

  test.skipIf(problems.cuda === null || problems.webgpu === null)(
    'auto says which it took and why no other',
    async () => {
      expect(await chooseDevice('auto', undefined)).toEqual({
        device: 'cpu',
        notice: `the model runs on cpu (not on cuda: ${problems.cuda}; not on webgpu: ${problems.webgpu})`,
      })
    },
  )

  test('does not go with an endpoint, nor with other words', () => {
    const flags = ['in', '--out', 'o', '--device']
    expect(() => parseLabelFlags([...flags, 'tpu'])).toThrow(
      /--device is "tpu"; expected cpu, cuda, webgpu, auto/,
    )
    expect(() => parseLabelFlags([...flags, 'cpu', '--endpoint', 'http://h/v1'])).toThrow(/leave one out/)
  })
})
