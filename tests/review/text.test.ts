// Texts as the page shows and edits them: odd characters, phrases that follow an edit, words that differ.
import { expect, it } from 'vitest'
import { compareWords, cutAtPhrases, moveSpans, plain, visible } from '../../review/page/text.js'

const family = '\u{1F468}\u200D\u{1F469}\u200D\u{1F467}'
it.each([
  ['plain words, and a second line\n', 'plain words, and a second line\n'],
  ['a \u202Etxt.exe', 'a [U+202E]txt.exe'],
  ['zero\u200Bwidth \uFEFF', 'zero[U+200B]width [U+FEFF]'],
  ['half \uD800 done \uDC00', 'half [U+D800] done [U+DC00]'],
  ['tag \u{E0041}', 'tag [U+E0041]'],
  ['\u0000\u001B[31m', '[U+0000][U+001B][31m'],
  [`emoji ${family} stay`, `emoji ${family} stay`],
  ['a\u200Db', 'a[U+200D]b'],
  ['Ünï 漢字 العربية', 'Ünï 漢字 العربية'],
])('%j is shown as %j', (text, shown) => {
  expect(
    visible(text)
      .map((piece) => (piece.isOdd ? `[${piece.text}]` : piece.text))
      .join(''),
  ).toBe(shown)
})

it('makes one line of a title and cuts it', () => {
  expect(plain('two\nlines')).toBe('two lines')
  expect(plain('long '.repeat(100), 10)).toBe('long long …')
})

const boxes: [number, number, number, number][] = [[0, 0, 1, 1]]
const before = 'A dog and a red cat sleep.'
const phrases = [
  { text: 'A dog', start: 0, end: 5, boxes },
  { text: 'a red cat', start: 10, end: 19, boxes },
]

it.each([
  ['A dog and a red cat sleep.', ['A dog', 'a red cat']],
  ['A big dog and a red cat sleep.', ['A big dog', 'a red cat']],
  ['A dog and a cat sleep.', ['A dog', 'a cat']],
  ['Here: A dog and a red cat sleep.', ['A dog', 'a red cat']],
  ['A dog and a red cat sleep. Fine.', ['A dog', 'a red cat']],
  ['A dog sleeps.', ['A dog']],
  ['and a red cat sleep.', ['a red cat']],
  ['', []],
  ['Something else entirely', []],
  ['A dog and a red cats sleep.', ['A dog', 'a red cats']],
])('after the change to %j the phrases are %j', (after, words) => {
  const moved = moveSpans({ before, after, phrases })
  expect(moved.map(({ text }) => text)).toEqual(words)
  for (const { text, start, end } of moved) expect(after.slice(start, end)).toBe(text)
})

it('keeps phrases true through many random edits', () => {
  let seed = 7
  const next = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed % below
  }
  let [text, held] = [before, phrases]
  for (let edit = 0; edit < 2000; edit += 1) {
    if (held.length === 0) [text, held] = [before, phrases]
    const from = next(text.length + 1)
    const to = Math.min(text.length, from + next(4))
    const after = text.slice(0, from) + ['', 'x', ' ', 'ab c'][next(4)] + text.slice(to)
    held = moveSpans({ before: text, after, phrases: held })
    text = after
    let last = 0
    for (const { text: words, start, end } of held) {
      expect(text.slice(start, end)).toBe(words)
      expect(start).toBeGreaterThanOrEqual(last)
      expect(words.trim()).toBe(words)
      expect(words).not.toBe('')
      last = end
    }
  }
})

it('cuts a text at its phrases, and passes over one that overlaps or lies outside', () => {
  const wild = [...phrases, { text: '?', start: 3, end: 12, boxes }, { text: '?', start: 20, end: 99, boxes }]
  expect(cutAtPhrases(before, wild)).toEqual([
    { text: 'A dog', phrase: 0 },
    { text: ' and ', phrase: null },
    { text: 'a red cat', phrase: 1 },
    { text: ' sleep.', phrase: null },
  ])
})

it.each([
  ['a dog sleeps', 'a dog sleeps', 'a dog sleeps'],
  ['a dog sleeps', 'a cat sleeps', 'a[- dog][+ cat] sleeps'],
  ['', 'new', '[+new]'],
  ['one two three', 'two', '[-one]two[- three]'],
])('%j against %j is %s', (left, right, shown) => {
  const marks = { both: '', before: '-', after: '+' }
  const runs = compareWords(left, right).map(({ text, side }) =>
    side === 'both' ? text : `[${marks[side]}${text}]`,
  )
  expect(runs.join('')).toBe(shown)
})
