// Tokenizers against the reference's ids, against sentencepiece on odd strings, and against files nobody should trust.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTokenizer } from '../../gpu-worker/tokenizer/tokenizer.ts'
import type { Tokenizer } from '../../gpu-worker/tokenizer/tokenizer-contract.ts'
import type { TokenizerKind } from '../../gpu-worker/tokenizer/tokenizer.ts'
import { UserError } from '../../schemas/errors.ts'

const folder = new URL('../golden/data/tokenizers/', import.meta.url).pathname
const golden: Record<string, { text: string; ids: number[]; decoded: string }[]> = JSON.parse(
  await readFile(join(folder, 'golden.json'), 'utf8'),
)
const odd: Record<string, { text: string; ids: number[]; decoded: string }[]> = JSON.parse(
  await readFile(new URL('./sentencepiece-odd-strings.json', import.meta.url), 'utf8'),
)
const kindOf = (name: string): TokenizerKind => (name.startsWith('v1') ? 'sentencepiece' : 'tokenizer-json')
const open = (name: string): Promise<Tokenizer> =>
  openTokenizer({ folder: join(folder, name), kind: kindOf(name) })

describe.each(Object.keys(golden))('tokenizer %s', (name) => {
  it('gives the ids and the text of the reference', async () => {
    const tokenizer = await open(name)
    for (const { text, ids, decoded } of [...golden[name]!, ...(odd[name] ?? [])]) {
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids })
      expect({ text, decoded: tokenizer.decode(ids) }).toEqual({ text, decoded })
    }
  })

  it('decodes what it encoded', async () => {
    const tokenizer = await open(name)
    for (const text of [
      '',
      '  a  b\t\r\n',
      '\u0000\u0001\ufeff\u2028',
      '👩‍👩‍👧 ｶﾞ e\u0301',
      '[[086,345,677,911;000,000,999,999]]',
    ]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    }
  })

  it('writes U+FFFD for a lone surrogate', async () => {
    const tokenizer = await open(name)
    expect(tokenizer.decode(tokenizer.encode('a\ud800b'))).toBe('a\ufffdb')
  })

  it('gives nothing for special tokens and for ids outside the vocabulary', async () => {
    const tokenizer = await open(name)
    const specials = name.startsWith('v1') ? [0, 1, 2] : [300, 301, 309]
    expect(tokenizer.decode([...specials, tokenizer.vocabSize, -1, 1e9])).toBe('')
    expect(tokenizer.tokenText(tokenizer.vocabSize)).toBeUndefined()
    expect(tokenizer.tokenText(specials[1]!)).toMatch(/^<.*>$/)
  })

  it('refuses a text longer than any prompt', async () => {
    const tokenizer = await open(name)
    expect(() => tokenizer.encode('a'.repeat(100_001))).toThrow(UserError)
    expect(() => tokenizer.encode('a'.repeat(100_001))).toThrow(/100001 characters; expected at most 100000/)
  })

  it('does not take quadratic time for a long text', async () => {
    const tokenizer = await open(name)
    for (const unit of ['a', ' ', 'Question']) {
      const text = unit.repeat(100_000 / unit.length)
      const started = performance.now()
      expect(tokenizer.encode(text).length).toBeGreaterThan(1000)
      // Measured: one or two seconds at most; a quadratic loop over 100 000 symbols takes minutes.
      expect(performance.now() - started).toBeLessThan(15_000)
    }
  })
})

it('keeps the names of control pieces in a text as text', async () => {
  const tokenizer = await open('v1-640')
  const ids = tokenizer.encode('<s>a</s><unk><0x41>')
  expect(ids.filter((id) => id < 3)).toEqual([])
  expect(tokenizer.decode(ids)).toBe('<s>a</s><unk><0x41>')
})

// The answer of python's sentencepiece 0.1.97.
it('does not make one character of bytes on either side of a control token', async () => {
  const tokenizer = await open('v1-320')
  expect(tokenizer.decode([203, 189])).toBe('\u023a')
  expect(tokenizer.decode([132, 203, 2, 189, 180, 22])).toBe('\ufffd\ufffd\ufffd\ufffd\u0013')
})

