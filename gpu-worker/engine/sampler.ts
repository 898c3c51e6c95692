// Chooses the next token from logits. Pure but for the random source, which is given.
import type { Sampling } from '../../schemas/sampling.ts'

/** Uniform numbers in [0, 1) from a seed (mulberry32): the same seed gives the same text on every machine. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * The next token of one sequence. `logits` [V] is left as it is; `seen` are the tokens so far, prompt included.
 * Order of the filters as in the reference's generation code: penalty, temperature, top-k, top-p.
 */
export function chooseToken({
  logits,
  sampling,
  seen,
  random,
}: {
  logits: Float32Array
  sampling: Sampling
  seen: readonly number[]
  random: () => number
}): number {
  const penalised = applyPenalty(logits, seen, sampling.repetitionPenalty)
  if (sampling.temperature === 0 || sampling.topK === 1) return largestIndex(penalised)
  const ranked = rank(penalised, sampling)
  const kept = keepTopP(ranked, sampling.topP)
  return draw(kept, random())
}

/** Index of the largest logit; the first of equals. */
export function largestIndex(logits: Float32Array): number {
  let [best, largest] = [0, logits[0] ?? 0]
  for (let index = 1; index < logits.length; index++) {
    const value = logits[index] ?? 0
    if (value > largest) [best, largest] = [index, value]
  }
  return best
}

function applyPenalty(logits: Float32Array, seen: readonly number[], penalty: number): Float32Array {
  if (penalty === 1) return logits
  const changed = Float32Array.from(logits)
  for (const token of new Set(seen)) {
    const value = changed[token] ?? 0
    changed[token] = value > 0 ? value / penalty : value * penalty
  }
  return changed
}

type Candidate = { token: number; probability: number }

/**
 * Logits this many temperatures below the largest are left out before sorting: their probabilities are under 1e-13,
 * a thousandth of the random source's smallest step, and a vocabulary of 128,256 need not be sorted at every token.
 */
const negligibleGap = 30

/** The topK most likely tokens with their probabilities, most likely first; equals in order of id. */
function rank(logits: Float32Array, { temperature, topK }: Sampling): Candidate[] {
  const largest = logits[largestIndex(logits)] ?? 0
  const candidates: number[] = []
  for (let token = 0; token < logits.length; token++) {
    if (largest - (logits[token] ?? 0) < negligibleGap * temperature) candidates.push(token)
  }
  candidates.sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b)
  const kept = topK === 0 ? candidates : candidates.slice(0, topK)
  const weights = kept.map((token) => Math.exp(((logits[token] ?? 0) - largest) / temperature))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return kept.map((token, index) => ({ token, probability: (weights[index] ?? 0) / total }))
}

/** The shortest start of the ranking whose probabilities reach p. */
function keepTopP(ranked: readonly Candidate[], topP: number): readonly Candidate[] {
  let sum = 0
  for (const [index, { probability }] of ranked.entries()) {
    sum += probability
    if (sum >= topP) return ranked.slice(0, index + 1)
  }
  return ranked
}

function draw(candidates: readonly Candidate[], uniform: number): number {
  const total = candidates.reduce((sum, { probability }) => sum + probability, 0)
  let rest = uniform * total
  for (const { token, probability } of candidates) {
    rest -= probability
    if (rest < 0) return token
  }
  return candidates.at(-1)?.token ?? 0
}
