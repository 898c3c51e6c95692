// The merge loop of byte-pair encoding, in n log n. It knows spans of a text and asks its caller what a merge scores.

export type Span = { start: number; end: number }

/** The score of the piece that spans `start` to `end`, the higher the sooner; undefined where there is no such piece. */
export type ScoreSpan = (start: number, end: number) => number | undefined

/**
 * Merges neighbours, always the best-scored pair, among equals the leftmost, until no pair has a score (sentencepiece,
 * bpe_model.cc). `ends` says where each first symbol ends, in rising order; returns the spans that are left, in order.
 * A candidate whose symbols have changed since it was queued is dropped when it comes up.
 */
export function mergeSymbols(ends: Int32Array, scoreSpan: ScoreSpan): Span[] {
  const count = ends.length
  const starts = Int32Array.from(ends, (_, index) => ends[index - 1] ?? 0)
  const current = ends.slice()
  // Neighbours by index; -1 at the ends and for a symbol that was merged into its left neighbour.
  const previous = Int32Array.from(ends, (_, index) => index - 1)
  const next = Int32Array.from(ends, (_, index) => (index + 1 < count ? index + 1 : -1))
  // Every pair is queued once and every merge queues two more.
  const heap = createHeap(3 * count)
  const queue = (left: number, right: number) => {
    if (left < 0 || right < 0) return
    const end = current[right] ?? 0
    const score = scoreSpan(starts[left] ?? 0, end)
    if (score !== undefined) heap.push(score, left, end)
  }
  for (let index = 0; index + 1 < count; index++) queue(index, index + 1)
  while (heap.pop()) {
    const { left, end } = heap.popped
    const right = next[left] ?? -1
    // The pair is as it was queued: a merged symbol has no right neighbour, and a grown one ends later.
    if (right < 0 || current[right] !== end) continue
    current[left] = end
    const after = next[right] ?? -1
    next[left] = after
    next[right] = -1
    if (after >= 0) previous[after] = left
    queue(previous[left] ?? -1, left)
    queue(left, after)
  }
  const spans: Span[] = []
  for (let at = count > 0 ? 0 : -1; at >= 0; at = next[at] ?? -1) {
    spans.push({ start: starts[at] ?? 0, end: current[at] ?? 0 })
  }
  return spans
}

/** A candidate merge: the index of its left symbol and where its right symbol ends. */
type Candidate = { left: number; end: number }

type CandidateHeap = {
  push(score: number, left: number, end: number): void
  /** Moves the best candidate into `popped`; false when there is none. */
  pop(): boolean
  readonly popped: Candidate
}

/** A binary heap, best score first, then leftmost. Its columns are typed arrays: a long text has millions of candidates. */
function createHeap(capacity: number): CandidateHeap {
  const scores = new Float64Array(capacity)
  const lefts = new Int32Array(capacity)
  const ends = new Int32Array(capacity)
  const popped: Candidate = { left: 0, end: 0 }
  let size = 0
  const place = (at: number, from: number) => {
    scores[at] = scores[from] ?? 0
    lefts[at] = lefts[from] ?? 0
    ends[at] = ends[from] ?? 0
  }
  const isBetter = (at: number, score: number, left: number) => {
    const other = scores[at] ?? 0
    return other > score || (other === score && (lefts[at] ?? 0) < left)
  }
  return {
    popped,
    push(score, left, end) {
      let at = size++
      for (let parent = (at - 1) >> 1; at > 0 && !isBetter(parent, score, left); parent = (at - 1) >> 1) {
        place(at, parent)
        at = parent
      }
      scores[at] = score
      lefts[at] = left
      ends[at] = end
    },
    pop() {
      if (size === 0) return false
      popped.left = lefts[0] ?? 0
      popped.end = ends[0] ?? 0
      size--
      // The last candidate, which no loop below overwrites, looks for its place from the top.
      const score = scores[size] ?? 0
      const left = lefts[size] ?? 0
      let at = 0
      for (let child = 1; child < size; child = 2 * at + 1) {
        const sibling = child + 1
        if (sibling < size && isBetter(sibling, scores[child] ?? 0, lefts[child] ?? 0)) child = sibling
        if (!isBetter(child, score, left)) break
        place(at, child)
        at = child
      }
      place(at, size)
      return true
    },
  }
}
