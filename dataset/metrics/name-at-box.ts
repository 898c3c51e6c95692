// Whether the thing in a box was given its right name, in any word for it. It does not know boxes.
import type { Vocabulary } from './vocabulary.ts'

/** True when a question asks about a box that it gives itself, so that the answer is a name. */
export function asksNameAtBox(question: string): boolean {
  return /\[\[[\d,;\s.]+\]\]/.test(question)
}

/** The answer must name the gold thing and no other. Words that nobody knows are compared as text. */
export function isNameRight(answer: string, gold: string, vocabulary: Vocabulary): boolean {
  const wanted = new Set(vocabulary.mentionsIn(gold).map(({ name }) => name))
  if (wanted.size === 0) return normaliseText(answer) === normaliseText(gold)
  const said = new Set(vocabulary.mentionsIn(answer).map(({ name }) => name))
  return said.size === wanted.size && [...wanted].every((name) => said.has(name))
}

/** Text as it is compared where nothing better is known: lower case, without articles and marks. */
export function normaliseText(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s]/gu, ' ')
    .replaceAll(/\b(a|an|the)\b/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim()
}
