// What a caption names of what is there: recall, precision and right numbers, by kinds of things as CHAIR counts
// (Rohrbach et al. 2018). It does not know boxes.
import type { Vocabulary } from './vocabulary.ts'

export type CaptionObjects = {
  /** Kinds of things that are there. */
  there: number
  /** Kinds of things that the caption names. */
  named: number
  /** Kinds that are both. */
  right: number
  /** Of those, how many the caption gives the right number. */
  rightlyCounted: number
}

/** `names` are those of all objects, with repeats. A caption that is missing (null) names nothing. */
export function judgeCaption(
  caption: string | null,
  names: readonly string[],
  vocabulary: Vocabulary,
): CaptionObjects {
  const there = countNames(names.map((name) => ({ name: vocabulary.nameOf(name) ?? name, count: 1 })))
  const named = countNames(caption === null ? [] : vocabulary.mentionsIn(caption))
  const right = [...named].filter(([name]) => there.has(name))
  return {
    there: there.size,
    named: named.size,
    right: right.length,
    rightlyCounted: right.filter(([name, count]) => there.get(name) === count).length,
  }
}

function countNames(mentions: readonly { name: string; count: number }[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { name, count } of mentions) counts.set(name, (counts.get(name) ?? 0) + count)
  return counts
}
