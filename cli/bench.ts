// `coglabel bench`: how fast a model labels on this machine, and where the time goes. It writes nothing.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { openSource } from '../dataset/ingest.ts'
import type { PromptRequest } from '../gpu-worker/engine/contract.ts'
import { openEngineHost } from '../gpu-worker/engine/host.ts'
import type { EngineHost } from '../gpu-worker/engine/host.ts'
import { decodeImage } from '../gpu-worker/image/decode.ts'
import { preprocess } from '../gpu-worker/image/preprocess.ts'
import { limitConcurrency } from '../gpu-worker/pipeline/concurrency.ts'
import { fetchImage } from '../gpu-worker/pipeline/fetch.ts'
import { defaultRunLimits } from '../gpu-worker/pipeline/run.ts'
import { planTasks } from '../gpu-worker/tasks/registry.ts'
import { UserError } from '../schemas/errors.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { readNumber } from './flag-values.ts'
import { cacheOptions, cacheUsage, readCacheFlags } from './cache-flags.ts'
import { defaultModelFolder, findCompiledModel } from './open-model.ts'

export const benchUsage = `coglabel bench [IMAGES] [options]

Labels images for a while, keeps nothing, and says how fast this machine is: the time of each stage for one image at a
time, then images and tokens a second with several under way, the most memory, and what it means an hour for these
tasks. IMAGES is a folder, one image or a .jsonl manifest (the eight examples that come with coglabel).

  --model DIR            a compiled model or a checkpoint folder (the model that comes with coglabel)
  --seconds N            how long each of the two halves goes on (15)
${cacheUsage}
${askUsage}

Exit code: 0 measured, 1 fatal, 2 wrong usage or settings.`

const exampleFolder = fileURLToPath(new URL('../examples/images', import.meta.url))

type BenchRoot = { print: (text: string) => void }

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runBench(args: readonly string[], { print }: BenchRoot): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...askOptions, ...cacheOptions, model: { type: 'string' }, seconds: { type: 'string' } },
  })
  const [images = exampleFolder, ...rest] = positionals
  if (rest.length > 0) throw new UserError(`bench takes one source, but there is also "${rest.join('" "')}"`)
  const seconds = readNumber('--seconds', values.seconds, z.number().positive()) ?? 15
  const files = await readImages(images)
  const modelFolder = await findCompiledModel({ modelFolder: values.model ?? defaultModelFolder })
  const startMs = performance.now()
  const engine = await openEngineHost({ modelFolder, ...readCacheFlags(values) })
  try {
    const loadMs = performance.now() - startMs
    const prompts = promptsOf(engine, readAskFlags(values))
    const job = { engine, files, prompts, untilMs: () => performance.now() + seconds * 1000 }
    // The first image pays for what is made once.
    await labelOne(job, files[0])
    const alone = await labelOneByOne(job)
    const together = await labelTogether(job)
    print(render({ engine, loadMs, prompts, alone, together, memory: await readMemory(engine) }))
  } finally {
    await engine.close()
  }
  return 0
}

/** Bytes of up to this many images are held, so that the disk is not measured. */
const maxImages = 64

async function readImages(src: string): Promise<Buffer[]> {
  const source = await openSource(src)
  const files: Buffer[] = []
  for await (const item of source.items()) {
    const fetched = await fetchImage(source.store, {
      key: item.key,
      maxBytes: defaultRunLimits.decode.maxBytes,
    })
    if (fetched.ok) files.push(fetched.bytes)
    if (files.length === maxImages) break
  }
  if (files.length === 0)
    throw new UserError(`"${src}" has no image that can be read; give a folder with images`)
  return files
}

function promptsOf({ info }: EngineHost, { taskNames: names, questions, phrases, from, sampling }: AskFlags) {
  const { model, template, capabilities } = info
  const wanted = { names, questions, phrases, from, model: { name: model.name, template, capabilities } }
  return planTasks(wanted).flatMap((spec): PromptRequest[] =>
    spec.prompts.map(({ question }) => ({
      template: spec.template,
      history: [],
      question,
      maxNewTokens: spec.maxNewTokens,
      sampling,
    })),
  )
}

type Job = {
  engine: EngineHost
  files: readonly Buffer[]
  prompts: readonly PromptRequest[]
  untilMs: () => number
}

type Timed = { decodeMs: number; prefillMs: number; answerMs: number; tokens: number }

