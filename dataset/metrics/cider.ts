// CIDEr-D (Vedantam et al. 2015): how much a caption shares with what people wrote, rare words counting more. It takes
// words, not text, and does not know images.
import { mean } from './share.ts'

/** Lengths of phrases that are counted: one word to four. */
const maxWords = 4
/** Of the penalty for another length. */
const sigma = 6

export type CiderInput = { candidate: readonly string[]; references: readonly (readonly string[])[] }

export type CiderScore = { each: number[]; mean: number }

/** The score of each caption, times ten as published, and their mean. */
export function ciderD(inputs: readonly CiderInput[]): CiderScore {
  const rarity = rarityOf(inputs)
  const each = inputs.map((input) => scoreOne(input, rarity))
  return { each, mean: mean(each) }
}

/** How rare phrases are: in how many images' references each stands. */
type Rarity = { frequency: ReadonlyMap<string, number>; images: number }

function rarityOf(inputs: readonly CiderInput[]): Rarity {
  const frequency = new Map<string, number>()
  for (const { references } of inputs) {
    const phrases = new Set(references.flatMap((words) => [...countPhrases(words).keys()]))
    for (const phrase of phrases) frequency.set(phrase, (frequency.get(phrase) ?? 0) + 1)
  }
  return { frequency, images: inputs.length }
}

type Weighed = {
  /** By number of words: weight of each phrase. */
  weights: Map<string, number>[]
  norms: number[]
  /** The published code counts pairs of words here. */
  length: number
}

function scoreOne({ candidate, references }: CiderInput, rarity: Rarity): number {
  if (references.length === 0) return 0
  const said = weigh(candidate, rarity)
  const sums = references.map((reference) => {
    const other = weigh(reference, rarity)
    const penalty = Math.exp(-((said.length - other.length) ** 2) / (2 * sigma ** 2))
    return mean(said.weights.map((_, n) => likeness(said, other, n) * penalty))
  })
  return mean(sums) * 10
}

function likeness(said: Weighed, other: Weighed, n: number): number {
  let shared = 0
  for (const [phrase, weight] of said.weights[n] ?? []) {
    const own = other.weights[n]?.get(phrase) ?? 0
    shared += Math.min(weight, own) * own
  }
  const norm = (said.norms[n] ?? 0) * (other.norms[n] ?? 0)
  return norm === 0 ? shared : shared / norm
}

function weigh(words: readonly string[], { frequency, images }: Rarity): Weighed {
  const weights = Array.from({ length: maxWords }, () => new Map<string, number>())
  const squares = new Array<number>(maxWords).fill(0)
  let length = 0
  for (const [phrase, count] of countPhrases(words)) {
    const n = phrase.split(' ').length - 1
    const weight = count * (Math.log(images) - Math.log(Math.max(1, frequency.get(phrase) ?? 0)))
    weights[n]?.set(phrase, weight)
    squares[n] = (squares[n] ?? 0) + weight ** 2
    if (n === 1) length += count
  }
  return { weights, norms: squares.map(Math.sqrt), length }
}

function countPhrases(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (let size = 1; size <= maxWords; size += 1) {
    for (let at = 0; at + size <= words.length; at += 1) {
      const phrase = words.slice(at, at + size).join(' ')
      counts.set(phrase, (counts.get(phrase) ?? 0) + 1)
    }
  }
  return counts
}
