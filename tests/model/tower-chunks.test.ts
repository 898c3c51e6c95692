// A tower of many positions runs its wide products for some of them at a time: the same numbers as all at once.
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { openCompiledModel } from '../../gpu-worker/engine/compiled-model.ts'
import { detectKernel } from '../../gpu-worker/engine/kernel.ts'
import { openCachedSession } from '../../gpu-worker/engine/prepacked.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import type { Target, WeightFormat } from '../../schemas/model-manifest.ts'
import { configOf, randomTensors, smallShape, writeCheckpoint } from '../helpers/random-checkpoint.ts'
import type { CheckpointShape } from '../helpers/random-checkpoint.ts'

/** 48 x 48 patches and cls: 2,305 positions, which is no multiple of anything. */
const shape: CheckpointShape = {
  ...smallShape,
  family: 'cogvlm2',
  kvHeads: 2,
  vision: { ...smallShape.vision, imageSize: 96, patchSize: 2 },
}
const scratch = mkdtempSync(join(tmpdir(), 'coglabel-chunks-'))

describe('2,305 positions', () => {
  let whole: Float32Array
  beforeAll(async () => {
    writeCheckpoint(join(scratch, 'checkpoint'), {
      config: configOf(shape),
      tensors: randomTensors(shape, 3),
    })
    // Graphs for a GPU are not cut; float32 ones run anywhere.
    whole = await features({ target: 'cuda', weights: 'fp32', cached: false })
    return () => rmSync(scratch, { recursive: true })
  })

  it.each([
    { weights: 'fp32', cached: false, error: 1e-6 },
    { weights: 'fp32', cached: true, error: 1e-6 },
    { weights: 'int8', cached: false, error: 0.02 },
    // Packed weights are read back although a loop uses them.
    { weights: 'int8', cached: true, error: 0.02 },
  ] as const)('give the same in $weights, packed before: $cached', async ({ weights, cached, error }) => {
    const cut = await features({ target: 'cpu', weights, cached })
    expect(cut).toHaveLength(whole.length)
    const [difference, size] = [distance(cut, whole), distance(whole, new Float32Array(whole.length))]
    expect(size).toBeGreaterThan(1)
    expect(difference / size).toBeLessThan(error)
  })

  it('are cut in the graph for the CPU only', () => {
    const loops = (target: Target): number =>
      readFileSync(join(scratch, `${target}-fp32`, 'vision.onnx'))
        .toString('latin1')
        .split('Loop').length - 1
    expect(loops('cuda')).toBe(0)
    expect(loops('cpu')).toBeGreaterThanOrEqual(shape.vision.layers)
  })
})

async function features({
  target,
  weights,
  cached,
}: {
  target: Target
  weights: WeightFormat
  cached: boolean
}): Promise<Float32Array> {
  const folder = join(scratch, `${target}-${weights}`)
  await compileModel({ checkpointFolder: join(scratch, 'checkpoint'), outFolder: folder, weights, target })
  const compiled = await openCompiledModel(folder)
  const minBytes = cached ? 0 : Number.MAX_SAFE_INTEGER
  const session = await openCachedSession(compiled, {
    graph: 'vision.onnx',
    threads: 1,
    minBytes,
    mustMap: cached,
  })
  const { imageSize } = shape.vision
  const pixels = Float32Array.from({ length: 3 * imageSize ** 2 }, (_, index) => Math.sin(index * 0.7))
  const { image_features: tensor } = await session.run(
    {
      pixels: { type: 'float32', data: pixels, dims: [1, 3, imageSize, imageSize] },
      ...(await detectKernel(compiled)).feeds,
    },
    ['image_features'],
  )
  await session.close()
  if (tensor?.type !== 'float32') throw new Error('no features')
  return tensor.data
}

function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, index) => sum + (value - (b[index] ?? 0)) ** 2, 0))
}
