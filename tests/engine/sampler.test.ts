// The sampler's distribution, by drawing many times, against the definitions of its filters.
import { describe, expect, it } from 'vitest'
import { chooseToken, seededRandom } from '../../gpu-worker/engine/sampler.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import type { Sampling } from '../../schemas/sampling.ts'

const logits = Float32Array.from([1.2, -0.5, 2.5, 2, 0, -3, 1.2, -8])
const drawCount = 40_000

function shares(sampling: Partial<Sampling>, seen: readonly number[] = []): number[] {
  const random = seededRandom(5)
  const counts = Array.from(logits, () => 0)
  for (let count = 0; count < drawCount; count++) {
    const token = chooseToken({
      logits,
      sampling: { ...greedySampling, temperature: 1, ...sampling },
      seen,
      random,
    })
    counts[token] = (counts[token] ?? 0) + 1
  }
  return counts.map((count) => count / drawCount)
}

/** Softmax over the tokens kept, zero elsewhere. */
function softmax(values: readonly number[], kept: readonly number[]): number[] {
  const weights = values.map((value, index) => (kept.includes(index) ? Math.exp(value) : 0))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / total)
}

const all = [...logits.keys()]
const plain = [...logits]

const distributions: { name: string; sampling: Partial<Sampling>; seen?: number[]; expected: number[] }[] = [
  { name: 'temperature 1 is softmax', sampling: {}, expected: softmax(plain, all) },
  {
    name: 'a low temperature sharpens',
    sampling: { temperature: 0.5 },
    expected: softmax(
      plain.map((value) => value / 0.5),
      all,
    ),
  },
  {
    name: 'a high temperature flattens',
    sampling: { temperature: 4 },
    expected: softmax(
      plain.map((value) => value / 4),
      all,
    ),
  },
  {
    name: 'a tiny temperature is greedy',
    sampling: { temperature: 1e-6 },
    expected: [0, 0, 1, 0, 0, 0, 0, 0],
  },
  { name: 'top-k keeps the k largest', sampling: { topK: 2 }, expected: softmax(plain, [2, 3]) },
  { name: 'top-k of equals keeps the first', sampling: { topK: 3 }, expected: softmax(plain, [2, 3, 0]) },
  { name: 'top-k beyond the vocabulary keeps all', sampling: { topK: 100 }, expected: softmax(plain, all) },
  // Softmax: 0.434, 0.263, then 0.118 twice.
  {
    name: 'top-p keeps the smallest set that reaches p',
    sampling: { topP: 0.6 },
    expected: softmax(plain, [2, 3]),
  },
  {
    name: 'top-p below the largest keeps just that',
    sampling: { topP: 0.01 },
    expected: [0, 0, 1, 0, 0, 0, 0, 0],
  },
  {
    name: 'top-p works on what top-k has left',
    sampling: { topK: 3, topP: 0.7 },
    expected: softmax(plain, [2, 3]),
  },
  {
    name: 'a penalty divides positive and multiplies negative logits of tokens seen, once each',
    sampling: { repetitionPenalty: 2 },
    seen: [2, 2, 2, 1],
    expected: softmax(
      plain.map((value, index) => (index === 2 ? value / 2 : index === 1 ? value * 2 : value)),
      all,
    ),
  },
]

describe('the sampler', () => {
  it.each(distributions)('$name', ({ sampling, seen, expected }) => {
    for (const [token, share] of shares(sampling, seen).entries()) {
      const probability = expected[token] ?? 0
      // Four standard deviations of a count.
      expect(Math.abs(share - probability)).toBeLessThanOrEqual(
        4 * Math.sqrt((probability * (1 - probability)) / drawCount) + 1e-9,
      )
    }
  })

  it('at temperature 0 takes the largest, the first of equals, and asks for no random number', () => {
    const random = (): number => {
      throw new Error('a random number was asked for')
    }
    const choose = (values: number[], sampling: Partial<Sampling> = {}): number =>
      chooseToken({
        logits: Float32Array.from(values),
        sampling: { ...greedySampling, ...sampling },
        seen: [1],
        random,
      })
    expect(choose([1, 3, 3, 2])).toBe(1)
    expect(choose([-5, -4, -6])).toBe(1)
    expect(choose([1, 3, 2.9], { repetitionPenalty: 1.2 })).toBe(2)
    expect(choose([1, 3, 2], { temperature: 1, topK: 1 })).toBe(1)
  })

  it('leaves the logits as they were', () => {
    const before = [...logits]
    shares({ repetitionPenalty: 3, topK: 2 }, [0, 1, 2])
    expect([...logits]).toEqual(before)
  })

  it('draws the same from the same seed, and evenly', () => {
    const draws = (seed: number): number[] => {
      const random = seededRandom(seed)
      return Array.from({ length: 1000 }, random)
    }
    expect(draws(3)).toEqual(draws(3))
    expect(draws(3)).not.toEqual(draws(4))
    // Neighbouring seeds start apart.
    const firsts = Array.from({ length: 2000 }, (_, seed) => draws(seed)[0] ?? 0)
    for (const values of [draws(0), draws(0xffff_ffff), firsts]) {
      expect(Math.min(...values)).toBeGreaterThanOrEqual(0)
      expect(Math.max(...values)).toBeLessThan(1)
      expect(values.reduce((sum, value) => sum + value, 0) / values.length).toBeCloseTo(0.5, 1)
    }
  })
})
