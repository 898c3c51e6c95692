// The goldens as tests see them: checkpoints with the outputs of the original code. Copied beside this file, or any
// folder of the same structure named by COGLABEL_GOLDENS.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeFloats, openSafetensors } from '../../gpu-worker/model/safetensors.ts'

export const goldensFolder =
  process.env['COGLABEL_GOLDENS'] ?? fileURLToPath(new URL('./data', import.meta.url))

export type GoldenRow = {
  image: string | null
  query: string
  history: [string, string][]
  template: 'base' | 'chat' | 'vqa'
  prompt: string
  text_ids: number[]
}

export type GoldenCase = {
  name: string
  rows: GoldenRow[]
  input_ids: number[][]
  token_type_ids: number[][]
  attention_mask: number[][]
  position_ids: number[][]
  vision_expert_mask: number[][]
  greedy: { ids: number[]; min_margin: number }[]
}

export type Golden = {
  name: string
  dtype: string
  checkpointFolder: string
  cases: GoldenCase[]
  tensor(name: string): Promise<{ data: Float32Array; shape: readonly number[] }>
}

/** Every `<name>/{f32,bf16}` checkpoint that has goldens beside it. */
export function listGoldens(): { name: string; dtype: string }[] {
  return readdirSync(goldensFolder).flatMap((name) =>
    ['f32', 'bf16']
      .filter(
        (dtype) =>
          existsSync(join(goldensFolder, name, `golden-${dtype}.json`)) &&
          existsSync(join(goldensFolder, name, dtype)),
      )
      .map((dtype) => ({ name, dtype })),
  )
}

export function openGolden({ name, dtype }: { name: string; dtype: string }): Golden {
  const folder = join(goldensFolder, name)
  const { cases } = JSON.parse(readFileSync(join(folder, `golden-${dtype}.json`), 'utf8')) as {
    cases: GoldenCase[]
  }
  const tensor = async (tensorName: string): Promise<{ data: Float32Array; shape: readonly number[] }> => {
    const file = await openSafetensors(join(folder, `golden-${dtype}.safetensors`))
    try {
      const stored = file.tensors.get(tensorName)
      if (stored === undefined) throw new Error(`${name} has no golden ${tensorName}`)
      const bytes = await file.readBytes(stored, 0, stored.end - stored.begin)
      return { data: decodeFloats(bytes, stored.storedType, tensorName), shape: stored.shape }
    } finally {
      await file.close()
    }
  }
  return { name, dtype, checkpointFolder: join(folder, dtype), cases, tensor }
}

/** Elements of one row of a batch that are not padding, by index. */
export function unpadded(goldenCase: GoldenCase, row: number): number[] {
  return (goldenCase.attention_mask[row] ?? []).flatMap((mask, index) => (mask === 1 ? [index] : []))
}

/** Which image of the case's pixel_values a row has: images stand in row order. */
export function imageIndex(goldenCase: GoldenCase, row: number): number | undefined {
  if (goldenCase.rows[row]?.image === null) return undefined
  return goldenCase.rows.slice(0, row).filter(({ image }) => image !== null).length
}
