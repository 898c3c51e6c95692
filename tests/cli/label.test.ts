// `coglabel label` as a process: its exit codes, its words, and what is left after it is killed.
import { type ChildProcess, exec, execFile, spawn, spawnSync } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { LabelRecord } from '../../schemas/label-record.ts'
import { numberedPng, slowPng, writeImages } from '../helpers/images.ts'
import { isRunning, untilGone } from '../helpers/processes.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const counting = fileURLToPath(new URL('../helpers/label-counting.ts', import.meta.url))
const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const launcher = fileURLToPath(new URL('../../cli/launch.js', import.meta.url))

/** A Node of this machine that does not read TypeScript. */
const olderNode = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'node'))
  .find((path) => /^v(1\d|2[01])\./.test(spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout ?? ''))

type Ended = { code: number | null; signal: string | null; stdout: string; stderr: string }

async function run(command: readonly string[]): Promise<Ended> {
  return await new Promise((resolve) => {
    const child = execFile(process.execPath, [...command], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : child.exitCode, signal: child.signalCode, stdout, stderr }),
    )
  })
}

const label = async (...args: string[]) => await run([counting, '0', ...args])

async function readLabels(out: string): Promise<LabelRecord[]> {
  const lines = (await readFile(join(out, 'labels.jsonl'), 'utf8')).trimEnd().split('\n')
  return lines.map((line) => LabelRecord.parse(JSON.parse(line)))
}

const place = (record: LabelRecord) => `${record.source.key} ${record.task} ${record.ordinal}`
const places = (keys: readonly string[]) =>
  keys.toSorted().flatMap((key) => ['caption', 'grounded-caption', 'qa'].map((task) => `${key} ${task} 0`))

