// `coglabel compile` opens the tokenizer before it writes anything, so that a wrong one shows before an hour of work.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCompile } from '../../cli/compile.ts'
import { UserError } from '../../schemas/errors.ts'
import { smallShape, writeRandomCheckpoint } from '../helpers/random-checkpoint.ts'

const tokenizers = fileURLToPath(new URL('../golden/data/tokenizers', import.meta.url))
const sentencePiece = readFileSync(join(tokenizers, 'v1-320', 'tokenizer.model'))
const byteLevel = readFileSync(join(tokenizers, 'v2-320', 'tokenizer.json'), 'utf8')

const folder = mkdtempSync(join(tmpdir(), 'coglabel-compile-tokenizer-'))
afterAll(() => rmSync(folder, { recursive: true }))
beforeAll(() => {
  writeRandomCheckpoint(join(folder, 'checkpoint'), { ...smallShape, vocab: 320 })
  writeRandomCheckpoint(join(folder, 'small'), { ...smallShape, vocab: 319 })
})

function compileWith(name: string, checkpoint: string): Promise<number> {
  const tokenizer = ['--tokenizer', join(folder, name)]
  return runCompile([join(folder, checkpoint), join(folder, `${name}-out`, 'model'), ...tokenizer])
}

test.each([
  {
    name: 'cut short',
    files: { 'tokenizer.model': sentencePiece.subarray(0, 3000) },
    says: /tokenizer\.model/,
  },
  { name: 'a web page', files: { 'tokenizer.model': '<html>not found</html>' }, says: /tokenizer\.model/ },
  { name: 'empty', files: { 'tokenizer.json': '' }, says: /has 0 bytes/ },
  { name: 'half a JSON', files: { 'tokenizer.json': byteLevel.slice(0, 999) }, says: /is not JSON/ },
  {
    name: 'the JSON form of a SentencePiece tokenizer',
    files: {
      'tokenizer.json': JSON.stringify({
        ...(JSON.parse(byteLevel) as object),
        normalizer: { type: 'Prepend', prepend: '▁' },
        pre_tokenizer: null,
      }),
    },
    says: /not a byte-level BPE.*first generation is read from tokenizer\.model/,
  },
  {
    name: 'of a larger vocabulary',
    checkpoint: 'small',
    files: { 'tokenizer.model': sentencePiece },
    says: /has 320 tokens, config\.json a vocab_size of 319; .*--tokenizer FOLDER/,
  },
])('a tokenizer that is $name is refused, and nothing is written', async (one) => {
  const { name, files, says, checkpoint = 'checkpoint' } = one
  mkdirSync(join(folder, name))
  for (const [file, bytes] of Object.entries(files)) writeFileSync(join(folder, name, file), bytes)
  mkdirSync(join(folder, `${name}-out`))
  const error: unknown = await compileWith(name, checkpoint).catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(UserError)
  expect(error).toHaveProperty('message', expect.stringMatching(says))
  expect(readdirSync(join(folder, `${name}-out`))).toEqual([])
})

test('a tokenizer of fewer tokens than the model has rows is taken along', async () => {
  mkdirSync(join(folder, 'fitting'))
  copyFileSync(join(tokenizers, 'v1-320', 'tokenizer.model'), join(folder, 'fitting', 'tokenizer.model'))
  expect(await compileWith('fitting', 'checkpoint')).toBe(0)
  expect(existsSync(join(folder, 'fitting-out', 'model', 'tokenizer.model'))).toBe(true)
})
