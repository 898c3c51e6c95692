// What the engine's benches have it do, models of random weights being as fast as others: images of noise, prompts of
// random tokens, and how long the steps of a batch take.
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import type { SequenceRequest } from '../../gpu-worker/engine/sequence.ts'
import { greedySampling } from '../../schemas/sampling.ts'

/** An image as a tower takes it: [3, size, size], about as far from zero as normalised photographs. */
export function noisePixels(size: number, random = seededRandom(7)): Float32Array {
  return Float32Array.from({ length: 3 * size ** 2 }, () => random() * 3.6 - 1.8)
}

/** Greedy prompts of random tokens that end at no token. Each has one token more than steps, the prompt's own. */
export function randomPrompts({
  count,
  promptTokens,
  steps,
  vocabSize,
  random = seededRandom(3),
}: {
  count: number
  promptTokens: number
  steps: number
  vocabSize: number
  random?: () => number
}): SequenceRequest[] {
  return Array.from({ length: count }, () => ({
    tokenIds: Array.from({ length: promptTokens }, () => 3 + Math.floor(random() * (vocabSize - 3))),
    maxNewTokens: steps + 1,
    sampling: greedySampling,
    stopIds: [],
  }))
}

/**
 * A decoder that notes when its runs begin, and the milliseconds of those so far that had `rows` rows: from one run's
 * start to the next one's, so that they hold everything between.
 */
export function timeSteps(decoder: Decoder, rows: number): { timed: Decoder; steps: () => number[] } {
  const starts: { atMs: number; rows: number }[] = []
  const timed: Decoder = {
    ...decoder,
    run: (step) => {
      starts.push({ atMs: performance.now(), rows: step.positionIds.length })
      return decoder.run(step)
    },
  }
  const steps = (): number[] =>
    starts.flatMap((start, index) => {
      const next = starts[index + 1]
      return start.rows === rows && next !== undefined ? [next.atMs - start.atMs] : []
    })
  return { timed, steps }
}
