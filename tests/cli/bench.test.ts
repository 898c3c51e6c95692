// `coglabel bench` on the model and the images that ship, for a moment.
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { solidPng } from '../helpers/images.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

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

test('counts the tokens of all images that are under way together', async () => {
  const { stdout } = await bench('--seconds', '1', '--tasks', 'caption')
  const [, perImage = '0'] = /answers .*, (\d+) tokens,/.exec(stdout) ?? []
  const [, images = '0', tokens = '0'] =
    /under way: ([\d.]+) images\/s, ([\d.]+) tokens\/s/.exec(stdout) ?? []
  // The median of an image is near the mean of all.
  expect(Number(tokens) / Number(images) / Number(perImage)).toBeGreaterThan(0.5)
})

test('measures nothing where no image can be labelled, and says so where some cannot', async () => {
  const folder = await tempFolder()
  await writeFile(join(folder, 'bad.png'), 'not an image')
  await expect(bench(folder, '--seconds', '0.1', '--tasks', 'caption')).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/no image can be labelled.*bad\.png: the bytes look like text/) as string,
  })
  await writeFile(join(folder, 'good.png'), solidPng([200, 30, 30], 64))
  const { stdout } = await bench(folder, '--seconds', '0.5', '--tasks', 'caption')
  expect(stdout).toMatch(/\d+ of \d+ images failed, .*bad\.png: the bytes look like text/)
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
