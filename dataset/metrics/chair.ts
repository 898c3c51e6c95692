// CHAIR (Rohrbach et al. 2018): of the things that captions name, how many are not there. It does not know how things are
// found in words; a vocabulary does.
import type { Vocabulary } from './vocabulary.ts'

export type ChairInput = {
  caption: string
  /** Everything that is there: of the boxes, and of the captions that people wrote. */
  there: readonly string[]
  /** Captions of people, whose things count as there too. */
  references?: readonly string[]
}

export type ChairScore = {
  /** Mentions of things that are not there, out of all mentions of the set. */
  chairI: number
  /** Captions with at least one. */
  chairS: number
  mentions: number
  captions: number
  /** For each caption, what it names and is not there. */
  hallucinated: string[][]
}

/** Ratios over the whole set, not means of ratios. */
export function scoreChair(inputs: readonly ChairInput[], vocabulary: Vocabulary): ChairScore {
  const judged = inputs.map(({ caption, there, references = [] }) => {
    const known = new Set([
      ...there.map((name) => vocabulary.nameOf(name) ?? name),
      ...references.flatMap((reference) => namesIn(reference, vocabulary)),
    ])
    const named = namesIn(caption, vocabulary)
    return { named, wrong: named.filter((name) => !known.has(name)) }
  })
  const mentions = judged.reduce((sum, { named }) => sum + named.length, 0)
  const wrong = judged.reduce((sum, one) => sum + one.wrong.length, 0)
  return {
    chairI: mentions === 0 ? 0 : wrong / mentions,
    chairS: judged.length === 0 ? 0 : judged.filter((one) => one.wrong.length > 0).length / judged.length,
    mentions,
    captions: judged.length,
    hallucinated: judged.map((one) => [...new Set(one.wrong)]),
  }
}

/** As often as each is named: the published script counts mentions. */
function namesIn(text: string, vocabulary: Vocabulary): string[] {
  return vocabulary.mentionsIn(text).map(({ name }) => name)
}
