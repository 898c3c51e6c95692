// Texts of models and people: made visible, cut into phrases, kept in step with edits, compared. Pure; knows no page, and
// the server searches by it too.

/** @typedef {{ text: string, start: number, end: number, boxes: [number, number, number, number][] }} Phrase */
/** @typedef {{ text: string, isOdd: boolean }} Piece */

/** Controls, marks that turn the direction of text, invisible and unpaired characters: shown by number, never obeyed. */
const odd =
  // oxlint-disable-next-line no-misleading-character-class -- each is meant alone
  /[\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\u{E0000}-\u{E007F}]|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/gu

/** Emoji are joined by this one; alone it means nothing. */
const joiner = '\u200D'

/**
 * What a label says, an entry for each thing said, whatever the label's shape.
 * @param {import('../../schemas/task-output.ts').TaskOutput} output
 * @returns {string[]}
 */
export function linesOf(output) {
  if ('text' in output) return [output.text]
  if ('turns' in output) return output.turns.map(({ question, answer }) => `${question} ${answer}`)
  if ('phrase' in output) {
    const { length } = output.boxes
    return [`${output.phrase}: ${length === 0 ? 'not there' : length === 1 ? '1 box' : `${length} boxes`}`]
  }
  if ('probes' in output) return output.probes.map(({ question, answer }) => `${question} ${answer}`)
  if ('counts' in output) return output.counts.map((counted) => `${counted.object}: ${counted.count}`)
  if ('regions' in output) return output.regions.map(({ text }) => text)
  if ('tags' in output) return output.tags
  if ('lines' in output) return output.lines
  if ('questions' in output) return output.questions
  return [typeof output.value === 'string' ? output.value : JSON.stringify(output.value)]
}

/**
 * @param {string} text
 * @returns {Piece[]}
 */
export function visible(text) {
  /** @type {Piece[]} */
  const pieces = []
  let from = 0
  for (const match of text.matchAll(odd)) {
    const at = match.index
    if (match[0] === joiner && /\p{Extended_Pictographic}\uFE0F?$/u.test(text.slice(Math.max(0, at - 3), at)))
      continue
    if (at > from) pieces.push({ text: text.slice(from, at), isOdd: false })
    const code = (match[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
    pieces.push({ text: `U+${code}`, isOdd: true })
    from = at + match[0].length
  }
  if (from < text.length) pieces.push({ text: text.slice(from), isOdd: false })
  return pieces
}

/** One line for a title or a spoken name. @param {string} text @param {number} [limit] */
export function plain(text, limit = 200) {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text
  return visible(cut)
    .map((piece) => (piece.isOdd ? `[${piece.text}]` : piece.text))
    .join('')
    .replaceAll(/\s+/g, ' ')
}

/**
 * The text as runs of words that belong to a phrase or to none. Phrases that overlap an earlier one are passed over.
 * @param {string} text
 * @param {readonly Phrase[]} phrases
 * @returns {{ text: string, phrase: number | null }[]}
 */
export function cutAtPhrases(text, phrases) {
  /** @type {{ text: string, phrase: number | null }[]} */
  const runs = []
  let at = 0
  const order = phrases.map((phrase, index) => ({ ...phrase, index })).sort((a, b) => a.start - b.start)
  for (const { start, end, index } of order) {
    if (start < at || end > text.length) continue
    if (start > at) runs.push({ text: text.slice(at, start), phrase: null })
    runs.push({ text: text.slice(start, end), phrase: index })
    at = end
  }
  if (at < text.length) runs.push({ text: text.slice(at), phrase: null })
  return runs
}

/**
 * Phrases after their text was changed in one place: those before stay, those behind move, one that the change lies in
 * or whose word it lengthens grows or shrinks with it, and one whose words are gone has none left.
 * @param {{ before: string, after: string, phrases: readonly Phrase[] }} change
 * @returns {Phrase[]}
 */
export function moveSpans({ before, after, phrases }) {
  const { from, to, shift } = changedPlace(before, after)
  const written = after.slice(from, to + shift)
  const [lengthensNext, lengthensLast] = [/[\p{L}\p{N}]$/u.test(written), /^[\p{L}\p{N}]/u.test(written)]
  let last = 0
  return phrases.flatMap((phrase) => {
    let { start, end } = phrase
    if (from === to) {
      if (start > from || (start === from && !lengthensNext)) start += shift
      if (end > from || (end === from && lengthensLast)) end += shift
    } else {
      // A change over the edge of a phrase leaves it the words that were not touched.
      if (start >= to) start += shift
      else if (start > from) start = to + shift
      if (end >= to) end += shift
      else if (end > from) end = from
    }
    start = Math.max(start, last)
    const words = after.slice(start, end)
    if (end <= start || words.trim() === '') return []
    start += words.length - words.trimStart().length
    end = start + words.trim().length
    last = end
    return [{ ...phrase, start, end, text: words.trim() }]
  })
}

/** [from, to) of the text before was replaced, and what is behind moved by `shift`. @param {string} before @param {string} after */
function changedPlace(before, after) {
  const shorter = Math.min(before.length, after.length)
  let from = 0
  while (from < shorter && before[from] === after[from]) from += 1
  let tail = 0
  while (tail < shorter - from && before[before.length - 1 - tail] === after[after.length - 1 - tail])
    tail += 1
  return { from, to: before.length - tail, shift: after.length - before.length }
}

/** Longer texts are shown whole, without marks: the table grows with the square. */
const maxComparedWords = 1500

/**
 * What stands in both texts, only in the first or only in the second, in order: a longest common subsequence of words.
 * @param {string} before
 * @param {string} after
 * @returns {{ text: string, side: 'both' | 'before' | 'after' }[]}
 */
export function compareWords(before, after) {
  const [left, right] = [before, after].map((text) => text.match(/\s*\S+|\s+$/g) ?? [])
  if (left === undefined || right === undefined) return []
  if (left.length > maxComparedWords || right.length > maxComparedWords)
    return [
      { text: before, side: 'before' },
      { text: after, side: 'after' },
    ]
  const width = right.length + 1
  const longest = new Uint16Array((left.length + 1) * width)
  for (let i = left.length - 1; i >= 0; i -= 1)
    for (let j = right.length - 1; j >= 0; j -= 1)
      longest[i * width + j] =
        left[i]?.trim() === right[j]?.trim()
          ? (longest[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0)
  return walk(left, right, (i, j) => longest[i * width + j] ?? 0)
}

/**
 * @param {readonly string[]} left
 * @param {readonly string[]} right
 * @param {(i: number, j: number) => number} longest
 */
function walk(left, right, longest) {
  /** @type {{ text: string, side: 'both' | 'before' | 'after' }[]} */
  const runs = []
  /** @param {string} text @param {'both' | 'before' | 'after'} side */
  const push = (text, side) => {
    const last = runs.at(-1)
    if (last?.side === side) last.text += text
    else runs.push({ text, side })
  }
  let [i, j] = [0, 0]
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i]?.trim() === right[j]?.trim()) {
      push(right[j] ?? '', 'both')
      i += 1
      j += 1
    } else if (j >= right.length || (i < left.length && longest(i + 1, j) >= longest(i, j + 1))) {
      push(left[i] ?? '', 'before')
      i += 1
    } else {
      push(right[j] ?? '', 'after')
      j += 1
    }
  }
  return runs
}
