// repetition-loop: the model says the same over and over, as greedy decoding of long captions is known to do.
// Example: "A street with cars, and cars, and cars, and cars, and cars" does not pass.
import type { Check, Finding } from './check.ts'
import { quote, textsOf } from './said.ts'

/**
 * The published detector for CogVLM captions: in the last 128 characters, a longest repeating subsequence of 70 or
 * more is a loop (VLM-Captioning-Tools, used on more than a million images).
 */
const tailChars = 128
const loopScore = 70
/** A phrase said so often in a row is a loop at any length. */
const loopRepeats = 4

export const repetitionLoop: Check = {
  name: 'repetition-loop',
  summary: 'the same words over and over; asked again with sampling, up to 5 times',
  isDefault: true,
  action: 'filter',
  resamples: true,
  judge({ output }) {
    const texts = textsOf(output)
    if (texts.length === 0) return null
    const findings = texts.map(findLoop)
    return findings.find(({ pass }) => !pass) ?? highest(findings)
  },
}

function findLoop(text: string): Finding {
  const run = repeatedRun(text)
  const tail = text.slice(-tailChars)
  const score = longestRepeatingSubsequence(tail)
  if (run !== null)
    return { pass: false, score, evidence: `${quote(run.words, 60)} ${run.times} times in a row` }
  if (score >= loopScore)
    return { pass: false, score, evidence: `the end repeats itself: ${quote(tail.slice(-60))}` }
  return { pass: true, score, evidence: '' }
}

function highest(findings: readonly Finding[]): Finding | null {
  return findings.toSorted((a, b) => (b.score ?? 0) - (a.score ?? 0))[0] ?? null
}

/**
 * Length of the longest subsequence that stands twice in the text with no character in the same place: the longest
 * common subsequence of the text with itself off the diagonal. At most 128 characters, so at most 16,384 steps.
 */
function longestRepeatingSubsequence(text: string): number {
  let row = new Uint16Array(text.length + 1)
  for (let i = 1; i <= text.length; i += 1) {
    const next = new Uint16Array(text.length + 1)
    for (let j = 1; j <= text.length; j += 1) {
      const isPair = i !== j && text.charCodeAt(i - 1) === text.charCodeAt(j - 1)
      next[j] = isPair ? (row[j - 1] ?? 0) + 1 : Math.max(row[j] ?? 0, next[j - 1] ?? 0)
    }
    row = next
  }
  return row[text.length] ?? 0
}

/** A phrase of 1 to 12 words that follows itself `loopRepeats` times or more, or null. Linear in the text for each length. */
function repeatedRun(text: string): { words: string; times: number } | null {
  const words = text.toLowerCase().match(/[\p{L}\p{N}'’-]+|[^\p{L}\p{N}\s]/gu) ?? []
  for (let length = 1; length <= 12; length += 1) {
    let same = 0
    for (let at = length; at < words.length; at += 1) {
      same = words[at] === words[at - length] ? same + 1 : 0
      const times = Math.floor(same / length) + 1
      if (times < loopRepeats) continue
      const phrase = words.slice(at - length + 1, at + 1)
      // "…" and "- - - -" are marks, not words.
      if (phrase.some((word) => /\p{L}/u.test(word))) return { words: phrase.join(' '), times }
    }
  }
  return null
}
