// `coglabel bench` on the model and the images that ship, for a moment.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const bench = async (...args: string[]) =>
  await promisify(execFile)(process.execPath, [main, 'bench', ...args])

test('says the time of each stage, the rate with several images under way, and what it means an hour', async () => {
  const { stdout } = await bench('--seconds', '0.1', '--tasks', 'caption', '--kv', 'int8')
  expect(stdout).toMatch(/^scenes-v2, int8 \(.*\/kv-int8\), loaded in [\d.]+ s\n/)
  for (const stage of ['decode and resize', 'vision tower and prefill', 'answers'])
    expect(stdout).toMatch(new RegExp(`${stage} +\\d+ ms`))
  const [, images = '0'] = /under way: ([\d.]+) images\/s, [\d.]+ tokens\/s/.exec(stdout) ?? []
  const [, hourly = '0'] = /: ([\d,]+) images an hour/.exec(stdout) ?? []
  expect(Number(hourly.replaceAll(',', '')) / 3600 / Number(images)).toBeCloseTo(1, 1)
})

test('asks what label would, also what follows from an answer', async () => {
  const { stdout } = await bench('--seconds', '0.1', '--tasks', 'caption', '--ground-from', 'caption')
  expect(stdout).toContain(', 2 records each:')
})

test.each([
  [['--kv', 'int9'], /--kv is "int9"; expected fp32 or int8/],
  [
    ['--kv-memory', '0.0001'],
    /the cache may have 1 MB, one image and its longest answer need \d+ MB; allow more/,
  ],
  [['--tasks', 'captoin'], /there is no task "captoin"/],
  [['nowhere'], /there is no file or folder "nowhere"/],
])('ends with 2 for %j', async (args, says) => {
  await expect(bench(...args)).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(says) as string,
  })
})
