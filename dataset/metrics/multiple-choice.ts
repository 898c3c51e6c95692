// Which of several choices an answer means: by its letter or by its words. It does not know what was asked.

/** Index of the choice, or null where the answer means none or several. */
export function readChoice(said: string, choices: readonly string[]): number | null {
  const byLetter = readLetter(said, choices.length)
  if (byLetter !== null) return byLetter
  const asWritten = choices.findIndex((choice) => choice.trim() === said.trim())
  if (asWritten !== -1) return asWritten
  const plain = words(said)
  // Signs alone have no words.
  if (plain === '') return null
  const exact = choices.findIndex((choice) => words(choice) === plain)
  if (exact !== -1) return exact
  const holds = (text: string, choice = '') =>
    words(choice) !== '' && ` ${text} `.includes(` ${words(choice)} `)
  const named = choices.flatMap((choice, index) => (holds(plain, choice) ? [index] : []))
  // "red wine" also says "red": the longest of those that lie in one another is meant.
  const longest = named.filter(
    (index) => !named.some((other) => other !== index && holds(words(choices[other] ?? ''), choices[index])),
  )
  return longest.length === 1 ? (longest[0] ?? null) : null
}

/** "B", "(B)", "B.", "B: red", "The answer is B". A small letter counts only on its own: "a" is an article. */
function readLetter(said: string, count: number): number | null {
  const text = said.trim()
  const found =
    /^\(?([A-Z])\)?(?:[.:)]|\s*$|\s+-)/.exec(text)?.[1] ??
    /^\(?([a-z])\)?[.:)]?$/.exec(text)?.[1] ??
    /\b(?:[Aa]nswer|[Oo]ption|[Cc]hoice)(?: is)?:? \(?([A-Z])\b/.exec(text)?.[1] ??
    /\b(?:answer|option|choice)(?: is)?:? \(?([a-z])\)?\.?$/i.exec(text)?.[1]
  if (found === undefined) return null
  const index = found.toUpperCase().charCodeAt(0) - 65
  return index < count ? index : null
}

function words(text: string): string {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).join(' ')
}
