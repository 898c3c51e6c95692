// Visual experts stored as low-rank additions: the compiled model against the plain loops over the merged checkpoint,
// and what it saves.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openTracedDecoder } from '../../cli/trace.ts'
import { traceSequence } from '../../gpu-worker/engine/trace.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import type { Target, WeightFormat } from '../../schemas/model-manifest.ts'
import {
  configOf,
  randomTensors,
  seededUniform,
  smallShape,
  writeCheckpoint,
} from '../helpers/random-checkpoint.ts'
import type { CheckpointShape, RandomTensor } from '../helpers/random-checkpoint.ts'
import { loadPlainModel, plainForward, plainGreedy } from './plain-model.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-low-rank-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const rank = 2
const first = { ...smallShape, hidden: 64, inner: 96 }
const second: CheckpointShape = {
  ...first,
  family: 'cogvlm2',
  kvHeads: 2,
  vision: { ...first.vision, patchSize: 7 },
}

type Tensors = Map<string, RandomTensor>

function isVisualExpert(name: string): boolean {
  return /vision_(expert_\w+|mlp\.\w+)\.weight$/.test(name)
}

function random(shape: [number, number], { seed, spread }: { seed: number; spread: number }): RandomTensor {
  const uniform = seededUniform(seed)
  return {
    shape,
    data: Float32Array.from({ length: shape[0] * shape[1] }, () => spread * (2 * uniform() - 1)),
  }
}

/** One half of a gated layer, which is whole in both forms. */
const keptWhole = 'model.layers.1.mlp.vision_mlp.gate_proj.weight'

/** The same model twice: visual experts as factors, and multiplied out into matrices. */
function twoForms(shape: CheckpointShape): { factored: Tensors; merged: Tensors } {
  const factored: Tensors = new Map()
  const merged: Tensors = new Map()
  const tensors = randomTensors(shape, 3)
  let seed = 11
  for (const [name, tensor] of tensors) {
    if (!isVisualExpert(name)) {
      factored.set(name, tensor)
      merged.set(name, tensor)
      continue
    }
    const [rows = 0, columns = 0] = tensor.shape
    const down = random([rank, columns], { seed: seed++, spread: 1 / Math.sqrt(columns) })
    const up = random([rows, rank], { seed: seed++, spread: 1 })
    const module = name.replace('.weight', '')
    const base = tensors.get(
      name.replace('vision_expert', 'language_expert').replace('vision_mlp', 'language_mlp'),
    )
    const whole = {
      shape: tensor.shape,
      data: multipliedOut(base?.data ?? new Float32Array(0), { down, up }),
    }
    merged.set(name, whole)
    if (name === keptWhole) factored.set(name, whole)
    else factored.set(`${module}.lora_A.weight`, down).set(`${module}.lora_B.weight`, up)
  }
  return { factored, merged }
}

/** W + B A, row by row. */
function multipliedOut(
  base: Float32Array,
  { down, up }: { down: RandomTensor; up: RandomTensor },
): Float32Array {
  const columns = down.shape[1] ?? 1
  return base.map((value, index) => {
    const [row, column] = [Math.floor(index / columns), index % columns]
    let sum = value
    for (let k = 0; k < rank; k++)
      sum += (up.data[row * rank + k] ?? NaN) * (down.data[k * columns + column] ?? NaN)
    return sum
  })
}

function sequence({ vocab, vision, family }: CheckpointShape): {
  pixels: Float32Array
  inputIds: number[]
  tokenTypeIds: number[]
} {
  const uniform = seededUniform(5)
  const placeholders = (vision.imageSize / vision.patchSize / (family === 'cogvlm2' ? 2 : 1)) ** 2 + 2
  const image = Array.from({ length: placeholders }, () => 0)
  const text = Array.from({ length: 9 }, () => 3 + Math.floor(uniform() * (vocab - 3)))
  return {
    pixels: Float32Array.from({ length: 3 * vision.imageSize ** 2 }, () => 4 * uniform() - 2),
    inputIds: [1, ...image, ...text],
    tokenTypeIds: [0, ...image.map(() => 1), ...text.map(() => 0)],
  }
}

