// A PEFT LoRA adapter, merged into the weights as they are read: W + (alpha / r) B A.
// Facts: PEFT's adapter_config.json and adapter_model.safetensors; LoRA paper section 4.1.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import { decodeFloats, openSafetensors } from './safetensors.ts'

const AdapterConfig = z.object({
  peft_type: z.literal('LORA'),
  r: z.int().positive().max(4096),
  lora_alpha: z.number(),
  use_rslora: z.boolean().optional(),
  use_dora: z.boolean().optional(),
  bias: z.string().optional(),
  fan_in_fan_out: z.boolean().optional(),
  rank_pattern: z.record(z.string(), z.number()).optional(),
  alpha_pattern: z.record(z.string(), z.number()).optional(),
})

export type Adapter = {
  /** Throws UserError when a factor has no matrix in the checkpoint or another shape. */
  checkTargets(shapes: ReadonlyMap<string, readonly number[]>): void
  /** Adds the adapter's delta to rows [first, first + count) of the named matrix, in place. */
  addDelta(target: { name: string; rows: Float32Array; first: number; count: number }): Promise<void>
  close(): Promise<void>
}

type Factors = { down: Float32Array; up: Float32Array; rank: number; rows: number; columns: number }

/** Reads an adapter folder. The factors are small (rank times a side) and kept in memory. */
export async function openAdapter(folder: string): Promise<Adapter> {
  const config = await readConfig(folder)
  const scale = config.lora_alpha / (config.use_rslora === true ? Math.sqrt(config.r) : config.r)
  const factors = await readFactors(folder)
  for (const [name, { rank }] of factors) {
    if (rank !== config.r)
      throw new UserError(
        `the adapter's factors of ${name} have rank ${rank}, adapter_config.json says r ${config.r}; they do not belong together`,
      )
  }
  return {
    checkTargets: (shapes) => checkTargets(factors, shapes),
    addDelta: ({ name, rows, first, count }) => {
      const pair = factors.get(name)
      if (pair !== undefined) addProduct({ factors: pair, target: rows, first, count, scale })
      return Promise.resolve()
    },
    close: () => Promise.resolve(),
  }
}

async function readConfig(folder: string): Promise<z.infer<typeof AdapterConfig>> {
  const path = join(folder, 'adapter_config.json')
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new UserError(
      `cannot read ${path}; --adapter takes a PEFT folder with adapter_config.json and adapter_model.safetensors`,
      { cause },
    )
  })
  const parsed = AdapterConfig.safeParse(parseJson(text, path))
  if (!parsed.success)
    throw new UserError(`${path} does not describe a LoRA adapter: ${z.prettifyError(parsed.error)}`)
  const config = parsed.data
  const unsupported = [
    config.use_dora === true ? 'use_dora' : undefined,
    config.fan_in_fan_out === true ? 'fan_in_fan_out' : undefined,
    config.bias !== undefined && config.bias !== 'none' ? `bias ${config.bias}` : undefined,
    Object.keys(config.rank_pattern ?? {}).length > 0 ? 'rank_pattern' : undefined,
    Object.keys(config.alpha_pattern ?? {}).length > 0 ? 'alpha_pattern' : undefined,
  ].filter((name) => name !== undefined)
  if (unsupported.length > 0) {
    throw new UserError(
      `${path} uses ${unsupported.join(', ')}, which cannot be merged here; merge it with PEFT's merge_and_unload first`,
    )
  }
  return config
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new UserError(`${path} is not JSON; save the adapter again`, { cause })
  }
}

async function readFactors(folder: string): Promise<Map<string, Factors>> {
  const file = await openSafetensors(join(folder, 'adapter_model.safetensors'))
  try {
    const halves = new Map<string, { down?: Half; up?: Half }>()
    for (const tensor of file.tensors.values()) {
      const match = /^base_model\.model\.(.+)\.lora_(A|B)(?:\.default)?\.weight$/.exec(tensor.name)
      const [rows, columns] = tensor.shape
      if (match === null || rows === undefined || columns === undefined || tensor.shape.length !== 2) {
        throw new UserError(
          `the adapter holds ${tensor.name} [${tensor.shape.join(', ')}], which is no LoRA factor of a linear layer`,
        )
      }
      const name = `${match[1]}.weight`
      const data = decodeFloats(
        await file.readBytes(tensor, 0, tensor.end - tensor.begin),
        tensor.storedType,
        tensor.name,
      )
      const half = { data, rows, columns }
      halves.set(name, { ...halves.get(name), ...(match[2] === 'A' ? { down: half } : { up: half }) })
    }
    return new Map([...halves].map(([name, pair]) => [name, joinHalves(name, pair)]))
  } finally {
    await file.close()
  }
}

type Half = { data: Float32Array; rows: number; columns: number }

function joinHalves(name: string, { down, up }: { down?: Half; up?: Half }): Factors {
  if (down === undefined || up === undefined || down.rows !== up.columns) {
    throw new UserError(
      `the adapter's factors of ${name} do not fit: A [${down?.rows}, ${down?.columns}], B [${up?.rows}, ${up?.columns}]`,
    )
  }
  return { down: down.data, up: up.data, rank: down.rows, rows: up.rows, columns: down.columns }
}

function checkTargets(
  factors: ReadonlyMap<string, Factors>,
  shapes: ReadonlyMap<string, readonly number[]>,
): void {
  if (factors.size === 0) throw new UserError('the adapter holds no LoRA factors')
  for (const [name, { rows, columns }] of factors) {
    const shape = shapes.get(name)
    if (shape === undefined)
      throw new UserError(
        `the adapter changes ${name}, which the checkpoint does not have; is it for another model?`,
      )
    if (shape.length !== 2 || shape[0] !== rows || shape[1] !== columns) {
      throw new UserError(
        `the adapter expects ${name} to be [${rows}, ${columns}], the checkpoint has [${shape.join(', ')}]`,
      )
    }
  }
}

/** target[r, c] += scale * sum_k up[first + r, k] * down[k, c] */
function addProduct({
  factors: { down, up, rank, columns },
  target,
  first,
  count,
  scale,
}: {
  factors: Factors
  target: Float32Array
  first: number
  count: number
  scale: number
}): void {
  if (target.length !== count * columns) throw new InvariantError('adapter rows do not match the matrix rows')
  for (let row = 0; row < count; row++) {
    for (let k = 0; k < rank; k++) {
      const weight = scale * (up[(first + row) * rank + k] ?? 0)
      if (weight === 0) continue
      const [to, from] = [row * columns, k * columns]
      for (let column = 0; column < columns; column++) {
        target[to + column] = (target[to + column] ?? 0) + weight * (down[from + column] ?? 0)
      }
    }
  }
}
