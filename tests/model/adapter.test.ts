// A LoRA adapter merged while weights are read: W + alpha / r B A, computed here by hand.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../gpu-worker/model/checkpoint.ts'
import { compileModel } from '../../gpu-worker/model/compile.ts'
import { UserError } from '../../schemas/errors.ts'
import {
  configOf,
  encodeTensors,
  randomTensors,
  seededUniform,
  smallShape,
  writeCheckpoint,
} from '../helpers/random-checkpoint.ts'
import type { FloatType, RandomTensor } from '../helpers/random-checkpoint.ts'

const scratch = mkdtempSync(join(tmpdir(), 'coglabel-adapter-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const tensors = randomTensors(smallShape, 1)
const checkpointFolder = join(scratch, 'checkpoint')
writeCheckpoint(checkpointFolder, { config: configOf(smallShape), tensors, shardCount: 2 })

const target = 'model.layers.1.self_attn.vision_expert_query_key_value'
const other = 'model.layers.0.mlp.language_mlp.up_proj'
const rank = 3

function random(shape: number[], seed: number): RandomTensor {
  const uniform = seededUniform(seed)
  return {
    shape,
    data: Float32Array.from({ length: (shape[0] ?? 0) * (shape[1] ?? 0) }, () => uniform() - 0.5),
  }
}

/** A and B of each module, of the sizes that fit the checkpoint. */
function factors(modules: readonly string[]): Map<string, RandomTensor> {
  return new Map(
    modules.flatMap((module, index) => {
      const [rows = 0, columns = 0] = tensors.get(`${module}.weight`)?.shape ?? [4, 4]
      return [
        [`base_model.model.${module}.lora_A.weight`, random([rank, columns], 2 * index + 1)],
        [`base_model.model.${module}.lora_B.weight`, random([rows, rank], 2 * index + 2)],
      ]
    }),
  )
}

let folderCount = 0

function adapterFolder({
  config = {},
  weights = factors([target, other]),
  storedType = 'F32',
}: {
  config?: Record<string, unknown>
  weights?: Map<string, RandomTensor>
  storedType?: FloatType
}): string {
  const folder = join(scratch, `adapter-${folderCount++}`)
  mkdirSync(folder)
  writeFileSync(
    join(folder, 'adapter_config.json'),
    JSON.stringify({
      peft_type: 'LORA',
      r: rank,
      lora_alpha: 12,
      target_modules: ['x'],
      bias: 'none',
      use_dora: false,
      rank_pattern: {},
      ...config,
    }),
  )
  writeFileSync(join(folder, 'adapter_model.safetensors'), encodeTensors(weights, storedType))
  return folder
}

/** W + scale B A in float64. */
function merged(module: string, weights: Map<string, RandomTensor>, scale: number): number[] {
  const base = tensors.get(`${module}.weight`)
  const [down, up] = ['A', 'B'].map(
    (side) => weights.get(`base_model.model.${module}.lora_${side}.weight`)?.data ?? new Float32Array(0),
  )
  const columns = base?.shape[1] ?? 1
  return [...(base?.data ?? [])].map((value, index) => {
    const [row, column] = [Math.floor(index / columns), index % columns]
    let sum = value
    for (let k = 0; k < rank; k++)
      sum += scale * (up?.[row * rank + k] ?? NaN) * (down?.[k * columns + column] ?? NaN)
    return sum
  })
}

async function expectMerged(
  folder: string,
  weights: Map<string, RandomTensor>,
  scale: number,
): Promise<void> {
  const checkpoint = await openCheckpoint(checkpointFolder, folder)
  try {
    for (const module of [target, other]) {
      const expected = merged(module, weights, scale)
      const [rows = 0, columns = 0] = checkpoint.shapes.get(`${module}.weight`) ?? []
      const cut = 5
      const read = [
        ...(await checkpoint.readRows(`${module}.weight`, 0, cut)),
        ...(await checkpoint.readRows(`${module}.weight`, cut, rows - cut)),
      ]
      expect(read).toHaveLength(rows * columns)
      expect(
        Math.max(...read.map((value, index) => Math.abs(value - (expected[index] ?? NaN)))),
      ).toBeLessThan(1e-5)
    }
    const untouched = 'model.layers.0.mlp.language_mlp.gate_proj.weight'
    expect(await checkpoint.readRows(untouched, 0, 2)).toEqual(
      tensors.get(untouched)?.data.slice(0, 2 * smallShape.hidden),
    )
  } finally {
    await checkpoint.close()
  }
}

describe('an adapter', () => {
  it('adds alpha / r times B A to its matrices, in whatever pieces they are read, and to no other', async () => {
    const weights = factors([target, other])
    await expectMerged(adapterFolder({ weights }), weights, 12 / rank)
  })

  it('with rank-stabilised scaling adds alpha / sqrt(r)', async () => {
    const weights = factors([target, other])
    await expectMerged(
      adapterFolder({ weights, config: { use_rslora: true } }),
      weights,
      12 / Math.sqrt(rank),
    )
  })

  it("may name its factors with the adapter's name", async () => {
    const weights = factors([target, other])
    const named = new Map(
      [...weights].map(([name, tensor]) => [name.replace('.weight', '.default.weight'), tensor]),
    )
    await expectMerged(adapterFolder({ weights: named }), weights, 12 / rank)
  })

  it('gives the compiled model of the merged checkpoint', async () => {
    const weights = factors([target])
    const mergedTensors = new Map(tensors).set(`${target}.weight`, {
      shape: tensors.get(`${target}.weight`)?.shape ?? [],
      data: Float32Array.from(merged(target, weights, 12 / rank)),
    })
    writeCheckpoint(join(scratch, 'merged'), { config: configOf(smallShape), tensors: mergedTensors })
    const plain = await compileModel({ checkpointFolder, outFolder: join(scratch, 'out-plain') })
    const byHand = await compileModel({
      checkpointFolder: join(scratch, 'merged'),
      outFolder: join(scratch, 'out-hand'),
    })
    const adapted = await compileModel({
      checkpointFolder,
      outFolder: join(scratch, 'out-adapted'),
      adapterFolder: adapterFolder({ weights }),
    })
    expect(adapted.digest).not.toBe(plain.digest)
    expect(adapted.files.map(({ bytes }) => bytes)).toEqual(byHand.files.map(({ bytes }) => bytes))
  })

  const change = (name: string, tensor: RandomTensor): Map<string, RandomTensor> =>
    factors([target]).set(name, tensor)
  const conv = 'model.vision.patch_embedding.proj'
  it.each([
    {
      name: 'no folder',
      folder: () => join(scratch, 'nowhere'),
      says: /cannot read .*adapter_config\.json; --adapter takes a PEFT folder/,
    },
    {
      name: 'another method',
      folder: () => adapterFolder({ config: { peft_type: 'IA3' } }),
      says: /does not describe a LoRA adapter/,
    },
    {
      name: 'DoRA',
      folder: () => adapterFolder({ config: { use_dora: true } }),
      says: /uses use_dora.*merge_and_unload/,
    },
    {
      name: 'trained biases',
      folder: () => adapterFolder({ config: { bias: 'lora_only' } }),
      says: /uses bias lora_only/,
    },
    {
      name: 'ranks by layer',
      folder: () => adapterFolder({ config: { rank_pattern: { up_proj: 4 } } }),
      says: /rank_pattern/,
    },
    {
      name: 'transposed weights',
      folder: () => adapterFolder({ config: { fan_in_fan_out: true } }),
      says: /fan_in_fan_out/,
    },
    {
      name: 'another rank than its config',
      folder: () => adapterFolder({ config: { r: 8 } }),
      says: /rank 3, adapter_config\.json says r 8/,
    },
    {
      name: 'a matrix the checkpoint lacks',
      folder: () => adapterFolder({ weights: factors(['model.layers.9.mlp.down_proj']) }),
      says: /changes model\.layers\.9\.mlp\.down_proj\.weight, which the checkpoint does not have/,
    },
    {
      name: 'a matrix of another size',
      folder: () =>
        adapterFolder({ weights: change(`base_model.model.${target}.lora_A.weight`, random([rank, 7], 1)) }),
      says: /expects .* to be \[144, 7\], the checkpoint has \[144, 48\]/,
    },
    {
      name: 'half a pair',
      folder: () => adapterFolder({ weights: new Map([...factors([target])].slice(0, 1)) }),
      says: /factors of .* do not fit: A \[3, 48\], B \[undefined, undefined\]/,
    },
    {
      name: 'ranks that differ within a pair',
      folder: () =>
        adapterFolder({ weights: change(`base_model.model.${target}.lora_B.weight`, random([144, 2], 1)) }),
      says: /do not fit: A \[3, 48\], B \[144, 2\]/,
    },
    {
      name: 'a convolution',
      folder: () =>
        adapterFolder({
          weights: new Map([
            [`base_model.model.${conv}.lora_A.weight`, random([rank, 3], 1)],
            [`base_model.model.${conv}.lora_B.weight`, random([24, rank], 2)],
          ]),
        }),
      says: /the checkpoint has \[24, 3, 14, 14\]/,
    },
    {
      name: 'modules saved whole',
      folder: () =>
        adapterFolder({
          weights: change('base_model.model.lm_head.modules_to_save.weight', random([4, 4], 1)),
        }),
      says: /lm_head.modules_to_save.weight \[4, 4\], which is no LoRA factor/,
    },
    {
      name: 'no factors',
      folder: () => adapterFolder({ weights: new Map() }),
      says: /holds no LoRA factors/,
    },
  ])('with $name is refused', async ({ folder, says }) => {
    const error: unknown = await openCheckpoint(checkpointFolder, folder()).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(UserError)
    expect(error).toHaveProperty('message', expect.stringMatching(says))
  })

  it('whose config is not JSON is refused', async () => {
    const folder = adapterFolder({})
    writeFileSync(join(folder, 'adapter_config.json'), '{')
    await expect(openCheckpoint(checkpointFolder, folder)).rejects.toThrow(UserError)
  })
})
