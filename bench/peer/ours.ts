// The same stages in this engine: tower, image prefill, steps of several prompts behind one image, and all of one image.
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import type { Prefix } from '../../gpu-worker/engine/sequence.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import { median } from '../engine/samples.ts'

export type Ours = {
  measureImage(): Promise<{ towerMs: number; prefillMs: number }>
  /** Milliseconds a step, the middle of `tokens` steps. */
  measureStep(count: number, tokens: number): Promise<number>
  /** Tower, prefill, prompts and answers of one image. */
  measureWhole(count: number, tokens: number): Promise<number>
  close(): Promise<void>
}

/** Tokens of each prompt; random, so that no two share anything. */
export const promptTokens = 40

/** Opens a compiled model and runs an image once, which is not counted. */
export async function openOurs(modelFolder: string): Promise<Ours> {
  const compiled = await openCompiledModel(modelFolder)
  const decoder = await openDecoder(compiled)
  const { vision, language } = compiled.manifest
  const random = seededRandom(7)
  const pixels = Float32Array.from({ length: 3 * vision.imageSize ** 2 }, () => random() * 3.6 - 1.8)
  const bos = await textPrefix(decoder)
  const prefix = await imagePrefix(decoder, bos, pixels)
  const answer = (one: Decoder, behind: Prefix, { count, tokens }: { count: number; tokens: number }) =>
    generate(one, behind, {
      requests: Array.from({ length: count }, () => ({
        tokenIds: Array.from(
          { length: promptTokens },
          () => 3 + Math.floor(random() * (language.vocabSize - 3)),
        ),
        maxNewTokens: tokens + 1,
        sampling: greedySampling,
        stopIds: [],
      })),
    })
  return {
    measureImage: async () => {
      const startMs = performance.now()
      const features = Float32Array.from(await decoder.encodeImage(pixels))
      const encodedMs = performance.now()
      await imagePrefix({ ...decoder, encodeImage: () => Promise.resolve(features) }, bos, pixels)
      return { towerMs: encodedMs - startMs, prefillMs: performance.now() - encodedMs }
    },
    measureStep: async (count, tokens) => {
      const { timed, steps } = timeSteps(decoder, count)
      await answer(timed, prefix, { count, tokens })
      return median(steps())
    },
    measureWhole: async (count, tokens) => {
      const startMs = performance.now()
      await answer(decoder, await imagePrefix(decoder, bos, pixels), { count, tokens })
      return performance.now() - startMs
    },
    close: () => decoder.close(),
  }
}

/** A step lasts from one run's start to the next one's, so it holds everything between; only full ones count. */
function timeSteps(decoder: Decoder, count: number): { timed: Decoder; steps: () => number[] } {
  const starts: { atMs: number; rows: number }[] = []
  const timed: Decoder = {
    ...decoder,
    run: (step) => {
      starts.push({ atMs: performance.now(), rows: step.positionIds.length })
      return decoder.run(step)
    },
  }
  const steps = (): number[] =>
    starts.flatMap(({ atMs, rows }, index) => {
      const next = starts[index + 1]
      return rows === count && next !== undefined ? [next.atMs - atMs] : []
    })
  return { timed, steps }
}
