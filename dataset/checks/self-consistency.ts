// self-consistency: whether several answers to the same prompt agree. It needs a run with --samples.
// Example: "a dog", "a cat", "a cow", drawn for one image: does not pass.
import type { Check } from './check.ts'
import { quote, wordsOf } from './said.ts'

/** Mean agreement of the chosen answer with the others, in shared words (F1). */
const minAgreement = 0.5

export const selfConsistency: Check = {
  name: 'self-consistency',
  summary: 'answers that differ from each other when asked several times (--samples)',
  isDefault: false,
  action: 'filter',
  needsSamples: 3,
  judge({ raw, samples }) {
    if (samples === undefined || samples.length === 0 || raw === null) return null
    const agreements = samples.map((other) => sharedWords(raw, other))
    const mean = agreements.reduce((sum, value) => sum + value, 0) / agreements.length
    const score = Math.round(mean * 1000) / 1000
    const odd = samples[agreements.indexOf(Math.min(...agreements))] ?? ''
    return { pass: score >= minAgreement, score, evidence: score === 1 ? '' : `also said ${quote(odd)}` }
  },
}

/** F1 of the words of two texts, each as often as it stands; 1 for two empty ones. */
export function sharedWords(left: string, right: string): number {
  const [a, b] = [wordsOf(left), wordsOf(right)]
  if (a.length === 0 && b.length === 0) return 1
  const counts = new Map<string, number>()
  for (const word of a) counts.set(word, (counts.get(word) ?? 0) + 1)
  let shared = 0
  for (const word of b) {
    const remaining = counts.get(word) ?? 0
    if (remaining === 0) continue
    counts.set(word, remaining - 1)
    shared += 1
  }
  return (2 * shared) / (a.length + b.length)
}