it('reads an added token in a text as that token, as the reference does', async () => {
  const tokenizer = await open('v2-320')
  expect(tokenizer.encode('a<|eot_id|>')).toEqual([64, 309])
})

describe('a tokenizer file that is not one', () => {
  let scratch = ''
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'tokenizer-'))
  })
  afterAll(() => rm(scratch, { recursive: true }))

  const openBytes = async (kind: TokenizerKind, bytes: Uint8Array | string) => {
    await writeFile(join(scratch, 'file'), bytes)
    return openTokenizer({ folder: scratch, kind, file: 'file' })
  }
  const model = () => readFile(join(folder, 'v1-320/tokenizer.model'))
  const json = async () => JSON.parse(await readFile(join(folder, 'v2-320/tokenizer.json'), 'utf8'))

  it.each<[string, TokenizerKind, () => Promise<Uint8Array | string>, RegExp]>([
    ['is empty', 'sentencepiece', async () => '', /0 bytes/],
    [
      'is text',
      'sentencepiece',
      async () => 'version https://git-lfs.github.com/spec/v1\n',
      /not a readable SentencePiece model/,
    ],
    ['is truncated', 'sentencepiece', async () => (await model()).subarray(0, 3000), /tokenizer|file/],
    [
      'has a piece that says it is 4 GB',
      'sentencepiece',
      async () => Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]),
      /not a readable/,
    ],
    [
      'is a unigram model',
      'sentencepiece',
      async () => Buffer.from([0x12, 2, 0x18, 1]),
      /model type 1; only BPE/,
    ],
    ['is not JSON', 'tokenizer-json', async () => '{', /not JSON/],
    ['is JSON of another kind', 'tokenizer-json', async () => '{"a":1}', /added_tokens/],
    [
      'has tokens that are found only as whole words, which ours are not',
      'tokenizer-json',
      async () => {
        const token = { id: 319, content: 'cat', special: false, single_word: true }
        return JSON.stringify({ ...(await json()), added_tokens: [token] })
      },
      /added_tokens\.0\.single_word/,
    ],
    [
      'is a WordPiece tokenizer',
      'tokenizer-json',
      async () => JSON.stringify({ ...(await json()), model: { type: 'WordPiece' } }),
      /model\.type/,
    ],
    [
      'has a negative id',
      'tokenizer-json',
      async () => JSON.stringify({ ...(await json()), model: { type: 'BPE', vocab: { a: -1 }, merges: [] } }),
      /model\.vocab/,
    ],
    [
      'has no token for some byte',
      'tokenizer-json',
      async () => JSON.stringify({ ...(await json()), model: { type: 'BPE', vocab: { a: 0 }, merges: [] } }),
      /model\.vocab: expected token ids by spelling, the 256 bytes/,
    ],
    [
      'splits text with a regular expression of its own',
      'tokenizer-json',
      async () => {
        const file = await json()
        file.pre_tokenizer.pretokenizers[0].pattern = { Regex: '(a+)+$' }
        return JSON.stringify(file)
      },
      /the split pattern "\(a\+\)\+\$" is not a known one/,
    ],
  ])('fails with a sentence when it %s', async (...[, kind, make, message]) => {
    const failure = await openBytes(kind, await make()).then(
      () => null,
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(UserError)
    expect(failure).toMatchObject({ message: expect.stringMatching(message) })
  })

  it('fails with a sentence when it is missing', async () => {
    await expect(openTokenizer({ folder: scratch, kind: 'sentencepiece' })).rejects.toThrow(
      /cannot open the tokenizer file/,
    )
  })

  it('throws a UserError or opens, whatever bytes are flipped', async () => {
    const bytes = await model()
    let seed = 7
    for (let round = 0; round < 200; round++) {
      const copy = Buffer.from(bytes)
      for (let flip = 0; flip < 4; flip++) {
        seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
        copy[seed % copy.length]! ^= 1 + (seed >>> 24)
      }
      const opened = await openBytes('sentencepiece', copy).catch((error: unknown) => error)
      if (opened instanceof Error) expect(opened).toBeInstanceOf(UserError)
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the other branch of the catch above
      else (opened as Tokenizer).decode((opened as Tokenizer).encode('Question: a <s> é'))
    }
  })
})
