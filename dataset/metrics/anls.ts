// ANLS (Biten et al. 2019), the score of DocVQA: how near an answer is to the nearest right one, letter by letter. It
// does not know documents.
import { editDistance } from './edit-distance.ts'

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
