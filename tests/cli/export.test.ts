// `coglabel export` as a person calls it: a folder on disk in, a dataset beside its card out, and clear refusals.
import { spawnSync } from 'node:child_process'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect, test, vi } from 'vitest'
import { runExport } from '../../cli/export.ts'
import { sha256Hex } from '../../dataset/canonical-json.ts'
import { writePart } from '../../dataset/parts.ts'
import { openRun } from '../../dataset/run-folder.ts'
import { sealRun } from '../../dataset/seal.ts'
import { openFsStore } from '../../dataset/stores/fs.ts'
import { UserError } from '../../schemas/errors.ts'
import { testConfig } from '../helpers/export-run.ts'
import { solidPng } from '../helpers/images.ts'
import { someRecord } from '../helpers/records.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

/** A run folder on disk over two real PNGs beside it. */
async function makeRun(): Promise<{ folder: string; run: string }> {
  const folder = await tempFolder()
  const run = join(folder, 'run')
  await mkdir(join(folder, 'images'))
  const store = openFsStore(run)
  const { v: _v, runId: _runId, createdAt: _at, ...wanted } = testConfig
  const { runId } = await openRun(store, { wanted, now: new Date('2026-01-01T00:00:00Z') })
  const records = []
  for (const [index, key] of ['one.png', 'two.png'].entries()) {
    const bytes = solidPng([index * 200, 30, 30])
    await writeFile(join(folder, 'images', key), bytes)
    const record = someRecord({ key, text: `picture ${key}` })
    const uri = pathToFileURL(join(folder, 'images', key)).href
    records.push({ ...record, source: { ...record.source, uri, sha256: sha256Hex(bytes) } })
  }
  await writePart(store, records)
  await sealRun({ store, runId, clock: () => new Date('2026-01-01T00:00:00Z') })
  return { folder, run }
}

test.each([
  ['llava', 'copy', ['README.md', 'card', 'images', 'llava.json']],
  ['llava', 'link', ['README.md', 'card', 'images', 'llava.json']],
  ['llava', 'reference', ['README.md', 'card', 'llava.json']],
  ['openai-chat', 'embed', ['README.md', 'card', 'openai-chat.jsonl']],
  ['webdataset', 'embed', ['README.md', 'card', 'webdataset-000000.tar']],
])('writes %s with images by %s', async (format, images, expected) => {
  const { folder, run } = await makeRun()
  const out = join(folder, 'out')
  const print = vi.spyOn(console, 'log').mockReturnValue()
  expect(await runExport([run, '--format', format, '--out', out, '--images', images])).toBe(0)
  expect(print.mock.calls.flat().join()).toContain(`exported 2 records of 2 images as 2 entries of ${format}`)
  expect((await readdir(out)).toSorted()).toEqual(expected)
  expect((await readdir(folder)).toSorted()).toEqual(['images', 'out', 'run'])
  if (expected.includes('images'))
    expect(await readFile(join(out, 'images/one.png'))).toEqual(
      await readFile(join(folder, 'images/one.png')),
    )
  expect(await readFile(join(out, 'README.md'), 'utf8')).toContain(`export ${run} --format ${format}`)
})

test('a part that gets no image is named too', async () => {
  const { folder, run } = await makeRun()
  const print = vi.spyOn(console, 'log').mockReturnValue()
  const split = ['--split', 'train=0.998,val=0.001,test=0.001']
  await runExport([run, '--format', 'llava', '--out', join(folder, 'out'), ...split])
  expect(print.mock.calls.flat()).toContain('images of the split: train 2, val 0, test 0')
})

test('a changed image is left out, listed, and the exit code says so', async () => {
  const { folder, run } = await makeRun()
  await writeFile(join(folder, 'images/two.png'), 'other bytes')
  const print = vi.spyOn(console, 'log').mockReturnValue()
  const out = join(folder, 'out')
  expect(await runExport([run, '--format', 'sidecar', '--out', out])).toBe(3)
  expect(print.mock.calls.flat().join('\n')).toContain(
    `left out: 1 image changed since it was labelled; which images: ${join(out, 'left-out.jsonl')}`,
  )
  expect(await readdir(out)).toContain('left-out.jsonl')
})

test('an image that cannot be read is left out, and the others are there', async () => {
  const { folder, run } = await makeRun()
  await rm(join(folder, 'images/two.png'))
  await mkdir(join(folder, 'images/two.png'))
  const print = vi.spyOn(console, 'log').mockReturnValue()
  const out = join(folder, 'out')
  expect(await runExport([run, '--format', 'llava', '--out', out])).toBe(3)
  expect(print.mock.calls.flat().join('\n')).toMatch(
    /exported 1 record of 1 image.*1 image that cannot be read/s,
  )
  expect(JSON.parse(await readFile(join(out, 'left-out.jsonl'), 'utf8'))).toMatchObject({
    key: 'two.png',
    detail: expect.stringContaining('EISDIR'),
  })
})