describe('coglabel label', () => {
  test('labels a folder, says where, and does nothing the second time', async () => {
    const folder = await tempFolder()
    const keys = await writeImages(join(folder, 'in'), 5)
    const out = join(folder, 'out')
    const first = await label(join(folder, 'in'), '--out', out)
    expect(first).toMatchObject({ code: 0, signal: null })
    expect(first.stdout).toContain(`labels: ${out}/labels.jsonl (15 lines, 5 images)`)
    expect((await readLabels(out)).map(place)).toEqual(places(keys))
    expect((await readdir(out)).toSorted()).toEqual([
      '.tmp',
      'config.json',
      'ids',
      'labels.jsonl',
      'manifests',
      'parts',
      'run.json',
      'sealed',
    ])
    const second = await label(join(folder, 'in'), '--out', out)
    expect(second.stdout).toContain('nothing to do: all 5 images had their labels already')
    expect(second.code).toBe(0)
  })

  test('gives next steps that work as they stand, one after the other', async () => {
    const folder = await tempFolder()
    await writeImages(join(folder, 'some images'), 2)
    const inShell = promisify(exec)
    const shell = async (words: string) =>
      await inShell(
        words
          .replaceAll('npx coglabel label', `"${process.execPath}" "${counting}" 0`)
          .replaceAll('npx coglabel', `"${process.execPath}" "${main}"`),
        { cwd: folder },
      )
    const { stdout } = await shell('npx coglabel label "some images" --out=-out')
    const [, steps = ''] = stdout.split('next:\n')
    const lines = steps.trim().split('\n')
    expect(lines).toHaveLength(5)
    // The last one serves a page until it is stopped.
    expect(lines.pop()).toBe('  npx coglabel review ./-out')
    expect((await shell(lines.join('\n'))).stdout).toMatch(
      /^\{"v".*contact-sheet\.png.*labels: -out-2.*labels: -out-3/s,
    )
  })

  test('reads no more of a file than it may, and says which limit it was', async () => {
    const folder = await tempFolder()
    const images = join(folder, 'in')
    await writeImages(images, 3)
    await writeFile(join(images, 'wide.png'), slowPng())
    await writeFile(join(images, 'long.png'), Buffer.concat([numberedPng(4), Buffer.alloc(2_000_000)]))
    const failuresOf = async (out: string, ...flags: string[]) => {
      const bytes = ['--max-image-bytes', '1900000']
      const to = join(folder, out)
      const { code } = await label(images, '--out', to, '--tasks', 'caption', ...bytes, ...flags)
      const records = await readLabels(to)
      const failed = records.filter(({ status }) => status === 'failed')
      return [code, records.length, ...failed.map(({ source, error }) => `${source.key}: ${error?.code}`)]
    }
    const [long, pixels] = ['long.png: image-too-large', 'wide.png: image-too-many-pixels']
    expect(await failuresOf('a', '--max-image-pixels', '80000000')).toEqual([3, 5, long, pixels])
    expect(await failuresOf('b', '--max-image-side', '8999')).toEqual([3, 5, long, pixels])
    const memory = ['--decoder-memory', '0.2', '--decoders', '1']
    expect(await failuresOf('c', ...memory)).toEqual([3, 5, long, 'wide.png: decoder-out-of-memory'])
    const again = '--retry-failed=decoder-out-of-memory'
    expect(await failuresOf('c', again)).toEqual([3, 5, long])
  })

  test.each([
    ['--max-image-bytes', '64MB'],
    ['--max-image-pixels', '0'],
    ['--decode-seconds', '0.5'],
    ['--decoders', '0'],
    ['--decoder-memory', '0.01'],
  ])('refuses %s %s before it begins', async (...flag) => {
    const { code, stderr } = await label('nowhere', '--out', 'nowhere', ...flag)
    expect(code).toBe(2)
    expect(stderr).toContain(`${flag[0]} is "${flag[1]}"`)
  })

  test('ends with 3 when records failed and names them', async () => {
    const folder = await tempFolder()
    await writeImages(join(folder, 'in'), 2)
    await writeFile(join(folder, 'in', 'bad\u001b[31m.png'), 'no image')
    const ended = await label(join(folder, 'in'), '--out', join(folder, 'out'))
    expect(ended.code).toBe(3)
    expect(ended.stdout).toContain('bad?[31m.png (caption): image-format-unsupported')
    expect(ended.stdout).toContain('failed: 3 image-format-unsupported')
    expect((await label(join(folder, 'in'), '--out', join(folder, 'out'))).code).toBe(3)
  })

  test('asks, grounds, limits and seeds as told', async () => {
    const folder = await tempFolder()
    await writeImages(join(folder, 'in'), 4)
    const ended = await label(
      join(folder, 'in'),
      '--out',
      join(folder, 'out'),
      '--tasks',
      'caption',
      '--ask',
      'Is it red?',
      '--ground',
      'the dog',
      '--ground',
      'a cat',
      '--limit',
      '2',
      '--seed',
      '9',
      '--temperature',
      '0.5',
    )
    expect(ended.code).toBe(0)
    const records = await readLabels(join(folder, 'out'))
    expect(records.map((record) => `${record.task} ${record.ordinal}`)).toEqual(
      [...Array(2)].flatMap(() => ['caption 0', 'ground 0', 'ground 1', 'qa 0']),
    )
    expect(records.find((record) => record.task === 'qa')?.output).toMatchObject({
      turns: [{ question: 'Is it red?', kind: 'asked' }],
    })
    expect(records[0]?.sampling.temperature).toBe(0.5)
  })

  test('refuses other settings in the same folder and names them', async () => {
    const folder = await tempFolder()
    await writeImages(join(folder, 'in'), 1)
    const args = [join(folder, 'in'), '--out', join(folder, 'out')]
    await label(...args)
    const ended = await label(...args, '--seed', '4')
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(/other settings:\n {2}seed: it has 0, now 4\n.*--out/)
  })

  test('takes the same settings in another order for the same', async () => {
    const folder = await tempFolder()
    await writeImages(join(folder, 'in'), 1)
    const args = [join(folder, 'in'), '--out', join(folder, 'out')]
    await label(...args, '--tasks', 'caption,qa', '--ask', 'Is it red?', '--checks', 'length,refusal')
    const again = ['--tasks', 'qa,caption', '--ask', 'Is it red?', '--checks', 'refusal,length']
    const ended = await label(...args, ...again)
    expect(ended.stdout).toContain('nothing to do')
    const other = await label(...args, ...again, '--seed', '4')
    expect(other.stderr).toMatch(/other settings:\n {2}seed: it has 0, now 4\na run/)
  })

  test.each([
    [['--out', 'o'], /needs a source/],
    [['x'], /needs a place/],
    [['x', 'y', '--out', 'o'], /one source/],
    [['/no/such', '--out', '/tmp/coglabel-none'], /no file or folder/],
    [['.', '--out', '/tmp/coglabel-none', '--limit', '0'], /--limit is "0"/],
    [['.', '--out', '/tmp/coglabel-none', '--seed', 'x'], /--seed is "x"/],
    [['.', '--out', '/tmp/coglabel-none', '--temperature', '-1'], /--temperature|ambiguous/],
    [['.', '--out', '/tmp/coglabel-none', '--tasks', ','], /--tasks names nothing/],
    [['.', '--out', '/tmp/coglabel-none', '--ask', ' '], /--ask is empty/],
    [['.', '--out', '/tmp/coglabel-none', '--frobnicate'], /label has no flag "--frobnicate"/],
  ])('ends with 2 and a sentence on %j', async (args, message) => {
    const ended = await run([main, 'label', ...args])
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(message)
    expect(ended.stderr).not.toContain('    at ')
  })

  test('refuses folders without images and folders with other files', async () => {
    const folder = await tempFolder()
    await mkdir(join(folder, 'in'))
    await writeFile(join(folder, 'in', 'a.txt'), '')
    const none = await label(join(folder, 'in'), '--out', join(folder, 'out'))
    expect([none.code, none.stderr]).toEqual([
      2,
      expect.stringContaining('left out: 1 not an image by its extension'),
    ])
    await writeFile(join(folder, 'in', 'a.png'), numberedPng(1))
    await mkdir(join(folder, 'full'))
    await writeFile(join(folder, 'full', 'thesis.doc'), '')
    const full = await label(join(folder, 'in'), '--out', join(folder, 'full'))
    expect([full.code, full.stderr]).toEqual([2, expect.stringContaining('thesis.doc')])
    expect((await label(join(folder, 'in'), '--out', join(folder, 'full'), '--yes')).code).toBe(0)
  })

  test('refuses a task that the model lacks', async () => {
    const folder = await tempFolder()
    await writeImages(join(folder, 'in'), 1)
    const ended = await label(join(folder, 'in'), '--out', join(folder, 'out'), '--tasks', 'fly')
    expect([ended.code, ended.stderr]).toEqual([
      2,
      expect.stringContaining('there is no task "fly"; choose from caption'),
    ])
  })

  test('drains at one interrupt with 130 and complete labels, and the same command goes on', async () => {
    const folder = await tempFolder()
    const keys = await writeImages(join(folder, 'in'), 60)
    const out = join(folder, 'out')
    const ended = await interrupt([counting, '20', join(folder, 'in'), '--out', out], { times: 1 })
    expect(ended).toMatchObject({ code: 130, signal: null })
    await expectFirstLabels(out, keys)
    expect((await label(join(folder, 'in'), '--out', out)).code).toBe(0)
    expect((await readLabels(out)).map(place)).toEqual(places(keys))
  })

  test('stops at once at two interrupts with 130', async () => {
    const folder = await tempFolder()
    const keys = await writeImages(join(folder, 'in'), 8)
    const out = join(folder, 'out')
    const startMs = performance.now()
    const ended = await interrupt([counting, '20000', join(folder, 'in'), '--out', out], { times: 2 })
    expect(ended).toMatchObject({ code: 130, signal: null })
    expect(performance.now() - startMs).toBeLessThan(15_000)
    expect((await label(join(folder, 'in'), '--out', out)).code).toBe(0)
    expect((await readLabels(out)).map(place)).toEqual(places(keys))
  })

  // launch.js runs the rest on the Node that is installed where the one that was called is too old.
  describe.skipIf(olderNode === undefined)('begun on an older Node', () => {
    test.each([
      ['a supervisor interrupts that alone', interruptOne],
      ['the terminal interrupts everything', (child: ChildProcess) => process.kill(-child.pid!, 'SIGINT')],
    ])('finishes the images under way when %s', async (_who, send) => {
      const folder = await tempFolder()
      const keys = await writeImages(join(folder, 'in'), 60)
      const out = join(folder, 'out')
      const command = [launcher, counting, '20', join(folder, 'in'), '--out', out]
      const ended = await interrupt(command, { times: 1, send, node: olderNode, detached: true })
      expect(ended).toMatchObject({ code: 130, signal: null })
      await expectFirstLabels(out, keys)
    })

    test.skipIf(process.platform !== 'linux')('ends at once when that is killed', async () => {
      const folder = await tempFolder()
      await writeImages(join(folder, 'in'), 3)
      const command = [launcher, 'label', join(folder, 'in'), '--out', join(folder, 'out')]
      const { child, ended, begun } = start(command, { node: olderNode })
      await begun
      const { pid = 0 } = child
      const labelling = Number(await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8'))
      expect(isRunning(labelling)).toBe(true)
      child.kill('SIGKILL')
      await untilGone(labelling)
      expect(await ended).toMatchObject({ signal: 'SIGKILL' })
    })
  })

  test('loses and doubles nothing when killed at random moments until it is done', async () => {
    const folder = await tempFolder()
    const keys = await writeImages(join(folder, 'in'), 160)
    const out = join(folder, 'out')
    let seed = 11
    const random = (count: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % count
    let kills = 0
    for (let round = 0; round < 60; round += 1) {
      // 16 ms an image, four at a time: a run of a second or so, which the kills below come to more than once.
      const ended = await killAfter([counting, '16', join(folder, 'in'), '--out', out], random(900))
      if (ended.code === 0) break
      expect(ended.signal).toBe('SIGKILL')
      kills += 1
    }
    expect(kills).toBeGreaterThan(2)
    expect((await label(join(folder, 'in'), '--out', out)).code).toBe(0)
    const records = await readLabels(out)
    expect(records.map(place)).toEqual(places(keys))
    expect(new Set(records.map((record) => record.recordId)).size).toBe(480)
  }, 180_000)

  test('ends with 2 and a sentence when the disk is full, leaves nothing torn, and goes on with room', async () => {
    const folder = await tempFolder()
    const keys = await writeImages(join(folder, 'in'), 100)
    const out = join(folder, 'out')
    // No file may pass 4 blocks of 1024 bytes: config.json fits, a part of 32 images does not.
    const limited = await new Promise<Ended>((resolve) => {
      const child = execFile(
        'bash',
        [
          '-c',
          `ulimit -f 4; exec "$@"`,
          'bash',
          process.execPath,
          counting,
          '0',
          join(folder, 'in'),
          '--out',
          out,
        ],
        (_error, stdout, stderr) =>
          resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
      )
    })
    expect(limited).toMatchObject({ code: 2, signal: null })
    expect(limited.stderr).toMatch(/could not write \d+ bytes to .*: the file would pass the limit/)
    expect(await readdir(join(out, '.tmp'))).toEqual([])
    expect((await label(join(folder, 'in'), '--out', out)).code).toBe(0)
    expect((await readLabels(out)).map(place)).toEqual(places(keys))
  })
})

const interruptOne = (child: ChildProcess) => child.kill('SIGINT')

/** Sends interrupts once the process has begun to label. */
async function interrupt(
  command: readonly string[],
  { times, send = interruptOne, ...how }: { times: number; send?: typeof interruptOne } & StartOptions,
): Promise<Ended> {
  const { child, ended, begun } = start(command, how)
  await begun
  await sleep(200)
  for (let n = 0; n < times; n += 1) {
    send(child)
    await sleep(200)
  }
  return await ended
}

/** Kills the process some time after it has begun to label. */
async function killAfter(command: readonly string[], afterMs: number): Promise<Ended> {
  const { child, ended, begun } = start(command)
  await begun
  const timer = setTimeout(() => child.kill('SIGKILL'), afterMs)
  const result = await ended
  clearTimeout(timer)
  return result
}

/** The images that were under way have their labels, and no later one. */
async function expectFirstLabels(out: string, keys: readonly string[]): Promise<void> {
  const some = (await readLabels(out)).map(place)
  expect(some.length).toBeGreaterThan(0)
  expect(some).toEqual(places(keys).slice(0, some.length))
}

type StartOptions = { node?: string | undefined; detached?: boolean }

function start(command: readonly string[], { node = process.execPath, detached = false }: StartOptions = {}) {
  const child = spawn(node, [...command], { stdio: ['ignore', 'pipe', 'pipe'], detached })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString()
  })
  const { promise: ended, resolve: end } = Promise.withResolvers<Ended>()
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString()
    begin()
  })
  child.on('close', (code, signal) => {
    begin()
    end({ code, signal, stdout, stderr })
  })
  return { child, ended, begun }
}

