// The graph for GPUs says what the CPU's says, token for token at fp32: several images at once, sequences that end and
// join. It runs on this CPU everywhere, and on WebGPU where the machine has one (software Vulkan will do).
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBatch } from '../../gpu-worker/engine/batch.ts'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../../gpu-worker/engine/decoder-contract.ts'
import { deviceProblem } from '../../gpu-worker/engine/device.ts'
import { DeviceSuffix } from '../../gpu-worker/engine/device-cache.ts'
import { generate } from '../../gpu-worker/engine/generation.ts'
import { imagePrefix, textPrefix } from '../../gpu-worker/engine/prefix.ts'
import type { SequenceRequest } from '../../gpu-worker/engine/sequence.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import type { Target } from '../../schemas/model-manifest.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import {
  bothGenerations,
  configOf,
  randomTensors,
  seededUniform,
  writeCheckpoint,
} from '../helpers/random-checkpoint.ts'

const webgpuProblem = await deviceProblem('webgpu')

/** Prompts of several lengths with answers of several lengths, so that rows leave and join in the middle. */
function requestsOf(seed: number, vocabulary: number): SequenceRequest[] {
  const uniform = seededUniform(seed)
  return [3, 9, 1, 5, 14].map((length, index) => ({
    tokenIds: Array.from({ length }, () => 3 + Math.floor(uniform() * (vocabulary - 3))),
    maxNewTokens: 2 + 3 * index,
    sampling: greedySampling,
    stopIds: [],
  }))
}

/** Two images and text without one, all in one batch; then the first image's prompts again behind it. */
async function answersOf(decoder: Decoder): Promise<number[][]> {
  const { imageSize } = decoder.compiled.manifest.vision
  const { vocabSize } = decoder.compiled.manifest.language
  const bos = await textPrefix(decoder)
  const batch = createBatch(decoder, { limitBytes: Infinity, rowBytes: 1, longestRows: 0 })
  const open = async (seed: number) => {
    const uniform = seededUniform(seed)
    const pixels = Float32Array.from({ length: 3 * imageSize ** 2 }, () => 4 * uniform() - 2)
    return await batch.open(() => imagePrefix(decoder, bos, pixels), 1)
  }
  const images = await Promise.all([open(1), open(2)])
  const prefixes = [...images.map(({ prefix }) => prefix), bos]
  const together = await Promise.all(
    prefixes.map(async (prefix, index) => await batch.generate(prefix, requestsOf(index, vocabSize))),
  )
  const [first] = images
  const again = await batch.generate(first.prefix, requestsOf(9, vocabSize))
  // One stops in the middle, one looks back at what it has said.
  const plain = { tokenIds: [7, 8, 9], maxNewTokens: 12, sampling: greedySampling, stopIds: [] }
  const [whole] = await batch.generate(first.prefix, [plain])
  const stopIds = whole?.tokenIds.slice(6, 7) ?? []
  const penalised = { ...greedySampling, repetitionPenalty: 1.3 }
  const others = await Promise.all([
    batch.generate(first.prefix, [{ ...plain, stopIds }]),
    batch.generate(bos, [{ ...plain, sampling: penalised }]),
  ])
  for (const image of images) image.close()
  await batch.idle()
  return [...together.flat(), ...again, ...others.flat()].map(({ tokenIds }) => tokenIds)
}

/** A decoder, and how far each of its steps went ahead. */
function countRuns(decoder: Decoder): { runs: number[]; counted: Decoder } {
  const runs: number[] = []
  const counted: Decoder = {
    ...decoder,
    run: (step) => {
      runs.push(step.ahead ?? 0)
      return decoder.run(step)
    },
  }
  return { runs, counted }
}