test.each([
  [['--format', 'yolo'], /there is no format "yolo"/],
  [[], /export needs a format: --format llava\|/],
  [['--format', 'llava', '--images', 'embed'], /--images is "embed"; llava takes copy, link, reference/],
  [['--format', 'llava', '--where', 'task='], /expected a value/],
  [
    ['--format', 'llava', '--images', 'link', '--strip-metadata'],
    /these go by link; ask for another of copy, link, reference with --images/,
  ],
  [['--format', 'csv', '--strip-metadata'], /--strip-metadata changes images that are copied or embedded/],
  [['--format', 'llava', '--split', 'train=2'], /make 2; expected 1/],
  [['--format', 'llava', '--previous', 'x'], /--previous is for a split/],
  [['--format', 'llava', '--where', 'task=qa'], /nothing of .* can be exported: 2 not wanted by --where/],
])('refuses %j', async (args, message) => {
  const { folder, run } = await makeRun()
  const call = async () => await runExport([run, '--out', join(folder, 'out'), ...args])
  await expect(call()).rejects.toThrow(UserError)
  await expect(call()).rejects.toThrow(message)
  expect((await readdir(folder)).toSorted()).toEqual(['images', 'run'])
})

test('an earlier export whose parts are torn is named with the line', async () => {
  const { folder, run } = await makeRun()
  const earlier = await tempFolder()
  const args = [
    run,
    '--format',
    'llava',
    '--split',
    'train=1',
    '--previous',
    earlier,
    '--out',
    join(folder, 'out'),
  ]
  await expect(runExport(args)).rejects.toThrow(/splits.jsonl cannot be read; --previous is the folder/)
  await writeFile(join(earlier, 'splits.jsonl'), '{"key":"a","split":"train"}\n{"key":"b","spl')
  await expect(runExport(args)).rejects.toThrow(
    /^line 2 of .*splits.jsonl names no image and its part: \{"key":"b"/,
  )
})

test.each([
  ['failed', /nothing of .* can be exported: 1 failed$/],
  ['nothing', /nothing of .* can be exported: it has no labels$/],
] as const)('of a run with %s alone it says so and writes nothing', async (kind, message) => {
  const folder = await tempFolder()
  const run = join(folder, 'run')
  const store = openFsStore(run)
  const { v: _v, runId: _runId, createdAt: _at, ...wanted } = testConfig
  const { runId } = await openRun(store, { wanted, now: new Date('2026-01-01T00:00:00Z') })
  if (kind === 'failed') await writePart(store, [someRecord({ key: 'a.png', status: 'failed' })])
  await sealRun({ store, runId, clock: () => new Date('2026-01-01T00:00:00Z') })
  const args = [run, '--format', 'llava', '--out', join(folder, 'out')]
  await expect(runExport(args)).rejects.toThrow(message)
  expect(await readdir(folder)).toEqual(['run'])
})

// Stands for a full disk: of both the kernel tells whoever writes, and libraries that write by themselves say no more.
test.skipIf(process.platform === 'win32').each(['webdataset', 'parquet', 'llava', 'coco'])(
  'a disk that is full while %s is written costs nothing but the command',
  async (format) => {
    const { folder, run } = await makeRun()
    const out = join(folder, 'out')
    const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
    const command = `ulimit -f 1; exec "$0" "$@"`
    const args = [process.execPath, main, 'export', run, '--format', format, '--out', out]
    const { status, stderr } = spawnSync('bash', ['-c', command, ...args], { encoding: 'utf8' })
    expect(stderr).toMatch(/could not write .*: the file would pass the limit on file sizes/)
    expect(stderr).not.toMatch(/\n {4}at /)
    expect(status).toBe(2)
    expect((await readdir(folder)).toSorted()).toEqual(['images', 'run'])
  },
  30_000,
)

test('a file in the place of the folder is named as one', async () => {
  const { folder, run } = await makeRun()
  const file = join(folder, 'images/one.png')
  for (const out of [file, join(file, 'deeper')])
    await expect(runExport([run, '--format', 'llava', '--out', out])).rejects.toThrow(
      /is a file, or lies in one/,
    )
})

test('never writes into a folder that holds something', async () => {
  const { folder, run } = await makeRun()
  await expect(runExport([run, '--format', 'llava', '--out', join(folder, 'images')])).rejects.toThrow(
    /is not empty; exports never overwrite/,
  )
})
