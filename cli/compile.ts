// `coglabel compile`: checkpoint folder to compiled model folder, with progress.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { PromptTemplate, Target, WeightFormat } from '../schemas/model-manifest.ts'
import { compileModel } from '../gpu-worker/model/compile.ts'
import { openTokenizer } from '../gpu-worker/tokenizer/tokenizer.ts'
import type { CompileOptions, CompileProgress } from '../gpu-worker/model/compile.ts'

export const compileUsage = `coglabel compile CHECKPOINT_DIR OUT_DIR [options]

Turns a CogVLM or CogVLM2 checkpoint (Hugging Face folder, safetensors) into a folder that coglabel runs.

  --target cpu|cuda|webgpu          where it will run (cpu)
  --weights fp32|fp16|int8|int4     how large matrices are stored (int8 on cpu, fp16 on a GPU)
  --tokenizer DIR                   folder with tokenizer.model or tokenizer.json, where the checkpoint has none
  --template base|chat|vqa          prompt form, in place of the checkpoint's template_version
  --adapter DIR                     a PEFT LoRA adapter to merge into the weights
  --capabilities a,b,c              tasks the checkpoint can do, in place of what it says
  --rotary fp32|reference-bf16|recomputed
                                    precision of the rotary tables (fp32)

Exit code: 0 compiled, 1 fatal, 2 wrong usage or an unusable checkpoint.`

const Flags = z.strictObject({
  target: Target.optional(),
  weights: WeightFormat.optional(),
  tokenizer: z.string().min(1).optional(),
  template: PromptTemplate.optional(),
  adapter: z.string().min(1).optional(),
  capabilities: z.string().optional(),
  rotary: z.enum(['fp32', 'reference-bf16', 'recomputed']).optional(),
})

const flagNames = ['target', 'weights', 'tokenizer', 'template', 'adapter', 'capabilities', 'rotary'] as const

/** Runs the verb; returns the exit code. */
export async function runCompile(args: readonly string[]): Promise<number> {
  const options = Object.fromEntries(flagNames.map((name) => [name, { type: 'string' as const }]))
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true })
  const [checkpointFolder, outFolder, ...rest] = positionals
  if (checkpointFolder === undefined || outFolder === undefined || rest.length > 0) {
    throw new UserError(`compile takes two folders, it was given ${positionals.length}\n\n${compileUsage}`)
  }
  const parsed = Flags.safeParse(values)
  if (!parsed.success) throw new UserError(`${z.prettifyError(parsed.error)}\n\n${compileUsage}`)
  const progress = progressPrinter()
  const manifest = await compileModel({
    ...toOptions(parsed.data),
    checkpointFolder,
    outFolder,
    openTokenizer,
    onProgress: progress,
  })
  const sizeBytes = manifest.files.reduce((sum, file) => sum + file.bytes, 0)
  console.log(
    `compiled ${manifest.name} (${manifest.family}, ${manifest.weights} for ${manifest.target}) into ${outFolder}: ${byteText(sizeBytes)}`,
  )
  console.log(`it can: ${manifest.capabilities.join(', ')}; prompt template ${manifest.template}`)
  if (manifest.tokenizer === null) {
    console.log(
      'no tokenizer was found: the model can be traced with token ids but not label. Give --tokenizer FOLDER;',
    )
    console.log(
      'for first-generation CogVLM that is lmsys/vicuna-7b-v1.5 (tokenizer.model, tokenizer_config.json, special_tokens_map.json)',
    )
  }
  return 0
}

function toOptions(flags: z.infer<typeof Flags>): Omit<CompileOptions, 'checkpointFolder' | 'outFolder'> {
  return {
    ...(flags.target === undefined ? {} : { target: flags.target }),
    ...(flags.weights === undefined ? {} : { weights: flags.weights }),
    ...(flags.tokenizer === undefined ? {} : { tokenizerFolder: flags.tokenizer }),
    ...(flags.template === undefined ? {} : { template: flags.template }),
    ...(flags.adapter === undefined ? {} : { adapterFolder: flags.adapter }),
    ...(flags.capabilities === undefined
      ? {}
      : { capabilities: flags.capabilities.split(',').map((name) => name.trim()) }),
    ...(flags.rotary === undefined ? {} : { rotary: flags.rotary }),
  }
}

/** One line on a terminal, rewritten; a line every ten seconds elsewhere. */
function progressPrinter(): (progress: CompileProgress) => void {
  const startMs = performance.now()
  let lastMs = Number.NEGATIVE_INFINITY
  const everyMs = process.stderr.isTTY ? 100 : 10_000
  return ({ writtenBytes, totalBytes }) => {
    const nowMs = performance.now()
    const done = writtenBytes >= totalBytes
    if (!done && nowMs - lastMs < everyMs) return
    lastMs = nowMs
    const seconds = (nowMs - startMs) / 1000
    const left =
      writtenBytes === 0
        ? ''
        : `, ${Math.ceil((seconds * (totalBytes - writtenBytes)) / writtenBytes)} s left`
    const text = `${byteText(writtenBytes)} of ${byteText(totalBytes)} written${done ? ` in ${seconds.toFixed(1)} s` : left}`
    if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}${done ? '\n' : ''}`)
    else process.stderr.write(`${text}\n`)
  }
}

function byteText(bytes: number): string {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`
}
