// The merge loop of byte-pair encoding, in n log n. It knows symbols by index and asks its caller what a merge scores.

/** Adjacent symbols by their span in the text. A symbol merged into its left neighbour has an empty span. */
export type SymbolList = { starts: number[]; ends: number[]; frozen: Set<number> }

/** The score of joining the symbols at two indices, the higher the sooner; undefined where no such piece exists. */
export type ScoreMerge = (left: number, right: number) => number | undefined

/**
 * Merges in place: always the best-scored pair, among equals the leftmost, until none is left (sentencepiece,
 * bpe_model.cc). A candidate whose symbols have changed since it was queued is dropped when it comes up.
 */
export function mergeSymbols(symbols: SymbolList, scoreMerge: ScoreMerge): void {
  const { starts, ends, frozen } = symbols
  const count = starts.length
  const previous = Int32Array.from({ length: count }, (_, index) => index - 1)
  const next = Int32Array.from({ length: count }, (_, index) => (index + 1 < count ? index + 1 : -1))
  const heap = new CandidateHeap()
  const queue = (left: number, right: number) => {
    if (left < 0 || right < 0 || frozen.has(left) || frozen.has(right)) return
    const score = scoreMerge(left, right)
    if (score !== undefined)
      heap.push({ score, left, right, end: ends[right] ?? 0, start: starts[left] ?? 0 })
  }
  for (let index = 0; index + 1 < count; index++) queue(index, index + 1)
  for (let best = heap.pop(); best !== undefined; best = heap.pop()) {
    const { left, right } = best
    const fresh = next[left] === right && ends[left] === starts[right] && ends[right] === best.end
    if (!fresh || ends[left] === starts[left]) continue
    ends[left] = best.end
    starts[right] = best.end
    const after = next[right] ?? -1
    next[left] = after
    next[right] = -1
    if (after >= 0) previous[after] = left
    queue(previous[left] ?? -1, left)
    queue(left, after)
  }
}

type Candidate = { score: number; left: number; right: number; start: number; end: number }

/** A binary heap of candidate merges, best first. */
class CandidateHeap {
  readonly #items: Candidate[] = []

  push(candidate: Candidate): void {
    const items = this.#items
    let at = items.length
    items.push(candidate)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = items[parent]
      if (above === undefined || !isBetter(candidate, above)) break
      items[at] = above
      at = parent
    }
    items[at] = candidate
  }

  pop(): Candidate | undefined {
    const items = this.#items
    const best = items[0]
    const last = items.pop()
    if (last === undefined || items.length === 0) return best
    let at = 0
    for (;;) {
      const right = 2 * at + 2
      let child = right - 1
      let below = items[child]
      const sibling = items[right]
      if (below !== undefined && sibling !== undefined && isBetter(sibling, below)) {
        child = right
        below = sibling
      }
      if (below === undefined || !isBetter(below, last)) break
      items[at] = below
      at = child
    }
    items[at] = last
    return best
  }
}

function isBetter(a: Candidate, b: Candidate): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left)
}