describe.each(Object.entries(bothGenerations))('the graph for GPUs of the %s generation', (_, shape) => {
  let folder: string
  let expected: number[][]

  const answer = async (target: Target, device: Target): Promise<number[][]> => {
    const decoder = await openDecoder(await openCompiledModel(join(folder, target)), { device })
    try {
      return await answersOf(decoder)
    } finally {
      await decoder.close()
    }
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'coglabel-gpu-graph-'))
    const checkpointFolder = join(folder, 'checkpoint')
    writeCheckpoint(checkpointFolder, { config: configOf(shape), tensors: randomTensors(shape, 1) })
    for (const target of ['cpu', 'cuda', 'webgpu'] as const)
      await compileModel({ checkpointFolder, outFolder: join(folder, target), target, weights: 'fp32' })
    expected = await answer('cpu', 'cpu')
  })

  afterAll(async () => await rm(folder, { recursive: true }))

  it.each(['cuda', 'webgpu'] as const)('compiled for %s, run by the CPU', async (target) => {
    expect(expected.slice(0, 20).flat().length).toBe(4 * (2 + 5 + 8 + 11 + 14))
    expect(expected[20]?.length).toBeLessThan(12)
    expect(await answer(target, 'cpu')).toEqual(expected)
  })

  // Where the cache cannot stay on the device it crosses the bus once for all of them.
  it('for cuda chooses many tokens a run, as many as all of its sequences can take', async () => {
    const decoder = await openDecoder(await openCompiledModel(join(folder, 'cuda')))
    const { runs, counted } = countRuns(decoder)
    const bos = await textPrefix(counted)
    const request = { tokenIds: [5], maxNewTokens: 40, sampling: greedySampling, stopIds: [] }
    const together = [request, { ...request, tokenIds: [6], maxNewTokens: 10 }]
    const answered = await generate(counted, bos, { requests: together })
    expect(answered.map(({ tokenIds }) => tokenIds.length)).toEqual([40, 10])
    expect(runs).toEqual([9, 16, 12])
    await decoder.close()
  })

  it('goes one token a run, and says so, where the runtime does not take the graph that goes ahead', async () => {
    const broken = join(folder, 'broken')
    await cp(join(folder, 'cuda'), broken, { recursive: true })
    const compiled = await openCompiledModel(broken)
    await writeFile(join(broken, 'decoder-ahead.onnx'), 'no graph')
    const decoder = await openDecoder(compiled)
    expect(decoder).toMatchObject({
      maxAhead: 0,
      notice: expect.stringMatching(/^decoder-ahead\.onnx .*tokens come one a run/),
    })
    expect(await answersOf(decoder)).toEqual(expected)
    await decoder.close()
  })

  it.skipIf(webgpuProblem !== null)(
    'run by WebGPU, without a node on the CPU',
    async () => {
      expect(await answer('webgpu', 'webgpu')).toEqual(expected)
    },
    600_000,
  )
})

describe('a suffix on a device', () => {
  const shape = { layerCount: 1, kvHeadCount: 1, headDim: 2 }
  const grown = (length: number) => ({ format: 'device' as const, length, keys: [], values: [] })

  it('keeps the slots of those that go on, and forgets all when nobody does', () => {
    const suffix = new DeviceSuffix(shape)
    expect(suffix.rows.kept).toEqual([])
    suffix.append(grown(3), [7, 7, 8])
    expect(suffix.owners).toEqual([7, 7, 8])
    suffix.release(7)
    expect(suffix.rows.kept).toEqual([3])
    expect(suffix.owners).toEqual([8])
    suffix.append(grown(2), [9])
    expect(suffix.owners).toEqual([8, 9])
    suffix.release(8)
    suffix.release(9)
    expect(suffix.rows).toMatchObject({ length: 0, kept: [] })
  })

  it('takes no rows but those that its graph has grown for it', () => {
    const suffix = new DeviceSuffix(shape)
    expect(() => suffix.append(grown(2), [1])).toThrow('the suffix has 2 rows, expected 1')
    expect(() => suffix.append({ length: 1, keys: [], values: [] }, [1])).toThrow('grown by its graph')
  })
})