describe('a manifest with questions', () => {
  test('has each image asked its own, the others the usual ones, and resumes to nothing to do', async () => {
    const folder = await tempFolder()
    const [a = '', b = '', c = ''] = await writeImages(folder, 3)
    const lines = [
      { image: a, questions: ['Is there a dog?', 'Is there a cat?'], phrases: ['the dog', 'the cat'] },
      { image: b, phrases: ['the cow'] },
      { image: c },
    ]
    const manifest = join(folder, 'list.jsonl')
    await writeFile(manifest, lines.map((line) => JSON.stringify(line)).join('\n'))
    const out = join(folder, 'out')
    expect(await label(manifest, '--out', out, '--tasks', 'qa,ground')).toMatchObject({ code: 0 })
    const asked = (await readLabels(out)).map(({ source, task, ordinal, prompt }) => [
      source.key,
      task,
      ordinal,
      ...[...prompt.text.matchAll(/Question: (.*?) Answer:/g)].map((match) => match[1]),
    ])
    const usual = ['What is in the image?', 'How many objects are there?']
    expect(asked).toEqual([
      [a, 'ground', 0, 'Where is the dog? Give its box.'],
      [a, 'ground', 1, 'Where is the cat? Give its box.'],
      [a, 'qa', 0, 'Is there a dog?', 'Is there a cat?'],
      [b, 'ground', 0, 'Where is the cow? Give its box.'],
      [b, 'qa', 0, ...usual],
      [c, 'qa', 0, ...usual],
    ])
    const again = await label(manifest, '--out', out, '--tasks', 'qa,ground')
    expect(again.stdout).toContain('nothing to do')
  })
})
