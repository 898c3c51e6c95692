// `coglabel bench`: how fast a model labels on this machine, and where the time goes. It labels as `label` does, and writes
// nothing.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { type ImageSource, openSource } from '../dataset/ingest.ts'
import { openRun } from '../dataset/run-folder.ts'
import { openMemoryStore } from '../dataset/stores/memory.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { Engine } from '../gpu-worker/engine/contract.ts'
import { type EngineHost, openEngineHost } from '../gpu-worker/engine/host.ts'
import { openDecoderPool } from '../gpu-worker/image/decoder-pool.ts'
import type { ImageDecoder } from '../gpu-worker/image/prepare.ts'
import { limitConcurrency } from '../gpu-worker/pipeline/concurrency.ts'
import { fetchImage } from '../gpu-worker/pipeline/fetch.ts'
import { hashSpecs } from '../gpu-worker/pipeline/item-specs.ts'
import { type LabelContext, labelImage } from '../gpu-worker/pipeline/label-image.ts'
import { defaultRunLimits } from '../gpu-worker/pipeline/run.ts'
import { InvariantError, UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { WorkItem } from '../schemas/work-item.ts'
import { askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { readNumber } from './flag-values.ts'
import { cacheOptions, cacheUsage, readCacheFlags } from './cache-flags.ts'
import { wantedLabelRun } from './label.ts'
import { findCompiledModel } from './open-model.ts'
import type { VerbRoot } from './verb-root.ts'

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

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runBench(
  args: readonly string[],
  { print, clock }: Pick<VerbRoot, 'print' | 'clock'>,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...askOptions, ...cacheOptions, model: { type: 'string' }, seconds: { type: 'string' } },
  })
  const [images = exampleFolder, ...rest] = positionals
  if (rest.length > 0) throw new UserError(`bench takes one source, but there is also "${rest.join('" "')}"`)
  const seconds = readNumber('--seconds', values.seconds, z.number().positive()) ?? 15
  const [ask, cache] = [readAskFlags(values), readCacheFlags(values)]
  const source = await openSource(images)
  const held = await holdImages(source, images)
  const modelFolder = await findCompiledModel({ modelFolder: values.model })
  const startMs = performance.now()
  const engine = await openEngineHost({ modelFolder, ...cache })
  const decoder = openDecoderPool()
  try {
    const loadMs = performance.now() - startMs
    const wanted = wantedLabelRun(ask, { source, scan: await source.scan(), engine })
    const config = await openRun(openMemoryStore('bench'), { wanted, now: clock() })
    const job = { ...held, context: contextOf(config, { engine, decoder, store: held.store, clock }) }
    // The first images pay for what is made once: decoders start, memory grows.
    await labelTogether(job, 0)
    const alone = await labelOneByOne(job, seconds * 1000)
    const problems = problemsOf(alone)
    if (problems.length === alone.length)
      throw new UserError(`no image can be labelled, so nothing can be measured; ${problems[0]}`)
    const together = await labelTogether(job, seconds * 1000)
    print(render({ engine, loadMs, alone, together, memory: await readMemory(engine) }))
  } finally {
    await Promise.all([engine.close(), decoder.close()])
  }
  return 0
}

/** Bytes of up to this many images are held, so that the disk is not measured. */
const maxImages = 64

type Held = { items: readonly WorkItem[]; store: ObjectStore }

async function holdImages(source: ImageSource, src: string): Promise<Held> {
  const [items, store]: [WorkItem[], ObjectStore] = [[], openMemoryStore('images')]
  for await (const item of source.items()) {
    const fetched = await fetchImage(source.store, {
      key: item.key,
      maxBytes: defaultRunLimits.decode.maxBytes,
    })
    if (!fetched.ok) continue
    await store.putIfAbsent(item.key, fetched.bytes)
    if (items.push(item) === maxImages) break
  }
  if (items.length > 0) return { items, store }
  throw new UserError(`"${src}" has no image that can be read; give a folder with images`)
}

type Tools = { engine: Engine; decoder: ImageDecoder; store: ObjectStore; clock: () => Date }

