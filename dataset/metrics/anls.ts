// ANLS (Biten et al. 2019), the score of DocVQA: how near an answer is to the nearest right one, letter by letter. It
// does not know documents.

/** Less alike than this is wrong, not nearly right. */
const minLikeness = 0.5

/** 0 to 1. Case and spaces at the ends and between words do not count. */
export function anls(said: string, answers: readonly string[]): number {
  const likenesses = answers.map((answer) => likenessOf(tidy(said), tidy(answer)))
  const best = Math.max(0, ...likenesses)
  return best < minLikeness ? 0 : best
}

function tidy(text: string): string {
  return text.toLowerCase().trim().replaceAll(/\s+/g, ' ')
}

function likenessOf(left: string, right: string): number {
  const [a, b] = [Array.from(left), Array.from(right)]
  const longest = Math.max(a.length, b.length)
  return longest === 0 ? 1 : 1 - editDistance(a, b) / longest
}

/** Levenshtein distance, one row at a time. */
function editDistance(left: readonly string[], right: readonly string[]): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 0; i < left.length; i += 1) {
    const next = [i + 1]
    for (let j = 0; j < right.length; j += 1) {
      const change = (row[j] ?? 0) + (left[i] === right[j] ? 0 : 1)
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[right.length] ?? 0
}
