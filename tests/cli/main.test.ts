// The root of the command line: help, version, mistakes; and the progress line, which is pure.
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { applyEvent, formatDuration, type ProgressState, rateOf, renderProgress } from '../../cli/progress.ts'

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

async function coglabel(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    )
  })
}

test.each([
  [['--help'], 0, /label +label the images/],
  [['help'], 0, /compile/],
  [['label', '--help'], 0, /--ground "PHRASE"/],
  [['compile', '--help'], 0, /CHECKPOINT_DIR/],
  [['trace', '-h'], 0, /CASE/],
  [['--version'], 0, /^\d+\.\d+\.\d+\n$/],
  [[], 2, /VERB/],
])('answers %j with %i', async (args, code, text) => {
  const ended = await coglabel(...args)
  expect(ended.code).toBe(code)
  expect(ended.stdout).toMatch(text)
})

test('says of every verb how it ends', async () => {
  const { stdout } = await coglabel('--help')
  const verbs = [...stdout.matchAll(/^ {2}([a-z-]+) /gm)].map(([, verb = '']) => verb)
  expect(verbs.length).toBeGreaterThan(20)
  const silent: string[] = []
  for (const verb of verbs)
    if (!/Exit code: 0 .*1 fatal, 2 wrong usage/s.test((await coglabel(verb, '--help')).stdout))
      silent.push(verb)
  expect(silent).toEqual([])
})

test.each([
  ['labl', /did you mean "label"/],
  ['LABEL', /there is no verb "LABEL"/],
  ['constructor', /there is no verb "constructor"/],
  ['frobnicate', /there is no verb "frobnicate"\n/],
])('fails on the verb %s with a suggestion where one is near', async (verb, text) => {
  const ended = await coglabel(verb)
  expect(ended.code).toBe(2)
  expect(ended.stderr).toMatch(text)
})

test('goes on, and says nothing, when nobody reads what it prints any more', async () => {
  const child = spawn(process.execPath, [
    main,
    'doctor',
    '--place',
    fileURLToPath(new URL('.', import.meta.url)),
  ])
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stdout.destroy()
  expect(await once(child, 'close')).toEqual([0, null])
  expect(said).toBe('')
})

test.runIf(existsSync('/dev/full')).each([
  ['"$0" "$1" --help > /dev/full', 1],
  ['"$0" "$1" frobnicate 2> /dev/full', 2],
])('goes on, and says so, when what it prints finds no room: %s', (script, code) => {
  const ended = spawnSync('sh', ['-c', script, process.execPath, main], { encoding: 'utf8' })
  expect(ended.status).toBe(code)
  expect(ended.stdout + ended.stderr).toBe(
    'coglabel: not all that was to be printed could be written: the disk is full\n',
  )
})

const startState = (): ProgressState => ({
  imageCount: 100,
  seen: 0,
  skipped: 0,
  records: { ok: 0, filtered: 0, failed: 0 },
  startMs: 0,
  notes: [],
  recentMs: [0],
})

test('tells no rate before it knows one, then that of the last images', () => {
  const state = startState()
  expect(renderProgress(state, { nowMs: 1000, columns: 200 })).toContain('warming up')
  for (let n = 0; n < 90; n += 1)
    applyEvent(
      state,
      { kind: 'image', key: 'k', statuses: ['ok', 'failed'], made: [], wasDone: false },
      n < 20 ? 1000 * n : 20_000 + 100 * n,
    )
  expect(rateOf(state, 29_000)).toBeGreaterThan(9)
  const line = renderProgress(state, { nowMs: 29_000, columns: 200 })
  expect(line).toMatch(/90\/100 images {2}\d+(\.\d)? images\/s {2}[01]\.\d s left {2}90 ok {2}90 failed/)
})

test('does not count images that were done before as speed', () => {
  const state = startState()
  for (let n = 0; n < 50; n += 1)
    applyEvent(state, { kind: 'image', key: 'k', statuses: [], made: [], wasDone: true }, 5000)
  expect(rateOf(state, 5000)).toBeNull()
  for (let n = 1; n <= 5; n += 1)
    applyEvent(
      state,
      { kind: 'image', key: 'k', statuses: ['ok'], made: [], wasDone: false },
      5000 + 1000 * n,
    )
  expect(rateOf(state, 10_000)).toBe(1)
  expect(renderProgress(state, { nowMs: 10_000, columns: 200 })).toMatch(/45 s left.*50 done before/)
})

test('never writes past the terminal', () => {
  const state = { ...startState(), seen: 50 }
  for (let columns = 10; columns < 140; columns += 1)
    expect(renderProgress(state, { nowMs: 1, columns }).length).toBeLessThan(columns)
})

test.each([
  [420, '0.4 s'],
  [42_000, '42 s'],
  [200_000, '3 min 20 s'],
  [18_600_000, '5 h 10 min'],
  [183_600_000, '2 d 3 h'],
])('writes %i ms as %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text)
})
