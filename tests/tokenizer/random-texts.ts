// Seeded random strings that a tokenizer may meet: prompts, boxes, code, digits, runs of whitespace, any of Unicode.

const words =
  "Question: Answer: Short answer: the a image shows left RIGHT dog what is don't I'LL we've naïve Straße москва 这是什么 東京 서울 مرحبا हिन्दी 👩‍👩‍👧 🦙 café ﬁ … — “ok” <s> </s> <unk> <0x41> ▁ ▁▁a [INST] [/INST] grabbed".split(
    ' ',
  )
const spaces = [' ', '\t', '\n', '\r\n', '  ', '\u00a0', '\u2028', '\u3000', '\ufeff', '\u0085', '\u200b']
const code = [
  'for (let i = 0; i < n; i++) {\n    x[i] += 1\n}\n',
  'def f(a, b=None):\n\treturn a**2 # ok\n',
  '{"a": [1,2,{"b":null}]}',
  '<div class="x">&nbsp;</div>',
  '::->>==!!??...,,,',
]

/** `count` texts of up to seven parts each; the same seed gives the same texts. Empty ones are left out. */
export function randomTexts({ seed, count }: { seed: number; count: number }): string[] {
  const random = mulberry32(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const pick = (choices: readonly string[]) => choices[below(choices.length)] ?? ''
  const many = (limit: number, make: () => string) => Array.from({ length: below(limit) }, make).join('')
  const box = () => Array.from({ length: 4 }, () => String(below(1000)).padStart(3, '0')).join(',')
  const parts: (() => string)[] = [
    () => `${pick(words)} `,
    () => pick(words),
    () => String(below(10 ** (1 + below(12)))),
    () => pick(spaces).repeat(1 + below(20)),
    () => `[[${[box(), ...Array.from({ length: below(4) }, box)].join(';')}]]`,
    () => pick(code),
    () => many(12, () => randomCharacter(random)),
    () => `\nQuestion: ${pick(words)} Answer:`,
    () => pick(['a', '=', '-', '0', ' ', 'é', '的', '!']).repeat(1 + below(30)),
    () => many(20, () => String.fromCodePoint(97 + below(26))),
  ]
  const texts = Array.from({ length: count }, () => many(8, () => parts[below(parts.length)]?.() ?? ''))
  return texts.filter((text) => text !== '')
}

/** A character of ASCII, of the alphabets, of the basic plane or of all Unicode; never half a surrogate pair. */
function randomCharacter(random: () => number): string {
  const limits = [0x80, 0x3000, 0x1_0000, 0x11_0000]
  const limit = limits[Math.floor(random() * limits.length)] ?? 0x80
  return String.fromCodePoint(Math.floor(random() * limit)).toWellFormed()
}

function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
