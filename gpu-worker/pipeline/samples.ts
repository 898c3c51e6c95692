// Several answers to one prompt: how each is drawn, and which of them stands. Pure; it does not know engines or tasks.
import { agreementOf } from '../../dataset/checks/self-consistency.ts'
import type { Sampling } from '../../schemas/sampling.ts'
import type { SampleChoice } from '../../schemas/task-spec.ts'
import { seededRandom } from '../engine/sampler.ts'

/** How loops of CogVLM are known to be broken: top-k 10, a random temperature below 0.7, at most five tries. */
const tryAgain = { topK: 10, temperature: 0.7, least: 0.1 }
export const maxTries = 5

/** Sampling of the n-th answer to a prompt, 0 the first: that is the run's own, others are drawn even in a greedy run. */
export function samplingOf(base: Sampling, index: number): Sampling {
  if (index === 0) return base
  const seed = (base.seed + Math.imul(index, 0x9e37_79b1)) >>> 0
  return base.temperature > 0
    ? { ...base, seed }
    : { ...base, seed, temperature: tryAgain.temperature, topK: tryAgain.topK }
}

/** Sampling of the n-th try, 1 the first, after an answer that cannot be kept. */
export function samplingOfTry(base: Sampling, attempt: number): Sampling {
  const seed = (base.seed + Math.imul(attempt, 0x85eb_ca6b)) >>> 0
  const temperature = Math.max(tryAgain.least, tryAgain.temperature * seededRandom(seed)())
  return { ...base, seed, topK: tryAgain.topK, temperature: Math.round(temperature * 1000) / 1000 }
}

/**
 * Index of the answer that stands: by majority the one most often said, but for case and marks; by medoid the one that
 * shares most words with the others. The first of equals.
 */
export function chooseAnswer(texts: readonly string[], choice: SampleChoice): number {
  const scores =
    choice === 'majority'
      ? texts.map((text) => texts.filter((other) => spelling(other) === spelling(text)).length)
      : texts.map((text) => texts.reduce((sum, other) => sum + agreementOf(text, other), 0))
  return scores.indexOf(Math.max(...scores))
}

function spelling(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s;,[\]]/gu, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
}