async function labelOne({ engine, prompts }: Job, bytes: Buffer = Buffer.alloc(0)): Promise<Timed> {
  const startMs = performance.now()
  const decoded = await decodeImage(bytes)
  if (!decoded.ok) throw new UserError(`an image cannot be decoded: ${decoded.failure.message}`)
  const { rgb, width, height } = decoded.image
  const pixels = preprocess({ rgb, width, height, ...engine.info.image })
  const decodedMs = performance.now()
  const session = await engine.openImage(pixels)
  const openedMs = performance.now()
  const answers = await session.generate(prompts)
  const endMs = performance.now()
  await session.close()
  return {
    decodeMs: decodedMs - startMs,
    prefillMs: openedMs - decodedMs,
    answerMs: endMs - openedMs,
    tokens: answers.reduce((sum, { usage }) => sum + usage.outputTokens, 0),
  }
}

async function labelOneByOne(job: Job): Promise<Timed[]> {
  const timed: Timed[] = []
  for (const untilMs = job.untilMs(); performance.now() < untilMs || timed.length === 0;)
    timed.push(await labelOne(job, job.files[timed.length % job.files.length]))
  return timed
}

/** As `label` does it: several images under way, their steps shared. */
async function labelTogether(job: Job): Promise<{ images: number; tokens: number; seconds: number }> {
  const { imagesInEngine } = defaultRunLimits
  const inEngine = limitConcurrency(imagesInEngine)
  const [startMs, untilMs] = [performance.now(), job.untilMs()]
  let [images, tokens] = [0, 0]
  const work = async (first: number): Promise<void> => {
    for (let at = first; performance.now() < untilMs || at === first; at += imagesInEngine) {
      const done = await inEngine(() => labelOne(job, job.files[at % job.files.length]))
      images += 1
      tokens += done.tokens
    }
  }
  await Promise.all(Array.from({ length: imagesInEngine }, (_, first) => work(first)))
  return { images, tokens, seconds: (performance.now() - startMs) / 1000 }
}

/** The most memory that each process had, in bytes; null where the system does not say. */
async function readMemory({ processId }: EngineHost): Promise<{ engine: number; own: number } | null> {
  const most = async (id: number | string): Promise<number | null> => {
    const text = await readFile(join('/proc', String(id), 'status'), 'utf8').catch(() => '')
    const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(text) ?? []
    return kilobytes === undefined ? null : Number(kilobytes) * 1024
  }
  const [engine, own] = [await most(processId ?? 'none'), await most('self')]
  return engine === null || own === null ? null : { engine, own }
}

type Measured = {
  engine: EngineHost
  loadMs: number
  prompts: readonly PromptRequest[]
  alone: readonly Timed[]
  together: { images: number; tokens: number; seconds: number }
  memory: { engine: number; own: number } | null
}

function render({ engine, loadMs, prompts, alone, together, memory }: Measured): string {
  const { model, engine: runtime } = engine.info
  const middle = (of: (timed: Timed) => number): number =>
    alone.map(of).toSorted((a, b) => a - b)[Math.floor(alone.length / 2)] ?? 0
  const tokens = middle(({ tokens: count }) => count)
  const stage = (name: string, ms: number): string => `  ${name.padEnd(34)}${ms.toFixed(0).padStart(8)} ms`
  const rate = together.images / together.seconds
  const answerSeconds = alone.reduce((sum, { answerMs }) => sum + answerMs, 0) / 1000
  const answerTokens = alone.reduce((sum, { tokens: count }) => sum + count, 0)
  return [
    `${model.name}, ${model.weights} (${runtime}), loaded in ${(loadMs / 1000).toFixed(1)} s`,
    `one image at a time, median of ${alone.length}, ${prompts.length} prompts each:`,
    stage(
      'decode and resize',
      middle(({ decodeMs }) => decodeMs),
    ),
    stage(
      'vision tower and prefill',
      middle(({ prefillMs }) => prefillMs),
    ),
    `${stage(
      'answers',
      middle(({ answerMs }) => answerMs),
    )}, ${tokens} tokens, ${(answerTokens / answerSeconds).toFixed(1)} tokens/s`,
    `${defaultRunLimits.imagesInEngine} images under way: ${rate.toPrecision(3)} images/s, ${(together.tokens / together.seconds).toFixed(1)} tokens/s`,
    memory === null
      ? 'peak memory: this system does not say'
      : `peak memory: ${megabytes(memory.engine)} MB in the engine, ${megabytes(memory.own)} MB beside it`,
    `these tasks on this machine: ${Math.round(rate * 3600).toLocaleString('en')} images an hour`,
  ].join('\n')
}

function megabytes(bytes: number): string {
  return Math.round(bytes / 1e6).toLocaleString('en')
}
