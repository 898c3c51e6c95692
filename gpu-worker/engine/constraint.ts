// Which tokens may come next: the vocabulary walked through an automaton, once for each state. It does not know prompts.
import type { Pattern } from '../../schemas/constraint.ts'
import type { Tokenizer } from '../tokenizer/tokenizer-contract.ts'
import { largestIndex } from './sampler.ts'
import { type Automaton, compilePattern } from './automaton.ts'

/** Follows one answer. */
export type Follower = {
  /** One bit a token that may come next, stop tokens not among them. */
  allowed(): Uint32Array
  /** Whether the answer may end here. */
  mayStop(): boolean
  advance(tokenId: number): void
}

/** Masks of states that are kept: 16 kB each for 128,256 tokens. */
const maxMasks = 1024
/** Patterns that are kept compiled: those of a run's tasks. */
const maxPatterns = 64

/** Constraints over one vocabulary; what is compiled once serves every image. */
export type Constrainer = { follow(pattern: Pattern): Follower }

/** Starts with nothing compiled; the vocabulary is sorted at the first constrained prompt. */
export function openConstrainer(tokenizer: Tokenizer): Constrainer {
  let vocabulary: SortedVocabulary | null = null
  const masked = new Map<string, MaskedAutomaton>()
  return {
    follow(pattern) {
      vocabulary ??= sortVocabulary(tokenizer)
      const key = JSON.stringify(pattern)
      const known = masked.get(key) ?? maskAutomaton(compilePattern(pattern), vocabulary)
      if (masked.size >= maxPatterns) masked.clear()
      masked.set(key, known)
      return startFollower(known, vocabulary)
    },
  }
}

/** The likeliest token that may come next, the lowest of equals; what greedy decoding takes, without a copy of the logits. */
export function largestAllowed(logits: Float32Array, follower: Follower, stopIds: readonly number[]): number {
  const allowed = follower.allowed()
  // Nearly always the model wants what is allowed, and then one pass over the logits is all.
  const wanted = largestIndex(logits)
  const isAllowed = (((allowed[wanted >>> 5] ?? 0) >>> (wanted & 31)) & 1) === 1
  if (isAllowed || (follower.mayStop() && stopIds.includes(wanted))) return wanted
  let best = -1
  const consider = (token: number) => {
    if (best === -1 || (logits[token] ?? -Infinity) > (logits[best] ?? -Infinity)) best = token
  }
  for (let word = 0; word < allowed.length; word += 1) {
    let bits = allowed[word] ?? 0
    while (bits !== 0) {
      consider(word * 32 + (31 - Math.clz32(bits & -bits)))
      bits &= bits - 1
    }
  }
  if (follower.mayStop() || best === -1) stopIds.forEach(consider)
  return best
}

/** Logits with those of other tokens at minus infinity; stop tokens are allowed where the answer may end. */
export function maskLogits(
  logits: Float32Array,
  follower: Follower,
  stopIds: readonly number[],
): Float32Array {
  const allowed = follower.allowed()
  const masked = new Float32Array(logits.length).fill(-Infinity)
  for (let word = 0; word < allowed.length; word += 1) {
    let bits = allowed[word] ?? 0
    while (bits !== 0) {
      const token = word * 32 + (31 - Math.clz32(bits & -bits))
      masked[token] = logits[token] ?? -Infinity
      bits &= bits - 1
    }
  }
  if (follower.mayStop()) for (const token of stopIds) masked[token] = logits[token] ?? -Infinity
  return masked
}

function startFollower({ automaton, maskOf }: MaskedAutomaton, { bytesOf }: SortedVocabulary): Follower {
  let state = automaton.start
  return {
    allowed: () => maskOf(state),
    mayStop: () => automaton.accepts(state),
    advance(tokenId) {
      for (const byte of bytesOf(tokenId)) state = automaton.next(state, byte)
    },
  }
}

type SortedVocabulary = {
  size: number
  /** Token ids by their bytes. */
  ids: Int32Array
  bytes: readonly Uint8Array[]
  /** Bytes that each shares with the one before it. */
  shared: Int32Array
  bytesOf: (tokenId: number) => Uint8Array
}

const noBytes = new Uint8Array(0)

function sortVocabulary(tokenizer: Tokenizer): SortedVocabulary {
  const byId = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.tokenBytes(id) ?? noBytes)
  const spelled = byId
    .flatMap((bytes, id) => (bytes.length > 0 ? [{ bytes, id }] : []))
    .toSorted((a, b) => Buffer.compare(a.bytes, b.bytes))
  const shared = new Int32Array(spelled.length)
  for (let at = 1; at < spelled.length; at += 1)
    shared[at] = sharedLength(spelled[at - 1]?.bytes ?? noBytes, spelled[at]?.bytes ?? noBytes)
  return {
    size: tokenizer.vocabSize,
    ids: Int32Array.from(spelled, ({ id }) => id),
    bytes: spelled.map(({ bytes }) => bytes),
    shared,
    bytesOf: (tokenId) => byId[tokenId] ?? noBytes,
  }
}

function sharedLength(left: Uint8Array, right: Uint8Array): number {
  let length = 0
  while (length < left.length && length < right.length && left[length] === right[length]) length += 1
  return length
}

type MaskedAutomaton = { automaton: Automaton; maskOf: (state: number) => Uint32Array }

function maskAutomaton(automaton: Automaton, vocabulary: SortedVocabulary): MaskedAutomaton {
  const masks = new Map<number, Uint32Array>()
  return {
    automaton,
    maskOf(state) {
      const known = masks.get(state)
      if (known !== undefined) return known
      if (masks.size >= maxMasks) masks.clear()
      const mask = walkVocabulary(automaton, state, vocabulary)
      masks.set(state, mask)
      return mask
    },
  }
}

/** Tokens in order of their bytes share starts, so each start is walked once, and a dead one ends all that begin so. */
function walkVocabulary(automaton: Automaton, from: number, vocabulary: SortedVocabulary): Uint32Array {
  const { ids, bytes, shared, size } = vocabulary
  const mask = new Uint32Array(Math.ceil(size / 32))
  const states = [from]
  let deadAt = Infinity
  for (let index = 0; index < ids.length; index += 1) {
    const common = shared[index] ?? 0
    if (common >= deadAt) continue
    deadAt = Infinity
    const own = bytes[index] ?? noBytes
    for (let at = common; at < own.length; at += 1) {
      const state = automaton.next(states[at] ?? -1, own[at] ?? 0)
      if (state === -1) {
        deadAt = at + 1
        break
      }
      states[at + 1] = state
    }
    const id = ids[index] ?? 0
    if (deadAt === Infinity) mask[id >>> 5] = (mask[id >>> 5] ?? 0) | (1 << (id & 31))
  }
  return mask
}
