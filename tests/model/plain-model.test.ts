// Compiled models against the plain-loops oracle, on random checkpoints of shapes that no released model has.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openTracedDecoder } from '../../cli/trace.ts'
import { traceSequence } from '../../gpu-worker/engine/trace.ts'
import type { Trace } from '../../gpu-worker/engine/trace.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import type { WeightFormat } from '../../schemas/model-manifest.ts'
import { seededUniform, smallShape, writeRandomCheckpoint } from '../helpers/random-checkpoint.ts'
import type { CheckpointShape, FloatType } from '../helpers/random-checkpoint.ts'
import { loadPlainModel, plainForward, plainGreedy } from './plain-model.ts'

const { vision } = smallShape
const second = { family: 'cogvlm2' as const, vision: { ...vision, imageSize: 28, patchSize: 7 } }

type Case = { name: string; shape: CheckpointShape; storedType: FloatType; shardCount: number }

const cases: Case[] = [
  { name: 'first generation, F32, one file', shape: smallShape, storedType: 'F32', shardCount: 1 },
  {
    name: 'one layer, one head of 2 x 11, patch 7',
    shape: {
      ...smallShape,
      hidden: 22,
      inner: 37,
      layers: 1,
      heads: 1,
      kvHeads: 1,
      vocab: 97,
      vision: { ...vision, width: 9, inner: 13, heads: 1, layers: 1, imageSize: 21, patchSize: 7 },
    },
    storedType: 'F16',
    shardCount: 1,
  },
  {
    name: 'heads of 2, odd tower heads, large epsilons',
    shape: {
      ...smallShape,
      hidden: 10,
      inner: 33,
      heads: 5,
      kvHeads: 5,
      epsilon: 1e-2,
      vocab: 53,
      vision: { ...vision, width: 15, heads: 3, imageSize: 15, patchSize: 5, epsilon: 1e-2 },
    },
    storedType: 'F32',
    shardCount: 2,
  },
  {
    name: 'second generation, 8 heads over 1, BF16 in 3 shards',
    shape: { ...smallShape, ...second, hidden: 48, heads: 8, kvHeads: 1, inner: 50, vocab: 101 },
    storedType: 'BF16',
    shardCount: 3,
  },
  {
    name: 'second generation, 6 heads over 3 of 2 x 5',
    shape: { ...smallShape, ...second, hidden: 60, heads: 6, kvHeads: 3, inner: 45, layers: 3, vocab: 211 },
    storedType: 'F16',
    shardCount: 2,
  },
  {
    name: 'second generation, a grid of 5 whose last row and column are left out',
    shape: {
      ...smallShape,
      family: 'cogvlm2',
      hidden: 32,
      heads: 4,
      kvHeads: 2,
      inner: 96,
      vision: { ...vision, imageSize: 35, patchSize: 7 },
    },
    storedType: 'F32',
    shardCount: 1,
  },
  {
    name: 'second generation, a grid of 2 that becomes one row',
    shape: {
      ...smallShape,
      family: 'cogvlm2',
      hidden: 32,
      heads: 4,
      kvHeads: 2,
      inner: 96,
      vision: { ...vision, imageSize: 14, patchSize: 7 },
    },
    storedType: 'F32',
    shardCount: 1,
  },
]

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-plain-'))
afterAll(() => rmSync(scratch, { recursive: true }))

function patchCount({ family, vision: tower }: CheckpointShape): number {
  return Math.floor(tower.imageSize / tower.patchSize / (family === 'cogvlm2' ? 2 : 1)) ** 2
}

