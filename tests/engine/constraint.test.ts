// Constrained decoding: the automaton against regular expressions, masks against trying every token, and the form of
// what comes out whatever the model wants to say.
import { isUtf8 } from 'node:buffer'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { compilePattern } from '../../gpu-worker/engine/automaton.ts'
import {
  type Follower,
  largestAllowed,
  maskLogits,
  openConstrainer,
} from '../../gpu-worker/engine/constraint.ts'
import { largestIndex, seededRandom } from '../../gpu-worker/engine/sampler.ts'
import { openTokenizer } from '../../gpu-worker/tokenizer/tokenizer.ts'
import type { Tokenizer } from '../../gpu-worker/tokenizer/tokenizer-contract.ts'
import { type Constraint, type Pattern, patternOf } from '../../schemas/constraint.ts'

const forms: Record<string, Constraint> = {
  'boxes': { kind: 'boxes', text: 'none' },
  'boxes or absence': { kind: 'boxes', text: 'absence' },
  'text with boxes': { kind: 'boxes', text: 'around' },
  'yes-no': { kind: 'yes-no' },
  'number': { kind: 'number' },
  'choices': { kind: 'choices', choices: ['indoor', 'outdoor', 'in between', 'größer'] },
  'json': {
    kind: 'json',
    schema: {
      type: 'object',
      properties: {
        name: { type: 'string', maxLength: 12 },
        count: { type: 'integer' },
        parts: { type: 'array', items: { enum: ['a', 'b', 3] }, maxItems: 2 },
        deep: { anyOf: [{ type: 'null' }, { type: 'object', properties: { x: { type: 'number' } } }] },
      },
      required: ['name', 'parts'],
    },
  },
}

function accepts(pattern: Pattern, text: string): boolean {
  const automaton = compilePattern(pattern)
  let state = automaton.start
  for (const byte of Buffer.from(text)) {
    state = automaton.next(state, byte)
    if (state === -1) return false
  }
  return automaton.accepts(state)
}

test.each<[string, string, boolean]>([
  ['boxes', ' [[001,002,300,400]]', true],
  ['boxes', '[[001,002,300,400;500,500,600,600]]', true],
  ['boxes', '[[1,2,300,400]]', false],
  ['boxes', '[[001,002,300]]', false],
  ['boxes', '[[001,002,300,400]', false],
  ['boxes', ' A dog.', false],
  ['boxes or absence', 'There is no dog.', true],
  ['boxes or absence', 'None.', true],
  ['boxes or absence', 'On the left.', false],
  ['text with boxes', ' A dög [[001,002,300,400]], and more.', true],
  ['text with boxes', 'A dog [[001,002,300]]', false],
  ['text with boxes', '', false],
  ['yes-no', ' Yes', true],
  ['yes-no', 'no.', true],
  ['yes-no', 'Yes, it is', false],
  ['number', ' Two.', true],
  ['number', '17', true],
  ['number', 'Many', false],
  ['choices', 'in between', true],
  ['choices', 'größer.', true],
  ['choices', 'in', false],
  ['json', '{"name": "a \\"dög\\"","parts":[]}', true],
  ['json', '{"name":"x", "count": -12, "parts": ["a", 3], "deep": {"x": 1.5}}', true],
  ['json', '{"name":"x","parts":["c"]}', false],
  ['json', '{"parts":[]}', false],
  ['json', '{"name":"x","count":01,"parts":[]}', false],
  ['json', '{"name":"longer than twelve","parts":[]}', false],
  ['json', '{"name":"x","parts":["a","b","a"]}', false],
])('%s: %j is allowed: %s', (form, text, isAllowed) => {
  expect(accepts(patternOf(forms[form]!), text)).toBe(isAllowed)
})

test('a character is what UTF-8 spells, no more and no less', () => {
  const automaton = compilePattern({ ranges: [[0, 127]], other: true })
  const takes = (bytes: readonly number[]): boolean => {
    const state = bytes.reduce((at, byte) => (at === -1 ? -1 : automaton.next(at, byte)), automaton.start)
    return state !== -1 && automaton.accepts(state)
  }
  for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 61) {
    const isSurrogate = code >= 0xd800 && code <= 0xdfff
    if (!isSurrogate) expect(takes([...Buffer.from(String.fromCodePoint(code))]), `${code}`).toBe(true)
  }
  for (const lead of [0x80, 0xc0, 0xc1, 0xe0, 0xed, 0xf0, 0xf4, 0xf5, 0xff]) {
    for (let second = 0; second < 256; second++) {
      for (const bytes of [
        [lead, second],
        [lead, second, 0x80],
        [lead, second, 0x80, 0x80],
      ])
        expect(takes(bytes), bytes.join(' ')).toBe(isCharacter(bytes))
    }
  }
})

function isCharacter(bytes: readonly number[]): boolean {
  return isUtf8(Buffer.from(bytes)) && Array.from(Buffer.from(bytes).toString()).length === 1
}

