// One text being generated behind a prefix: what is asked, how far it is, how it goes on. Deals in token ids only.
import type { Failure } from '../../schemas/failure.ts'
import type { Sampling } from '../../schemas/sampling.ts'
import { type Follower, largestAllowed, maskLogits } from './constraint.ts'
import { wholeLanes } from './kv-cache.ts'
import type { PrefixRows } from './kv-cache.ts'
import { chooseToken, seededRandom } from './sampler.ts'
import type { PendingToken } from './scheduler.ts'

export type SequenceRequest = {
  /** Text tokens behind the prefix; none where the model speaks right after the image (base checkpoints caption so). */
  tokenIds: readonly number[]
  /** One a token; counted on from the prefix where not given. The answer counts on from the last. */
  positionIds?: readonly number[]
  /** Ids of the prefix's rows, which a repetition penalty has seen, too. */
  prefixIds?: readonly number[]
  maxNewTokens: number
  sampling: Sampling
  /** Tokens that end the answer; empty to go on until maxNewTokens. */
  stopIds: readonly number[]
  /** Follows the answer where it has a form. */
  follower?: Follower | undefined
}

export type SequenceResult = {
  tokenIds: number[]
  finishReason: 'stop' | 'length'
  /** Why there is no more of it. */
  failure?: Failure
}

/** What the sequences of an image share: the cache rows of bos and image, and what follows them. */
export type Prefix = {
  rows: PrefixRows
  /** Position of the first text token. */
  nextPosition: number
  /** Logits [V] of the last row, for an answer that starts right there. */
  lastLogits: Float32Array
}

export type Sequence = SequenceRequest & {
  id: number
  /** Number of its image, and that image's prefix. */
  image: number
  prefix: Prefix
  pending: PendingToken[]
  nextPosition: number
  answer: number[]
  finishReason: 'stop' | 'length' | undefined
  failure?: Failure
  random: () => number
}

/** An empty prompt has its first token at once. */
export function startSequence({
  request,
  id,
  image,
  prefix,
}: {
  request: SequenceRequest
  id: number
  image: number
  prefix: Prefix
}): Sequence {
  const { tokenIds, positionIds = tokenIds.map((_, index) => prefix.nextPosition + index) } = request
  const sequence: Sequence = {
    ...request,
    id,
    image,
    prefix,
    pending: tokenIds.map((tokenId, index) => ({ tokenId, position: positionIds[index] ?? 0 })),
    nextPosition: (positionIds.at(-1) ?? prefix.nextPosition - 1) + 1,
    answer: [],
    finishReason: request.maxNewTokens === 0 ? 'length' : undefined,
    random: seededRandom(request.sampling.seed),
  }
  if (tokenIds.length === 0) extendAnswer(sequence, prefix.lastLogits)
  return sequence
}

/** Cache rows that the sequence may come to, in whole lanes: its prompt, and its answer but for the last token. */
export function longestRows({ tokenIds, maxNewTokens }: SequenceRequest): number {
  return wholeLanes(tokenIds.length + maxNewTokens)
}

const notNumbers: Failure = {
  code: 'engine-error',
  message:
    "the model's scores are not numbers: its weights or this image's pixels leave the range of its number format; compile with --weights fp32",
}

/** Why there is no answer behind a prefix: with scores that are no numbers, the first token would pass for the likeliest. */
export function prefixFailure({ lastLogits }: Prefix): Failure | undefined {
  return lastLogits.some(Number.isNaN) ? notNumbers : undefined
}

/** Whether its next token is the likeliest, whatever came before: then a graph can choose it. */
export function takesLikeliest({ sampling, follower }: Sequence): boolean {
  return sampling.temperature === 0 && sampling.repetitionPenalty === 1 && follower === undefined
}

/** Tokens that the sequence may still come to. */
export function tokensLeft({ maxNewTokens, answer }: Sequence): number {
  return maxNewTokens - answer.length
}

/** Gives the sequence its next token, or ends it. */
export function extendAnswer(sequence: Sequence, logits: Float32Array): void {
  if (sequence.finishReason !== undefined) return
  const { sampling, prefixIds = [], tokenIds, answer, stopIds, random, follower } = sequence
  // Only the penalty looks back; without it a long answer need not be copied at every token.
  const seen = sampling.repetitionPenalty === 1 ? [] : [...prefixIds, ...tokenIds, ...answer]
  const isGreedy = sampling.temperature === 0 && sampling.repetitionPenalty === 1
  const token =
    follower !== undefined && isGreedy
      ? largestAllowed(logits, follower, stopIds)
      : chooseToken({
          logits: follower === undefined ? logits : maskLogits(logits, follower, stopIds),
          sampling,
          seen,
          random,
        })
  if (!Number.isNaN(logits[token])) follower?.advance(token)
  acceptToken(sequence, token, logits[token])
}

/** Takes a token that was chosen by some number; NaN is what no token is chosen by. */
export function acceptToken(sequence: Sequence, token: number, by: number | undefined): void {
  if (sequence.finishReason !== undefined) return
  const { answer, stopIds } = sequence
  if (Number.isNaN(by)) {
    sequence.finishReason = 'length'
    sequence.failure = notNumbers
    return
  }
  if (stopIds.includes(token)) {
    sequence.finishReason = 'stop'
    return
  }
  answer.push(token)
  if (answer.length >= sequence.maxNewTokens) sequence.finishReason = 'length'
  else sequence.pending.push({ tokenId: token, position: sequence.nextPosition })
  sequence.nextPosition += 1
}