/** bos, placeholders where there is an image, text. */
function sequence(
  shape: CheckpointShape,
  withImage: boolean,
  textCount = 9,
): { pixels: Float32Array | null; inputIds: number[]; tokenTypeIds: number[] } {
  const uniform = seededUniform(5)
  const placeholders = withImage ? patchCount(shape) + 2 : 0
  const text = Array.from({ length: textCount }, () => 3 + Math.floor(uniform() * (shape.vocab - 3)))
  return {
    pixels: withImage
      ? Float32Array.from({ length: 3 * shape.vision.imageSize ** 2 }, () => 4 * uniform() - 2)
      : null,
    inputIds: [1, ...Array.from({ length: placeholders }, () => 0), ...text],
    tokenTypeIds: [0, ...Array.from({ length: placeholders }, () => 1), ...text.map(() => 0)],
  }
}

type TraceOptions = {
  folder: string
  weights: WeightFormat
  shape: CheckpointShape
  withImage: boolean
  textCount?: number
}

async function trace({ folder, weights, shape, withImage, textCount = 9 }: TraceOptions): Promise<Trace> {
  const outFolder = join(folder, weights)
  if (!existsSync(outFolder))
    await compileModel({ checkpointFolder: join(folder, 'checkpoint'), outFolder, weights })
  const decoder = await openTracedDecoder(outFolder)
  try {
    return await traceSequence(decoder, { ...sequence(shape, withImage, textCount), maxNewTokens: 8 })
  } finally {
    await decoder.close()
  }
}

/** Largest difference over the size of the expected numbers. */
function relativeDifference(seen: ArrayLike<number>, expected: readonly Float64Array[]): number {
  const flat = expected.flatMap((row) => [...row])
  expect(seen.length).toBe(flat.length)
  const size = Math.max(1, ...flat.map(Math.abs))
  return Math.max(...flat.map((value, index) => Math.abs(value - (seen[index] ?? NaN)))) / size
}

describe.each(cases)('$name', ({ name, shape, storedType, shardCount }) => {
  const folder = join(scratch, name.replaceAll(/\W/g, '-'))
  writeRandomCheckpoint(join(folder, 'checkpoint'), shape, { seed: 3, storedType, shardCount })

  it.each([true, false])('fp32 equals the plain loops, image %s', async (withImage) => {
    const plain = await loadPlainModel(join(folder, 'checkpoint'))
    const traced = await trace({ folder, weights: 'fp32', shape, withImage })
    const expected = plainForward(plain, sequence(shape, withImage))
    const greedy = plainGreedy(plain, sequence(shape, withImage), 8)
    if (withImage)
      expect(relativeDifference(traced.imageFeatures ?? [], expected.imageFeatures)).toBeLessThan(1e-5)
    expect(relativeDifference(traced.hidden, expected.hidden.flat())).toBeLessThan(1e-5)
    expect(relativeDifference(traced.finalNorm, expected.finalNorm)).toBeLessThan(1e-5)
    expect(relativeDifference(traced.lastLogits, [expected.lastLogits])).toBeLessThan(1e-5)
    // The oracle itself is sure of every token here, so nothing but equality will do.
    expect(greedy.margin).toBeGreaterThan(1e-3)
    expect(traced.greedyIds).toEqual(greedy.ids)
  })

  it('fp32 answers right behind the image as the plain loops do', async () => {
    const plain = await loadPlainModel(join(folder, 'checkpoint'))
    const traced = await trace({ folder, weights: 'fp32', shape, withImage: true, textCount: 0 })
    const greedy = plainGreedy(plain, sequence(shape, true, 0), 8)
    expect(greedy.margin).toBeGreaterThan(1e-3)
    expect(traced.greedyIds).toEqual(greedy.ids)
  })

  it.each([
    { weights: 'int8', most: 0.08 },
    { weights: 'int4', most: 0.6 },
  ] as const)('$weights runs in this shape and stays near the plain loops', async ({ weights, most }) => {
    const plain = await loadPlainModel(join(folder, 'checkpoint'))
    const traced = await trace({ folder, weights, shape, withImage: true })
    const { lastLogits } = plainForward(plain, sequence(shape, true))
    expect(relativeDifference(traced.lastLogits, [lastLogits])).toBeLessThan(most)
  })
})