test.each([
  [{ $ref: '#/x' }, /\$ref/],
  [{ type: 'date' }, /the type "date"/],
  [{}, /the type of nothing/],
  [{ enum: [] }, /empty enum, which no answer fits/],
  [{ type: [] }, /empty type/],
  [{ anyOf: [] }, /empty anyOf/],
  [{ enum: ['a', { b: 1 }] }, /\{"b":1\} in enum; expected a text, a number/],
  [{ const: [1] }, /\[1\] in const/],
  [
    { type: 'object', properties: { a: { type: 'null' } }, required: ['b'] },
    /requires "b", which is not among/,
  ],
  [{ type: 'array', minItems: 3, maxItems: 2 }, /3 to 2 items; expected a range within 32/],
  [{ type: 'array', minItems: 33 }, /33 to 32 items/],
])('a schema that cannot be held is refused: %j', (schema, message) => {
  expect(() => patternOf({ kind: 'json', schema })).toThrow(message)
})

const data = new URL('../golden/data/tokenizers/', import.meta.url)
const shipped = fileURLToPath(new URL('../../models/scenes-v2', import.meta.url))
const tokenizers: [string, () => Promise<Tokenizer>][] = [
  ['the shipped vocabulary', async () => await openTokenizer({ folder: shipped, kind: 'sentencepiece' })],
  [
    'SentencePiece',
    async () =>
      await openTokenizer({ folder: fileURLToPath(new URL('v1-640', data)), kind: 'sentencepiece' }),
  ],
  [
    'byte-level BPE',
    async () =>
      await openTokenizer({ folder: fileURLToPath(new URL('v2-320', data)), kind: 'tokenizer-json' }),
  ],
]

describe.each(tokenizers)('over %s', (_, open) => {
  test('the bytes of tokens join to the text they decode to', async () => {
    const tokenizer = await open()
    for (const text of ['A dog [[041,322,300,610]].', 'größer  "x"\n', '犬が二つ', ' Yes.']) {
      const ids = tokenizer.encode(text)
      const joined = Buffer.concat(ids.map((id) => tokenizer.tokenBytes(id) ?? Buffer.alloc(0)))
      expect(joined.toString('utf8').trim()).toBe(tokenizer.decode(ids).trim())
    }
  })

  test.each(Object.keys(forms))(
    '%s: the mask is what trying every token gives, and any walk ends well',
    async (form) => {
      const tokenizer = await open()
      const pattern = patternOf(forms[form]!)
      const automaton = compilePattern(pattern)
      const follower = openConstrainer(tokenizer).follow(pattern)
      const random = seededRandom(form.length)
      let state = automaton.start
      let text = ''
      for (let step = 0; step < 60; step += 1) {
        const tried = Array.from({ length: tokenizer.vocabSize }, (__, id) => id).filter((id) => {
          const bytes = tokenizer.tokenBytes(id) ?? new Uint8Array()
          return (
            bytes.length > 0 &&
            bytes.reduce((at, byte) => (at === -1 ? -1 : automaton.next(at, byte)), state) !== -1
          )
        })
        expect(allowedIds(follower)).toEqual(tried)
        expect(follower.mayStop()).toBe(automaton.accepts(state))
        const id = tried[Math.floor(random() * tried.length)]
        // A whole answer that can go no further, or one that may end does half the time.
        if (id === undefined || (follower.mayStop() && random() < 0.5)) break
        for (const byte of tokenizer.tokenBytes(id)!) state = automaton.next(state, byte)
        text += Buffer.from(tokenizer.tokenBytes(id)!).toString('latin1')
        follower.advance(id)
      }
      if (follower.mayStop())
        expect(accepts(pattern, Buffer.from(text, 'latin1').toString('utf8'))).toBe(true)
      else expect(text.length).toBeGreaterThan(20)
    },
  )
})

function allowedIds(follower: Follower): number[] {
  const mask = follower.allowed()
  return Array.from({ length: mask.length * 32 }, (_, id) => id).filter(
    (id) => ((mask[id >>> 5]! >>> (id & 31)) & 1) === 1,
  )
}

test('takes the likeliest token that is allowed, and the end only where the answer is whole', async () => {
  const tokenizer = await openTokenizer({ folder: shipped, kind: 'sentencepiece' })
  const stop = 2
  const follower = openConstrainer(tokenizer).follow(patternOf({ kind: 'choices', choices: ['dog'] }))
  const logits = Float32Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    id === stop ? 100 : id / 10_000,
  )
  let text = ''
  for (let step = 0; step < 10 && !text.endsWith('dog.'); step += 1) {
    const token = largestAllowed(logits, follower, [stop])
    expect(token).toBe(largestIndex(maskLogits(logits, follower, [stop])))
    if (token === stop) break
    text += Buffer.from(tokenizer.tokenBytes(token)!).toString()
    follower.advance(token)
  }
  expect(text.trim()).toBe('dog')
  expect(largestIndex(maskLogits(logits, follower, [stop]))).toBe(stop)
})
