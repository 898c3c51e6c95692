// The noun phrases of English text, by their determiners: the one that ends a piece of it, or all. It does not know
// boxes or tasks.

/** Words that begin a noun phrase. `that` is left out: before a box it is nearly always a relative pronoun. */
const determiners = new Set(
  (
    'a an the this these those my your his her its our their some any no each every another other both all several many few ' +
    'one two three four five six seven eight nine ten eleven twelve dozens'
  ).split(' '),
)

/** Words after which a noun phrase without a determiner begins. `of` is left out: cups of coffee is one thing. */
const joiners = new Set(
  (
    'and or but nor with without in on at by near beside besides behind under over above below beneath between among against ' +
    'along across around through inside outside into onto from to for as like than next while where which who that is are was were ' +
    'has have holding wearing sitting standing riding showing containing including left right top bottom plus'
  ).split(' '),
)

type Word = { text: string; start: number; end: number }

/**
 * Offsets [start, end) of the noun phrase that `text` ends with, or null when it ends with none. The phrase begins
 * at the last determiner or number after the last clause boundary; without one, after the last joining word.
 * As the official parser takes the last noun chunk before a box, but without a language model.
 */
export function lastNounPhrase(text: string): { start: number; end: number } | null {
  const end = text.trimEnd().length
  const clauseStart =
    Math.max(
      ...[',', '.', ';', ':', '!', '?', '\n', '(', '"', '…'].map((mark) => lastBoundary(text, { mark, end })),
    ) + 1
  const words = splitWords(text.slice(clauseStart, end), clauseStart)
  const from = firstWordOfPhrase(words)
  const first = words[from]
  return first === undefined ? null : { start: first.start, end }
}

/** Offset of the last clause mark before `end`; a point or comma inside a number such as 1,000 or 3.5 is none. */
function lastBoundary(text: string, { mark, end }: { mark: string; end: number }): number {
  let at = text.lastIndexOf(mark, end - 1)
  while (at > 0 && /^\d.\d$/s.test(text.slice(at - 1, at + 2))) at = text.lastIndexOf(mark, at - 1)
  return at
}

function splitWords(text: string, offset: number): Word[] {
  return [...text.matchAll(/\S+/g)].map((match) => ({
    text: match[0].toLowerCase(),
    start: offset + match.index,
    end: offset + match.index + match[0].length,
  }))
}

function firstWordOfPhrase(words: readonly Word[]): number {
  // The last word is the noun itself, even when it is spelt like a determiner or a joiner ("the right", "this one").
  let at = words.length - 2
  while (at >= 0 && !isDeterminer(words[at]) && !joiners.has(words[at]?.text ?? '')) at -= 1
  if (at < 0 || !isDeterminer(words[at])) return skipJoiners(words, at + 1)
  while (isDeterminer(words[at - 1])) at -= 1
  // "one of the dogs", "a group of the men": the amount belongs to the phrase.
  if (words[at - 1]?.text === 'of' && isDeterminer(words[at - 2])) return at - 2
  return at
}

function skipJoiners(words: readonly Word[], from: number): number {
  const isJoiner = (word: Word | undefined) =>
    word !== undefined && (joiners.has(word.text) || word.text === 'of')
  let at = from
  while (isJoiner(words[at])) at += 1
  return at
}

function isDeterminer(word: Pick<Word, 'text'> | undefined): boolean {
  return word !== undefined && (determiners.has(word.text) || /^\d+([.,]\d+)*$/.test(word.text))
}

/** The words of a noun phrase without those that say which or how many. */
export function withoutDeterminers(phrase: string): string {
  const words = phrase.trim().split(/\s+/)
  const from = words.findIndex((word) => !isDeterminer({ text: word.toLowerCase() }))
  return words.slice(from === -1 ? words.length : from).join(' ')
}

/** Verbs of captions: what they follow is over, and what follows them is another thing. */
const verbs = new Set(
  (
    'sits sit stands stand lies lie rides ride holds hold wears wear looks look walks walk runs run eats eat plays play ' +
    'shows show hangs hang flies fly contains contain features feature there it this that'
  ).split(' '),
)

/** Last words of phrases that name a place in the picture or the picture, not a thing in it. */
const noThings = new Set(
  'image picture photo photograph scene background foreground side front back middle center centre top bottom left right'.split(
    ' ',
  ),
)

/**
 * Offsets [start, end) of the noun phrases of a text, in order: at each determiner or number, or, between two
 * boundaries that have none, the words that are there. Places in the picture are left out, and so is a repeated
 * phrase. One pass; the time is linear in the text.
 */
export function nounPhrases(text: string): { start: number; end: number }[] {
  const seen = new Set<string>()
  return splitClauses(text).flatMap(({ words, isPredicate }) => {
    // "The background is blue and plain": how it is, and no further things.
    if (isPredicate && !words.some(isDeterminer)) return []
    return cutAtDeterminers(words).flatMap((phrase) => {
      const [first, last] = [phrase[0], phrase.at(-1)]
      if (first === undefined || last === undefined || isDeterminer(last) || noThings.has(last.text))
        return []
      const spelling = phrase.map((word) => word.text).join(' ')
      if (seen.has(spelling)) return []
      seen.add(spelling)
      return [{ start: first.start, end: last.end }]
    })
  })
}

const copulas = new Set(['is', 'are', 'was', 'were'])
const conjunctions = new Set(['and', 'or', 'but'])

type Clause = { words: Word[]; isPredicate: boolean }

/**
 * Runs of words between clause marks, joiners and verbs; those are left out. What follows "is" is said of what stands
 * before it, also after "and" and commas; not so in "there are".
 */
function splitClauses(text: string): Clause[] {
  const clauses: Clause[] = [{ words: [], isPredicate: false }]
  let at = 0
  let [isPredicate, isThere] = [false, false]
  for (const match of text.matchAll(/[\p{L}\p{N}]+(?:[.,'’-][\p{L}\p{N}]+)*/gu)) {
    const word = { text: match[0].toLowerCase(), start: match.index, end: match.index + match[0].length }
    const isBoundary = joiners.has(word.text) || verbs.has(word.text)
    const between = text.slice(at, word.start)
    if (/[^\s,]/.test(between)) isPredicate = false
    if (isBoundary && !conjunctions.has(word.text)) isPredicate = copulas.has(word.text) && !isThere
    if (isBoundary || /\S/.test(between)) clauses.push({ words: [], isPredicate })
    if (!isBoundary) clauses.at(-1)?.words.push(word)
    isThere = word.text === 'there'
    at = word.end
  }
  return clauses
}

/** Each determiner begins a phrase, but for those of one: "all the dogs", "one of the dogs". */
function cutAtDeterminers(words: readonly Word[]): Word[][] {
  const first = words.findIndex(isDeterminer)
  const from = first === -1 ? skipJoiners(words, 0) : first
  const phrases: Word[][] = []
  for (const [index, word] of words.entries()) {
    if (index < from) continue
    const before = words[index - 1]
    const begins = isDeterminer(word) && !isDeterminer(before) && before?.text !== 'of'
    if (begins || index === from) phrases.push([])
    phrases.at(-1)?.push(word)
  }
  return phrases
}
