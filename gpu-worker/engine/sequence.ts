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
  /** Goes on with nobody beside it. */
  isAlone: boolean
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
  const { tokenIds, maxNewTokens } = request
  const sequence: Sequence = {
    ...request,
    id,
    image,
    prefix,
    pending: promptTokens(request, prefix),
    nextPosition: answerPosition(request, prefix),
    isAlone: false,
    answer: [],
    finishReason: maxNewTokens === 0 ? 'length' : undefined,
    random: seededRandom(request.sampling.seed),
  }
  if (tokenIds.length === 0) extendAnswer(sequence, prefix.lastLogits)
  return sequence
}

/** Makes the sequence one that has no cache rows yet, keeps its answer so far, and shares no step. */
export function startAgainAlone(sequence: Sequence): void {
  const { answer, prefix } = sequence
  const position = answerPosition(sequence, prefix)
  const answered = answer.map((tokenId, index) => ({ tokenId, position: position + index }))
  sequence.pending = [...promptTokens(sequence, prefix), ...answered]
  sequence.isAlone = true
}

function promptTokens({ tokenIds, positionIds }: SequenceRequest, { nextPosition }: Prefix): PendingToken[] {
  return tokenIds.map((tokenId, index) => ({
    tokenId,
    position: positionIds?.[index] ?? nextPosition + index,
  }))
}

/** Where the answer begins. */
function answerPosition({ tokenIds, positionIds }: SequenceRequest, { nextPosition }: Prefix): number {
  return (positionIds?.at(-1) ?? nextPosition + tokenIds.length - 1) + 1
}

/** Cache rows that the sequence may come to, in whole lanes: its prompt, and its answer but for the last token. */
export function longestRows({ tokenIds, maxNewTokens }: SequenceRequest): number {
  return wholeLanes(tokenIds.length + maxNewTokens)
}

const notNumbers: Failure = {
  code: 'engine-error',
  message:
    "the model's scores are not numbers: its weights, or what they make of this image and prompt, leave the range of its number format; compile with --weights fp32",
}

/** Why there is no answer behind a prefix: with scores that are no numbers, the first token would pass for the likeliest. */
export function prefixFailure({ lastLogits }: Prefix): Failure | undefined {
  return areNumbers(lastLogits) ? undefined : notNumbers
}

/**
 * Whether the scores of a row [V] are numbers. One will do: of a hidden state that has left the range of its format the
 * norm before the head makes NaN throughout, and looking at all of many rows costs a step a hundredth of its time.
 */
export function areNumbers(logits: Float32Array): boolean {
  return !Number.isNaN(logits[0])
}

/** Ends a sequence that no token can be chosen for. */
export function failNotNumbers(sequence: Sequence): void {
  if (sequence.finishReason !== undefined) return
  sequence.finishReason = 'length'
  sequence.failure = notNumbers
}

/** Whether its next token is the likeliest, whatever came before: then a graph can choose it. */
export function takesLikeliest({ sampling, follower }: Sequence): boolean {
  return sampling.temperature === 0 && sampling.repetitionPenalty === 1 && follower === undefined
}

/** Tokens that the sequence may still come to. */
export function tokensLeft({ maxNewTokens, answer }: Sequence): number {
  return maxNewTokens - answer.length
}

/** Gives the sequence its next token by logits, or ends it. */
export function extendAnswer(sequence: Sequence, logits: Float32Array): void {
  if (sequence.finishReason !== undefined) return
  if (!areNumbers(logits)) return failNotNumbers(sequence)
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
  if (logits[token] === Infinity) return failNotNumbers(sequence)
  follower?.advance(token)
  acceptToken(sequence, token)
}

/** Takes a token that was chosen for the sequence. */
export function acceptToken(sequence: Sequence, token: number): void {
  if (sequence.finishReason !== undefined) return
  const { answer, stopIds } = sequence
  if (stopIds.includes(token)) {
    sequence.finishReason = 'stop'
    return
  }
  answer.push(token)
  if (answer.length >= sequence.maxNewTokens) sequence.finishReason = 'length'
  else sequence.pending.push({ tokenId: token, position: sequence.nextPosition })
  sequence.nextPosition += 1
}