/** As `label` has it, for images of which nothing is known yet, however often they come. */
function contextOf(config: RunConfig, { engine, decoder, store, clock }: Tools): LabelContext {
  return {
    config,
    specs: hashSpecs(config.tasks, config),
    source: store,
    engine,
    inEngine: limitConcurrency(defaultRunLimits.imagesInEngine),
    isDone: () => false,
    decoder,
    limits: defaultRunLimits.decode,
    clock,
    signal: new AbortController().signal,
  }
}

type Job = Held & { context: LabelContext }

type Timed = {
  decodeMs: number
  prefillMs: number
  answerMs: number
  tokens: number
  records: number
  /** Why the image has no label at all; null where it has one. */
  problem: string | null
}

async function labelOne({ items, context }: Job, index: number): Promise<Timed> {
  const item = items[index % items.length]
  if (item === undefined) throw new InvariantError('there is no image to label')
  const { records } = await labelImage(item, context)
  const { decodeMs = 0, prefillMs = 0, generateMs = 0 } = records[0]?.timing ?? {}
  const tokens = records.reduce((sum, { usage }) => sum + usage.outputTokens, 0)
  const isLabelled = records.some(({ status }) => status !== 'failed')
  const problem = isLabelled ? null : `${item.key}: ${records[0]?.error?.message ?? 'it has no records'}`
  return { decodeMs, prefillMs, answerMs: generateMs, tokens, records: records.length, problem }
}

function problemsOf(timed: readonly Timed[]): string[] {
  return timed.flatMap(({ problem }) => problem ?? [])
}

async function labelOneByOne(job: Job, forMs: number): Promise<Timed[]> {
  const timed: Timed[] = []
  for (const untilMs = performance.now() + forMs; performance.now() < untilMs || timed.length === 0;)
    timed.push(await labelOne(job, timed.length))
  return timed
}

/** Several images under way, their steps shared, others read and decoded meanwhile. */
async function labelTogether(
  job: Job,
  forMs: number,
): Promise<{ images: number; tokens: number; seconds: number }> {
  const { imagesInFlight } = defaultRunLimits
  const startMs = performance.now()
  let [images, tokens] = [0, 0]
  const work = async (first: number): Promise<void> => {
    for (let at = first; performance.now() - startMs < forMs || at === first; at += imagesInFlight) {
      // Read after the wait: others add to the sum meanwhile.
      const { tokens: answered } = await labelOne(job, at)
      tokens += answered
      images += 1
    }
  }
  await Promise.all(Array.from({ length: imagesInFlight }, (_, first) => work(first)))
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
  alone: readonly Timed[]
  together: { images: number; tokens: number; seconds: number }
  memory: { engine: number; own: number } | null
}

function render({ engine, loadMs, alone, together, memory }: Measured): string {
  const { model, engine: runtime } = engine.info
  const middle = (of: (timed: Timed) => number): number =>
    alone.map(of).toSorted((a, b) => a - b)[Math.floor(alone.length / 2)] ?? 0
  const tokens = middle(({ tokens: count }) => count)
  const stage = (name: string, ms: number): string => `  ${name.padEnd(34)}${ms.toFixed(0).padStart(8)} ms`
  const rate = together.images / together.seconds
  const failed = problemsOf(alone)
  const answerSeconds = alone.reduce((sum, { answerMs }) => sum + answerMs, 0) / 1000
  const answerTokens = alone.reduce((sum, { tokens: count }) => sum + count, 0)
  return [
    `${model.name}, ${model.weights} (${runtime}), loaded in ${(loadMs / 1000).toFixed(1)} s`,
    `one image at a time, median of ${alone.length}, ${middle(({ records }) => records)} records each:`,
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
      : `peak memory: ${megabytes(memory.engine)} MB in the engine, ${megabytes(memory.own)} MB beside it, decoders apart`,
    `these tasks on this machine: ${Math.round(rate * 3600).toLocaleString('en')} images an hour`,
    ...(failed.length === 0
      ? []
      : [
          `${failed.length} of ${alone.length} images failed, which takes no time, and count as images; ${failed[0]}`,
        ]),
  ].join('\n')
}

function megabytes(bytes: number): string {
  return Math.round(bytes / 1e6).toLocaleString('en')
}