describe.each([
  { name: 'first generation', shape: first },
  { name: 'second generation', shape: second },
])('low-rank visual experts, $name', ({ name, shape }) => {
  const folder = join(scratch, name.replace(' ', '-'))
  const { factored, merged } = twoForms(shape)
  writeCheckpoint(join(folder, 'factored'), { config: configOf(shape), tensors: factored })
  writeCheckpoint(join(folder, 'merged'), { config: configOf(shape), tensors: merged })

  const compile = async (form: 'factored' | 'merged', weights: WeightFormat, target: Target = 'cpu') => {
    const outFolder = join(folder, `${form}-${weights}`)
    return {
      outFolder,
      manifest: await compileModel({ checkpointFolder: join(folder, form), outFolder, weights, target }),
    }
  }
  const traced = async (outFolder: string) => {
    const decoder = await openTracedDecoder(outFolder)
    try {
      return await traceSequence(decoder, { ...sequence(shape), maxNewTokens: 8 })
    } finally {
      await decoder.close()
    }
  }

  it('fp32 says token for token what the plain loops say over the merged matrices', async () => {
    const { outFolder } = await compile('factored', 'fp32')
    const plain = await loadPlainModel(join(folder, 'merged'))
    const greedy = plainGreedy(plain, sequence(shape), 8)
    expect(greedy.margin).toBeGreaterThan(1e-3)
    const { greedyIds, lastLogits } = await traced(outFolder)
    expect(greedyIds).toEqual(greedy.ids)
    expect(largestGap(lastLogits, plainForward(plain, sequence(shape)).lastLogits)).toBeLessThan(1e-5)
    // The factors change the answer: with the language expert alone it would be another one.
    const bare = new Map(
      [...factored].map(([key, tensor]) => [key, key.includes('lora_B') ? zeros(tensor) : tensor]),
    )
    writeCheckpoint(join(folder, 'bare'), { config: configOf(shape), tensors: bare })
    await compileModel({
      checkpointFolder: join(folder, 'bare'),
      outFolder: join(folder, 'bare-out'),
      weights: 'fp32',
    })
    expect((await traced(join(folder, 'bare-out'))).greedyIds).not.toEqual(greedy.ids)
  })

  it('fp32 keeps the factors and no matrix of the visual expert', async () => {
    const bytes = { factored: 0, merged: 0 }
    for (const form of ['factored', 'merged'] as const)
      bytes[form] = decoderBytes((await compile(form, 'fp32')).manifest)
    const experts = [...merged]
      .filter(([key]) => isVisualExpert(key) && key !== keptWhole)
      .map(([, tensor]) => tensor)
    const saved = experts.reduce(
      (sum, { shape: [rows = 0, columns = 0] }) => sum + 4 * (rows * columns - rank * (rows + columns)),
      0,
    )
    // Weights start on pages of their own: each of the expert's five products a layer may pad one page more or less.
    expect(Math.abs(bytes.merged - bytes.factored - saved)).toBeLessThan(
      4096 * 5 * shape.layers + 64 * experts.length,
    )
    expect(saved).toBeGreaterThan(4 * 4096 * 4 * shape.layers)
    expect(bytes.factored).toBeLessThan(0.75 * bytes.merged)
  })

  it.each([
    { target: 'cpu', weights: 'int8', most: 0.08 },
    { target: 'cpu', weights: 'int4', most: 0.6 },
    { target: 'webgpu', weights: 'fp16', most: 0.02 },
  ] as const)(
    '$weights for $target shares the stored matrix of the language expert',
    async ({ target, weights, most }) => {
      const { outFolder, manifest } = await compile('factored', weights, target)
      const plain = await loadPlainModel(join(folder, 'merged'))
      const { lastLogits } = await traced(outFolder)
      expect(largestGap(lastLogits, plainForward(plain, sequence(shape)).lastLogits)).toBeLessThan(most)
      expect(decoderBytes(manifest)).toBeLessThan(
        decoderBytes((await compile('merged', weights, target)).manifest),
      )
      const names = manifest.quantized.map((matrix) => matrix.name)
      expect(new Set(names).size).toBe(names.length)
    },
  )
})

function decoderBytes({ files }: { files: readonly { name: string; bytes: number }[] }): number {
  return files.find(({ name }) => name === 'decoder.weights')?.bytes ?? NaN
}

function zeros({ shape, data }: RandomTensor): RandomTensor {
  return { shape, data: new Float32Array(data.length) }
}

function largestGap(seen: ArrayLike<number>, expected: Float64Array): number {
  expect(seen.length).toBe(expected.length)
  return (
    Math.max(...expected.map((value, index) => Math.abs(value - (seen[index] ?? NaN)))) /
    Math.max(1, ...expected.map(Math.abs))
  )
}

describe('a checkpoint with factors that do not fit', () => {
  const module = 'model.layers.0.mlp.vision_mlp.gate_proj'
  const { factored, merged } = twoForms(first)
  const without = (key: string): Tensors => new Map([...factored].filter(([name]) => name !== key))
  it.each([
    {
      name: 'an A without its B',
      tensors: without(`${module}.lora_B.weight`),
      says: /1 missing: model\.layers\.0\.mlp\.vision_mlp\.gate_proj\.lora_B\.weight \[96, 2\]/,
    },
    {
      name: 'factors beside the matrix they would replace',
      tensors: new Map([...factored, ...[...merged].filter(([key]) => key === `${module}.weight`)]),
      says: /2 unexpected: .*lora_A/,
    },
    {
      name: 'a B of another rank',
      tensors: new Map(factored).set(`${module}.lora_B.weight`, random([96, 3], { seed: 1, spread: 1 })),
      says: /lora_B\.weight is \[96, 3\], expected \[96, 2\]/,
    },
  ])('$name is refused', async ({ name, tensors, says }) => {
    const folder = join(scratch, name.replaceAll(/\W/g, '-'))
    writeCheckpoint(folder, { config: configOf(first), tensors })
    await expect(compileModel({ checkpointFolder: folder, outFolder: `${folder}-out` })).rejects.toThrow(says)
  })
})
