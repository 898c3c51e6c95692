// Runs llama.cpp's own programs on GGUF files and reads their times. Knows their words, not ours.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'

const start = promisify(execFile)

export type LlamaModel = {
  /** The folder of llama-mtmd-cli and llama-batched-bench. */
  programs: string
  text: string
  tower: string
  threads: number
}

/** Flash attention is better for some columns and worse for others, so both are measured. */
export type FlashAttention = 'on' | 'off'

/** Milliseconds of the tower with its projector, and of the image's rows through the decoder. */
export async function measureImage(
  model: LlamaModel,
  { flash, imagePath }: { flash: FlashAttention; imagePath: string },
): Promise<{ towerMs: number; prefillMs: number }> {
  const { programs, text, tower, threads } = model
  const output = await run(programs, 'llama-mtmd-cli', {
    '-m': text,
    '--mmproj': tower,
    '--image': imagePath,
    '-p': 'abc',
    '-n': 2,
    '-t': threads,
    '-fa': flash,
    '-c': 2048,
    '--temp': 0,
    '--verbosity': 4,
    '--jinja': null,
  })
  return {
    towerMs: sumOf(output, /batch encoding done in (\d+) ms/g),
    prefillMs: sumOf(output, /decoded \(batch \d+\/\d+\) in (\d+) ms/g),
  }
}

const Line = z.object({ pl: z.int(), t_tg: z.number(), tg: z.int() })

type StepOptions = { flash: FlashAttention; counts: readonly number[]; depth: number; tokens: number }

/** Milliseconds a step of `counts` sequences behind one prompt that they share. */
export async function measureSteps(
  { programs, text, threads }: LlamaModel,
  { flash, counts, depth, tokens }: StepOptions,
): Promise<Map<number, number>> {
  const output = await run(programs, 'llama-batched-bench', {
    '-m': text,
    '-t': threads,
    '-fa': flash,
    '-c': Math.ceil((depth + Math.max(...counts) * tokens) / 256) * 256,
    '-npp': depth,
    '-ntg': tokens,
    '-npl': counts.join(','),
    '--output-format': 'jsonl',
    // One prompt for all sequences, its cells held once.
    '-pps': null,
    '-kvu': null,
  })
  const steps = output.split('\n').flatMap((line): [number, number][] => {
    if (!line.startsWith('{')) return []
    const { pl, t_tg: seconds, tg } = Line.parse(JSON.parse(line))
    return [[pl, (seconds * 1000) / tg]]
  })
  return new Map(steps)
}

async function run(
  programs: string,
  program: string,
  flags: Readonly<Record<string, string | number | null>>,
): Promise<string> {
  const args = Object.entries({ ...flags, '-b': 2048, '-ub': 512 }).flatMap(([name, value]) =>
    value === null ? [name] : [name, String(value)],
  )
  const { stdout, stderr } = await start(join(programs, program), args, { maxBuffer: 64 << 20 })
  return `${stdout}\n${stderr}`
}

function sumOf(output: string, pattern: RegExp): number {
  const found = [...output.matchAll(pattern)].map(([, number]) => Number(number))
  if (found.length === 0) throw new Error(`llama.cpp said nothing like ${pattern}: ${output.slice(-2000)}`)
  return found.reduce((sum, one) => sum + one, 0)
}
