// The same stages in this engine: tower, image prefill, steps of several prompts behind one image, and all of one image.
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import { seededRandom } from '../../gpu-worker/engine/sampler.ts'
import { median } from '../engine/samples.ts'
import { noisePixels, randomPrompts, timeSteps } from '../engine/workload.ts'

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
  const pixels = noisePixels(vision.imageSize, random)
  const bos = await textPrefix(decoder)
  const prefix = await imagePrefix(decoder, bos, pixels)
  const { vocabSize } = language
  const prompts = (count: number, steps: number) =>
    randomPrompts({ count, promptTokens, steps, vocabSize, random })
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
      await generate(timed, prefix, { requests: prompts(count, tokens) })
      return median(steps())
    },
    measureWhole: async (count, tokens) => {
      const startMs = performance.now()
      const answered = await imagePrefix(decoder, bos, pixels)
      await generate(decoder, answered, { requests: prompts(count, tokens) })
      return performance.now() - startMs
    },
    close: () => decoder.close(),
  }
}
