// What the command line makes of errors: words for what the user can mend, stacks for our bugs, suggestions that fit.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { explainError, nearestWord } from '../../cli/explain-error.ts'
import { readChoice, readNumber } from '../../cli/flag-values.ts'
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import { tempFolder } from '../helpers/temp-folder.ts'

const usage =
  'coglabel label SRC --out DIR\n  --out DIR\n  --ask Q\n  --tasks a,b\n  --task-file F\n  --limit N\n  --yes'
const options = { out: { type: 'string' }, limit: { type: 'string' }, yes: { type: 'boolean' } } as const

function thrownBy(args: string[], allowPositionals = true): unknown {
  try {
    parseArgs({ args, options, allowPositionals })
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

test.each([
  [['--outt', 'x'], 'label has no flag "--outt"; did you mean "--out"?'],
  [['--output', 'x'], 'label has no flag "--output"; did you mean "--out"?'],
  [['--OUT', 'x'], 'label has no flag "--OUT"; did you mean "--out"?'],
  [['--task', 'x'], 'label has no flag "--task"; did you mean "--tasks"?'],
  [['--frobnicate'], 'label has no flag "--frobnicate"\n'],
  [['-x'], 'label has no flag "-x"; a path that begins with a dash is written ./-…\n'],
  [['--limit'], '--limit needs a value; one that begins with a dash is written --limit=-…'],
  [['--limit', '-1'], '--limit needs a value; one that begins with a dash is written --limit=-…'],
  [['--yes=1'], '--yes takes no value'],
])('says of the flags %j what is wrong', (args, text) => {
  const { message, exitCode } = explainError(thrownBy(args), { verb: 'label', usage })
  expect(exitCode).toBe(2)
  expect(message).toContain(text)
  expect(message).toMatch(/\nsee coglabel label --help$/)
})

test('says that a verb of flags alone takes no words', () => {
  const { message } = explainError(thrownBy(['x'], false), { verb: 'doctor', usage })
  expect(message).toContain('doctor takes flags only, but there is "x"')
})

test.each([
  ['labl', ['label', 'plan'], 'label'],
  ['exp', ['export', 'explain'], 'export'],
  ['labels', ['label', 'plan'], 'label'],
  ['xyz', ['label', 'plan'], null],
  ['', ['label'], null],
])('finds for %j among %j the word %j', (word, words, near) => {
  expect(nearestWord(word, words)).toBe(near)
})

test('shows a sentence for what the user or the disk is about, and everything for our bugs', async () => {
  const folder = await tempFolder()
  await writeFile(join(folder, 'file'), '')
  const of = (error: unknown) => explainError(error, { verb: 'draw', usage })
  const caught = async (work: Promise<unknown>) =>
    await work.then(() => null).catch((error: unknown) => error)
  expect(of(new UserError('no'))).toEqual({ message: 'no', exitCode: 2 })
  expect(of(new RetryableError('busy', { cause: null }))).toEqual({ message: 'busy', exitCode: 1 })
  for (const bug of [new InvariantError('bug'), new TypeError('bug'), 'bug', null])
    expect(of(bug)).toEqual({ message: null, exitCode: 1 })
  expect(of(await caught(readFile(join(folder, 'none'))))).toEqual({
    message: `${join(folder, 'none')}: there is no such file or folder (open: ENOENT)`,
    exitCode: 2,
  })
  expect(of(await caught(mkdir(join(folder, 'file', 'x')))).message).toContain(
    'expected a folder (mkdir: ENOTDIR)',
  )
  expect(of(await caught(readFile(folder))).message).toBeNull()
  expect(of(await caught(writeFile(folder, 'x'))).message).toContain('expected a file (open: EISDIR)')
  expect(
    of(await caught(writeFile(join(folder, `\u001b[31m${'x'.repeat(300)}`), 'x'))).message,
  ).not.toContain('\u001b')
})

test.each([
  [z.int().min(1).max(16), '99', 'a whole number from 1 to 16'],
  [z.int().min(0), '-1', 'a whole number from 0'],
  [z.int().min(0), '1.5', 'a whole number from 0'],
  [z.number().positive(), '', 'a number above 0'],
  [z.number().positive().max(1), 'two', 'a number above 0 and up to 1'],
  [z.int(), 'NaN', 'a whole number'],
])('case %#: says which numbers a flag takes in place of another text', (schema, text, expected) => {
  expect(() => readNumber('--flag', text, schema)).toThrow(`--flag is "${text}"; expected ${expected}`)
})

test('takes one of the words and says which there are', () => {
  expect(readChoice('--flag', 'on', ['on', 'off'])).toBe('on')
  expect(readChoice('--flag', undefined, ['on', 'off'])).toBeUndefined()
  expect(() => readChoice('--flag', 'On', ['on', 'off'])).toThrow('--flag is "On"; expected on or off')
})
