// What a user may rely on whatever runs beside it: text is the base model's, an answer does not depend on the cache,
// on the batch or on what was forked from where. HOUSE invariants 3 and 4, on compiled models and token for token.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBatch } from '../../gpu-worker/engine/batch.ts'
import type { OpenPrefix } from '../../gpu-worker/engine/batch.ts'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { causalMask } from '../../gpu-worker/engine/attention-mask.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import type { Prefix, SequenceRequest } from '../../gpu-worker/engine/sequence.ts'
import { emptyRows } from '../../gpu-worker/engine/kv-cache.ts'
import { imagePositions, imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import { maxRowsPerStep } from '../../gpu-worker/engine/scheduler.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import type { Sampling } from '../../schemas/sampling.ts'
import type { WeightFormat } from '../../schemas/model-manifest.ts'
import {
  bothGenerations as shapes,
  configOf,
  randomTensors,
  seededUniform,
  smallShape,
  writeCheckpoint,
} from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-invariants-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const visionTensor = /vision/

/** Compiles the shape's model; its language tensors come from seed 1, everything visual from `visionSeed`. */
async function compiled({
  name,
  weights,
  visionSeed,
}: {
  name: string
  weights: WeightFormat
  visionSeed: number
}): Promise<Decoder> {
  const shape = shapes[name] ?? smallShape
  const [language, vision] = [randomTensors(shape, 1), randomTensors(shape, visionSeed)]
  const tensors = new Map(
    [...language].map(([tensor, value]) => [
      tensor,
      visionTensor.test(tensor) ? (vision.get(tensor) ?? value) : value,
    ]),
  )
  const folder = join(scratch, `${name}-${weights}-${visionSeed}`)
  writeCheckpoint(join(folder, 'checkpoint'), { config: configOf(shape), tensors })
  await compileModel({
    checkpointFolder: join(folder, 'checkpoint'),
    outFolder: join(folder, 'model'),
    weights,
  })
  return openDecoder(await openCompiledModel(join(folder, 'model')))
}

/** Different texts of different lengths, the same in every run. */
function prompts(count: number, vocabulary: number): number[][] {
  const uniform = seededUniform(11)
  return Array.from({ length: count }, (_, index) =>
    Array.from({ length: 3 + ((index * 5) % 17) }, () => 3 + Math.floor(uniform() * (vocabulary - 3))),
  )
}

function request(
  tokenIds: readonly number[],
  maxNewTokens: number,
  sampling: Sampling = greedySampling,
): SequenceRequest {
  return { tokenIds, maxNewTokens, sampling, stopIds: [] }
}

async function alone(decoder: Decoder, prefix: Prefix, one: SequenceRequest): Promise<number[]> {
  const [result] = await generate(decoder, prefix, { requests: [one] })
  return result?.tokenIds ?? []
}

function pixelsOf(decoder: Decoder, seed: number): Float32Array {
  const uniform = seededUniform(seed)
  return Float32Array.from(
    { length: 3 * decoder.compiled.manifest.vision.imageSize ** 2 },
    () => 4 * uniform() - 2,
  )
}

/** Logits of the last row with nothing cached but bos: image rows and text in one run. */
async function uncachedLogits(
  decoder: Decoder,
  { bos, features, tokenIds }: { bos: Prefix; features: Float32Array | null; tokenIds: readonly number[] },
): Promise<Float32Array> {
  const { patchRows, hiddenSize } = decoder.compiled.manifest.vision
  const cut = (patchRows + 1) * hiddenSize
  const image = features === null ? [] : imagePositions(patchRows)
  const start = features === null ? 1 : 4
  const positionIds = [...image, ...tokenIds.map((_, index) => start + index)]
  const { logits } = await decoder.run({
    visionRows: features?.subarray(0, cut) ?? new Float32Array(0),
    embeddedRows: features?.subarray(cut) ?? new Float32Array(0),
    tokenIds,
    positionIds,
    logitRows: [positionIds.length - 1],
    slots: [{ prefix: bos.rows, rowCount: positionIds.length }],
    suffix: emptyRows(decoder.shape),
    mask: causalMask(positionIds.length),
  })
  return Float32Array.from(logits)
}

/** Gap between the two largest. */
function marginOf(logits: Float32Array): number {
  const [first = 0, second = 0] = Float32Array.from(logits).sort().toReversed()
  return first - second
}

/**
 * Two ways to the same tokens. They may part only where the model itself has no opinion: a tie is a margin under ten
 * times the noise between two ways to compute the same logits. After a tie the rest cannot be compared.
 */
type Comparison = { compared: number; ties: number }

async function compare(
  decoder: Decoder,
  {
    seen,
    expected,
    noise,
    logitsAfter,
  }: {
    seen: number[]
    expected: number[]
    noise: number
    logitsAfter: (answer: readonly number[]) => Promise<Float32Array>
  },
): Promise<Comparison> {
  const at = expected.findIndex((token, index) => seen[index] !== token)
  if (at === -1) {
    expect(seen).toEqual(expected)
    return { compared: expected.length, ties: 0 }
  }
  const margin = marginOf(await logitsAfter(expected.slice(0, at)))
  expect(
    margin,
    `token ${at} differs (${seen[at]} for ${expected[at]}) and is no tie; ${decoder.compiled.manifest.weights}`,
  ).toBeLessThan(10 * noise)
  return { compared: at + 1, ties: 1 }
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((largest, value, index) => Math.max(largest, Math.abs(value - (b[index] ?? NaN))), 0)
}

const formats = Object.keys(shapes).flatMap((name) =>
  (['fp32', 'int8'] as const).map((weights) => ({ name, weights })),
)

describe.each(formats)('$name generation in $weights', ({ name, weights }) => {
  let decoder: Decoder
  let bos: Prefix
  let features: Float32Array
  let image: Prefix
  let noise = 0
  const total: Comparison = { compared: 0, ties: 0 }

  beforeAll(async () => {
    decoder = await compiled({ name, weights, visionSeed: 2 })
    bos = await textPrefix(decoder)
    features = Float32Array.from(await decoder.encodeImage(pixelsOf(decoder, 1)))
    image = await imagePrefix(decoder, bos, pixelsOf(decoder, 1))
  })
  afterAll(async () => {
    await decoder.close()
    console.info(
      `${name} ${weights}: ${total.ties} ties in ${total.compared} tokens, noise floor ${noise.toExponential(1)}`,
    )
    // A tie is an accident. More than one in a hundred tokens is something else.
    expect(total.ties).toBeLessThanOrEqual(total.compared / 100)
  })

  const imageOf = (seed: number): Promise<Prefix> => imagePrefix(decoder, bos, pixelsOf(decoder, seed))

  const check = async (tokenIds: readonly number[], seen: number[], expected: number[]): Promise<void> => {
    const logitsAfter = (answer: readonly number[]): Promise<Float32Array> =>
      uncachedLogits(decoder, { bos, features, tokenIds: [...tokenIds, ...answer] })
    const { compared, ties } = await compare(decoder, { seen, expected, noise, logitsAfter })
    total.compared += compared
    total.ties += ties
  }

  it('a forked prefix gives the logits of a prefill of everything together, up to noise', async () => {
    for (const tokenIds of prompts(6, decoder.compiled.manifest.language.vocabSize)) {
      const { logits } = await decoder.run({
        visionRows: new Float32Array(0),
        embeddedRows: new Float32Array(0),
        tokenIds,
        positionIds: tokenIds.map((_, index) => 4 + index),
        logitRows: [tokenIds.length - 1],
        slots: [{ prefix: image.rows, rowCount: tokenIds.length }],
        suffix: emptyRows(decoder.shape),
        mask: causalMask(tokenIds.length),
      })
      const whole = await uncachedLogits(decoder, { bos, features, tokenIds })
      noise = Math.max(noise, largestDifference(Float32Array.from(logits), whole))
      expect(largestDifference(Float32Array.from(logits), whole)).toBeLessThan(
        weights === 'fp32' ? 1e-4 : 2e-2,
      )
    }
  })

  it('cached decoding gives the tokens of running everything again for each', async () => {
    for (const tokenIds of prompts(3, decoder.compiled.manifest.language.vocabSize)) {
      const uncached: number[] = []
      while (uncached.length < 12) {
        const logits = await uncachedLogits(decoder, { bos, features, tokenIds: [...tokenIds, ...uncached] })
        uncached.push(logits.indexOf(Math.max(...logits)))
      }
      await check(tokenIds, await alone(decoder, image, request(tokenIds, 12)), uncached)
    }
  })

  it('a batch gives what each prompt gives alone, while others end early and their slots are taken again', async () => {
    const texts = prompts(12, decoder.compiled.manifest.language.vocabSize)
    const lengths = texts.map((_, index) => (index % 3 === 0 ? 1 : index % 3 === 1 ? 5 : 30))
    const requests = texts.map((tokenIds, index) => request(tokenIds, lengths[index] ?? 1))
    const together = await generate(decoder, image, { requests })
    for (const [index, one] of requests.entries()) {
      const single = await alone(decoder, image, one)
      expect(single).toHaveLength(lengths[index] ?? 1)
      await check(one.tokenIds, together[index]?.tokenIds ?? [], single)
    }
  })

  it('a stop token ends its own sequence and no other', async () => {
    const texts = prompts(4, decoder.compiled.manifest.language.vocabSize)
    const free = await generate(decoder, image, { requests: texts.map((tokenIds) => request(tokenIds, 12)) })
    const stop = free[1]?.tokenIds[4] ?? -1
    const requests = texts.map((tokenIds, index) => ({
      ...request(tokenIds, 12),
      stopIds: index === 1 ? [stop] : [],
    }))
    const stopped = await generate(decoder, image, { requests })
    const end = free[1]?.tokenIds.indexOf(stop) ?? -1
    expect(stopped[1]).toEqual({ tokenIds: free[1]?.tokenIds.slice(0, end), finishReason: 'stop' })
    for (const index of [0, 2, 3]) {
      expect(stopped[index]?.finishReason).toBe('length')
      await check(texts[index] ?? [], stopped[index]?.tokenIds ?? [], free[index]?.tokenIds ?? [])
    }
  })

  it('a prompt that takes two steps gives what one run of it gives', async () => {
    const uniform = seededUniform(3)
    const tokenIds = Array.from({ length: maxRowsPerStep + 60 }, () => 3 + Math.floor(uniform() * 300))
    const logits = await uncachedLogits(decoder, { bos, features, tokenIds })
    const companion = request(prompts(1, 300)[0] ?? [], 6)
    const results = await generate(decoder, image, { requests: [companion, request(tokenIds, 1), companion] })
    await check(tokenIds, results[1]?.tokenIds ?? [], [logits.indexOf(Math.max(...logits))])
    const single = await alone(decoder, image, companion)
    for (const index of [0, 2]) await check(companion.tokenIds, results[index]?.tokenIds ?? [], single)
  })

  it('an empty prompt is answered right behind the image, as base checkpoints caption', async () => {
    const answer = await alone(decoder, image, request([], 6))
    const logits = await uncachedLogits(decoder, { bos, features, tokenIds: [] })
    expect(answer[0]).toBe(logits.indexOf(Math.max(...logits)))
    // The rest is what the same tokens give as a prompt.
    expect(await alone(decoder, image, request(answer.slice(0, 3), 3))).toEqual(answer.slice(3))
    const beside = await generate(decoder, image, { requests: [request([5, 6], 4), request([], 6)] })
    expect(beside[1]?.tokenIds).toEqual(answer)
  })

  it('an answer that starts right behind the image is the same beside others', async () => {
    const bare = request([], 12)
    const [first = [], second = []] = prompts(2, 300)
    const single = await alone(decoder, image, bare)
    expect(single).toHaveLength(12)
    const together = await generate(decoder, image, {
      requests: [request(first, 4), bare, request(second, 20)],
    })
    await check([], together[1]?.tokenIds ?? [], single)
  })

  it('prompts of several images in the same steps give what each gives alone', async () => {
    const images = [image, ...(await Promise.all([2, 3, 4, 5].map((seed) => imageOf(seed))))]
    const batch = createBatch(decoder, { limitBytes: Infinity, rowBytes: 1, longestRows: 0 })
    const texts = prompts(10, 300)
    const asked = images.map((prefix, index) => ({
      prefix,
      requests: texts.slice(2 * index, 2 * index + 2).map((tokenIds) => request(tokenIds, 6 + 4 * index)),
    }))
    // Text without an image beside them: its prefix has another length.
    asked.push({ prefix: bos, requests: [request(texts[0] ?? [], 9)] })
    const answers = await Promise.all(asked.map(({ prefix, requests }) => batch.generate(prefix, requests)))
    for (const [index, { prefix, requests }] of asked.entries()) {
      for (const [at, one] of requests.entries()) {
        const single = await alone(decoder, prefix, one)
        const seen = answers[index]?.[at]?.tokenIds ?? []
        if (prefix === image) await check(one.tokenIds, seen, single)
        else
          expect(seen.filter((token, place) => token !== single[place]).length).toBeLessThanOrEqual(
            weights === 'fp32' ? 0 : 6,
          )
      }
    }
  })

  it('a cancelled call leaves the steps, and those beside it do not notice', async () => {
    const batch = createBatch(decoder, { limitBytes: Infinity, rowBytes: 1, longestRows: 0 })
    const [first = [], second = []] = prompts(2, 300)
    const controller = new AbortController()
    const stays = batch.generate(image, [request(first, 20)])
    const leaves = batch.generate(image, [request(second, 1000)], controller.signal)
    setTimeout(() => controller.abort(new Error('no longer wanted')), 30)
    await expect(leaves).rejects.toThrow('no longer wanted')
    await check(first, (await stays)[0]?.tokenIds ?? [], await alone(decoder, image, request(first, 20)))
    await batch.idle()
  })

  it('images wait for room in the cache and are opened when another is closed', async () => {
    const batch = createBatch(decoder, { limitBytes: 250, rowBytes: 1, longestRows: 50 })
    const opened: number[] = []
    const open = async (seed: number): Promise<OpenPrefix> => {
      const one = await batch.open(() => imageOf(seed), 100)
      opened.push(seed)
      return one
    }
    const [a, b, c] = [open(1), open(2), open(3)]
    const first = await a
    await b
    await wait(20)
    expect(opened).toEqual([1, 2])
    const answer = await batch.generate(first.prefix, [request([5, 6], 4)])
    expect(answer[0]?.tokenIds).toHaveLength(4)
    expect(opened).toEqual([1, 2])
    first.close()
    await c
    expect(opened).toEqual([1, 2, 3])
  })

  it('two images do not know of each other', async () => {
    const other = await imagePrefix(decoder, bos, pixelsOf(decoder, 2))
    const again = await imagePrefix(decoder, bos, pixelsOf(decoder, 1))
    const [tokenIds = []] = prompts(1, 300)
    const first = await alone(decoder, image, request(tokenIds, 16))
    expect(await alone(decoder, other, request(tokenIds, 16))).not.toEqual(first)
    expect(await alone(decoder, again, request(tokenIds, 16))).toEqual(first)
  })

  it('sampling: the same seed gives the same text whatever runs beside it, another seed another text', async () => {
    const [tokenIds = [], ...others] = prompts(6, 300)
    const sampled = (seed: number): SequenceRequest =>
      request(tokenIds, 24, { temperature: 1.5, topK: 50, topP: 0.95, repetitionPenalty: 1.1, seed })
    const first = await alone(decoder, image, sampled(7))
    expect(await alone(decoder, image, sampled(7))).toEqual(first)
    expect(await alone(decoder, image, sampled(8))).not.toEqual(first)
    const company = others.map((text, index) => ({
      ...sampled(index),
      tokenIds: text,
      maxNewTokens: 3 + 6 * index,
    }))
    const asked = [...company, sampled(7), sampled(8)]
    const together = await generate(decoder, image, { requests: asked })
    // In int8 a byte may round the other way where attention sums in another order, and a draw notices.
    const expected =
      weights === 'fp32' ? first : (await generate(decoder, image, { requests: asked })).at(-2)?.tokenIds
    expect(together.at(-2)?.tokenIds).toEqual(expected)
  })
})

describe.each(formats)('text alone: $name generation in $weights', ({ name, weights }) => {
  it('gives the same logits bit for bit whatever the vision weights hold', async () => {
    const logits: Uint8Array[][] = []
    const answers: number[][] = []
    for (const visionSeed of [2, 3]) {
      const decoder = await compiled({ name, weights, visionSeed })
      const bos = await textPrefix(decoder)
      const vocabulary = decoder.compiled.manifest.language.vocabSize
      const own: Uint8Array[] = []
      for (const tokenIds of prompts(4, vocabulary)) {
        own.push(new Uint8Array((await uncachedLogits(decoder, { bos, features: null, tokenIds })).buffer))
        answers.push(await alone(decoder, bos, request(tokenIds, 10)))
      }
      logits.push(own)
      // The two models are really different ones: their image rows are.
      answers.push([...(await decoder.encodeImage(pixelsOf(decoder, 1)))])
      await decoder.close()
    }
    expect(logits[1]).toEqual(logits[0])
    expect(answers.slice(5, 9)).toEqual(answers.slice(0, 4))
    expect(answers[9]).not.toEqual(answers[4])
  })
})

describe.each(formats)('an image cached in bytes: $name generation in $weights', ({ name, weights }) => {
  it('gives nearly the logits of one cached in float32, alone and beside another image', async () => {
    const decoder = await compiled({ name, weights, visionSeed: 2 })
    const bytes = await openDecoder(decoder.compiled, { cacheFormat: 'int8' })
    const score = async (of: Decoder, tokenIds: readonly number[]): Promise<number[]> => {
      const bos = await textPrefix(of)
      const [first, second] = [
        await imagePrefix(of, bos, pixelsOf(of, 1)),
        await imagePrefix(of, bos, pixelsOf(of, 2)),
      ]
      const rowCount = tokenIds.length
      const blocks = Array.from({ length: 2 * rowCount }, (_, row) => Math.floor(row / rowCount))
      const { logits } = await of.run({
        visionRows: new Float32Array(0),
        embeddedRows: new Float32Array(0),
        tokenIds: [...tokenIds, ...tokenIds],
        positionIds: blocks.map((_, row) => 4 + (row % rowCount)),
        logitRows: [rowCount - 1, 2 * rowCount - 1],
        slots: [first, second].map(({ rows }) => ({ prefix: rows, rowCount })),
        suffix: emptyRows(of.shape),
        mask: Float32Array.from({ length: blocks.length ** 2 }, (_, at) => {
          const [row, other] = [Math.floor(at / blocks.length), at % blocks.length]
          return blocks[row] === blocks[other] && other <= row ? 0 : -1e30
        }),
      })
      return [...logits]
    }
    const tokenIds = prompts(2, 300)[1] ?? []
    const [exact, rounded] = [await score(decoder, tokenIds), await score(bytes, tokenIds)]
    const error = largestDifference(Float32Array.from(rounded), Float32Array.from(exact))
    expect(error).toBeGreaterThan(0)
    expect(error).toBeLessThan(0.1)
    await decoder.close()
    await bytes.close()
  })
})
