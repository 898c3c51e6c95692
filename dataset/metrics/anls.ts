// ANLS (Biten et al. 2019), the score of DocVQA: how near an answer is to the nearest right one, letter by letter. It
// does not know documents.
import { editDistance } from './edit-distance.ts'

/** Less alike than this is wrong, not nearly right. */
const minLikeness = 0.5

/** 0 to 1. Case and spaces at the ends and between words do not count. */
export function anls(said: string, answers: readonly string[]): number {
  const likenesses = answers.map((answer) => likenessOf(said, answer))
  const best = Math.max(0, ...likenesses)
  return best < minLikeness ? 0 : best
}

/** The published script divides by the length in capitals of the untidied text, so that spaces soften a mistake. */
function likenessOf(said: string, answer: string): number {
  const longest = Math.max(...[said, answer].map((text) => Array.from(text.toUpperCase()).length))
  return longest === 0 ? 1 : 1 - editDistance(lettersOf(said), lettersOf(answer)) / longest
}

function lettersOf(text: string): string[] {
  return Array.from(text.toLowerCase().trim().replaceAll(/\s+/g, ' '))
}
