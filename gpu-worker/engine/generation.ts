// Answers several token sequences behind one shared prefix: plan a step, run it, commit it, until all have stopped.
// Deals in token ids only.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Sampling } from '../../schemas/sampling.ts'
import type { Decoder } from './decoder.ts'
import { type Follower, largestAllowed, maskLogits } from './constraint.ts'
import { SuffixCache } from './kv-cache.ts'
import type { PrefixRows } from './kv-cache.ts'
import { chooseToken, seededRandom } from './sampler.ts'
import { planStep, stepMask } from './scheduler.ts'
import type { PendingToken, StepPlan } from './scheduler.ts'

export type SequenceRequest = {
  /** Text tokens behind the prefix; none where the model speaks right after the image (base checkpoints caption so). */
  tokenIds: readonly number[]
  /** One a token; counted on from the prefix where not given. The answer counts on from the last. */
  positionIds?: readonly number[]
  maxNewTokens: number
  sampling: Sampling
  /** Tokens that end the answer; empty to go on until maxNewTokens. */
  stopIds: readonly number[]
  /** Follows the answer where it has a form. */
  follower?: Follower | undefined
}

export type SequenceResult = { tokenIds: number[]; finishReason: 'stop' | 'length' }

type Sequence = SequenceRequest & {
  id: number
  pending: PendingToken[]
  nextPosition: number
  answer: number[]
  finishReason: 'stop' | 'length' | undefined
  random: () => number
}

/** What the sequences share: the cache rows of bos and image, and what follows them. */
export type Prefix = {
  rows: PrefixRows
  /** Position of the first text token. */
  nextPosition: number
  /** Logits [V] of the last row, for an answer that starts right there. */
  lastLogits: Float32Array
}

/**
 * Generates all sequences together. Each gets the tokens it would get alone.
 * Rejects with the signal's reason when it fires; between two steps other work of the thread gets its turn.
 */
export async function generate(
  decoder: Decoder,
  prefix: Prefix,
  { requests, signal }: { requests: readonly SequenceRequest[]; signal?: AbortSignal | undefined },
): Promise<SequenceResult[]> {
  const sequences = requests.map((request, id) => startSequence(request, id, prefix))
  const suffix = new SuffixCache(decoder.shape)
  for (const sequence of sequences.filter(({ pending }) => pending.length === 0))
    extend(sequence, prefix.lastLogits)
  for (;;) {
    const running = sequences.filter(({ finishReason }) => finishReason === undefined)
    if (running.length === 0) break
    signal?.throwIfAborted()
    const plan = planStep(running)
    const { logits, newRows } = await decoder.run({
      visionRows: new Float32Array(0),
      embeddedRows: new Float32Array(0),
      tokenIds: plan.rows.map(({ tokenId }) => tokenId),
      positionIds: plan.rows.map(({ position }) => position),
      logitRows: plan.logitRows,
      slots: [{ prefix: prefix.rows, rowCount: plan.rows.length }],
      suffix: suffix.rows,
      mask: stepMask({ rows: plan.rows, suffixOwners: suffix.owners }),
    })
    suffix.append(
      newRows,
      plan.rows.map(({ sequence }) => sequence),
    )
    commitStep({ plan, logits, sequences, suffix })
    await nextTurn()
  }
  return sequences.map(({ answer, finishReason }) => ({
    tokenIds: answer,
    finishReason: finishReason ?? 'length',
  }))
}

function startSequence(request: SequenceRequest, id: number, prefix: Prefix): Sequence {
  const { tokenIds, positionIds = tokenIds.map((_, index) => prefix.nextPosition + index) } = request
  return {
    ...request,
    id,
    pending: tokenIds.map((tokenId, index) => ({ tokenId, position: positionIds[index] ?? 0 })),
    nextPosition: (positionIds.at(-1) ?? prefix.nextPosition - 1) + 1,
    answer: [],
    finishReason: request.maxNewTokens === 0 ? 'length' : undefined,
    random: seededRandom(request.sampling.seed),
  }
}

/** Moves every sequence past the rows that were run, and gives those with logits their next token. */
function commitStep({
  plan,
  logits,
  sequences,
  suffix,
}: {
  plan: StepPlan
  logits: Float32Array
  sequences: readonly Sequence[]
  suffix: SuffixCache
}): void {
  for (const { sequence } of plan.rows) sequences[sequence]?.pending.shift()
  const vocabularySize = logits.length / Math.max(1, plan.logitRows.length)
  for (const [index, row] of plan.logitRows.entries()) {
    const sequence = sequences[plan.rows[row]?.sequence ?? -1]
    if (sequence === undefined) continue
    const own = logits.subarray(index * vocabularySize, (index + 1) * vocabularySize)
    extend(sequence, own)
    if (sequence.finishReason !== undefined) suffix.release(sequence.id)
  }
}

function extend(sequence: Sequence, logits: Float32Array): void {
  if (sequence.finishReason !== undefined) return
  const { sampling, tokenIds, answer, stopIds, random, follower } = sequence
  // Only the penalty looks back; without it a long answer need not be copied at every token.
  const seen = sampling.repetitionPenalty === 1 ? [] : [...tokenIds, ...answer]
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
  follower?.advance(token)
  if (stopIds.includes(token)) {
    sequence.finishReason = 'stop'
    return
  }
  answer.push(token)
  if (answer.length >= sequence.maxNewTokens) sequence.finishReason = 'length'
  else sequence.pending.push({ tokenId: token, position: sequence.nextPosition })
  sequence.nextPosition += 1
}
