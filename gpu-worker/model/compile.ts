// Checkpoint folder in, compiled model folder out: two graphs, their weights, the tokenizer and a manifest.
// Streams: no more than a few of the largest matrices are in memory. Knows files, not operators.
import { createHash } from 'node:crypto'
import { copyFile, open, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { InvariantError, UserError } from '../../schemas/errors.ts'
import {
  digestText,
  manifestFileName,
  manifestVersion,
  ModelManifest,
  tokenizerAdvice,
} from '../../schemas/model-manifest.ts'
import type { PromptTemplate, Target, WeightFormat } from '../../schemas/model-manifest.ts'
import { openCheckpoint } from './checkpoint.ts'
import type { Checkpoint } from './checkpoint.ts'
import {
  checkOutFolder,
  explainWriteError,
  makePartFolder,
  removeStaleParts,
  replaceFolder,
} from './compiled-folder.ts'
import { kernelCheckGraph, needsKernelCheck } from './kernel-check.ts'
import type { Graph, Value } from './graph.ts'
import { encodeModel } from './onnx.ts'
import type { WeightPlace } from './onnx.ts'
import { checkOperators } from './provider-operators.ts'
import { buildGraphs, traceNames } from './variants/cogvlm.ts'
import { readVariant } from './variants/config.ts'
import type { Variant } from './variants/config.ts'
import { checkTensors, inverseFrequencyName } from './variants/tensors.ts'

export type RotaryChoice = 'fp32' | 'reference-bf16' | 'recomputed'

export type CompileOptions = {
  checkpointFolder: string
  outFolder: string
  target?: Target
  weights?: WeightFormat
  tokenizerFolder?: string
  /** Opens the tokenizer that was found, before anything is written; throws UserError where it cannot be used. */
  openTokenizer?: (tokenizer: FoundTokenizer) => Promise<{ vocabSize: number }>
  adapterFolder?: string
  template?: PromptTemplate
  /** Overrides what the checkpoint says it can do. */
  capabilities?: readonly string[]
  /** fp32: the checkpoint's stored frequencies, products in fp32 (as the reference does with fp32 weights).
   * reference-bf16: tables rounded as a bf16 run of the reference rounds them. recomputed: frequencies from theta. */
  rotary?: RotaryChoice
  onProgress?: (progress: CompileProgress) => void
  signal?: AbortSignal
}

export type CompileProgress = { writtenBytes: number; totalBytes: number; weight: string }

/** What each target runs: integers on the CPU, half precision or 4-bit blocks on a GPU. */
const formatsOf: Record<Target, readonly WeightFormat[]> = {
  cpu: ['int8', 'int4', 'fp32'],
  cuda: ['fp16', 'int4', 'fp32'],
  webgpu: ['fp16', 'int4', 'fp32'],
}

/** Mean and standard deviation per RGB channel of the CLIP image preprocessor that the family was trained with. */
export const clipMean = [0.48145466, 0.4578275, 0.40821073]
export const clipStd = [0.26862954, 0.26130258, 0.27577711]

/**
 * Compiles a checkpoint. The result appears under its name only when it is complete.
 * Throws UserError for anything wrong with the input.
 * `read` opens the folder; bench/ has a checkpoint that is none.
 */
export async function compileModel(
  options: CompileOptions,
  read: typeof openCheckpoint = openCheckpoint,
): Promise<ModelManifest> {
  const { target = 'cpu', weights = formatsOf[target][0] ?? 'fp32' } = options
  if (!formatsOf[target].includes(weights)) {
    throw new UserError(
      `--weights ${weights} does not exist for --target ${target}; choose one of ${formatsOf[target].join(', ')}`,
    )
  }
  const outFolder = resolve(options.outFolder)
  await checkOutFolder(outFolder)
  const checkpoint = await read(options.checkpointFolder, options.adapterFolder)
  let partFolder: string | undefined
  try {
    const tokenizer = await findTokenizer(options)
    const names = new Set(checkpoint.shapes.keys())
    const variant = readVariant(checkpoint.config, names, checkpoint.generationConfig)
    checkTensors(variant, checkpoint.shapes)
    await checkTokenizer(options, tokenizer, variant)
    await removeStaleParts(outFolder)
    partFolder = await makePartFolder(outFolder)
    const manifest = await writeModel(
      { ...options, target, weights, outFolder },
      { checkpoint, variant, tokenizer, partFolder },
    )
    await replaceFolder(partFolder, outFolder)
    return manifest
  } catch (error) {
    if (partFolder !== undefined) await rm(partFolder, { recursive: true, force: true })
    throw explainWriteError(error, outFolder)
  } finally {
    await checkpoint.close()
  }
}

type Job = { checkpoint: Checkpoint; variant: Variant; tokenizer: FoundTokenizer | null; partFolder: string }
type Settings = CompileOptions & { target: Target; weights: WeightFormat }

async function writeModel(
  settings: Settings,
  { checkpoint, variant, tokenizer, partFolder }: Job,
): Promise<ModelManifest> {
  const { target, weights } = settings
  const vectors = await readVectors(checkpoint)
  const { vision, decoder, decoderInt8Cache, decoderAhead, quantized } = buildGraphs({
    variant,
    checkpoint,
    vectors,
    weights,
    target,
  })
  checkOperators(vision, target)
  checkOperators(decoder, target)
  const report = progressReporter(settings, [vision, decoder])
  await writeGraph({ name: 'vision', graph: vision, partFolder, report })
  const places = await writeGraph({ name: 'decoder', graph: decoder, partFolder, report })
  const sharing = { decoderInt8Cache, decoderAhead }
  const shared: { [graph in keyof typeof sharing]?: string } = {}
  for (const [graph, name] of [
    ['decoderInt8Cache', 'decoder-int8-cache'],
    ['decoderAhead', 'decoder-ahead'],
  ] as const) {
    const built = sharing[graph]
    if (built === undefined) continue
    checkOperators(built, target)
    await writeSharing({ name, graph: built, partFolder, places })
    shared[graph] = `${name}.onnx`
  }
  const kernelCheck = needsKernelCheck(target) ? await writeKernelCheck(partFolder) : undefined
  if (tokenizer !== null)
    await copyFile(join(tokenizer.folder, tokenizer.file), join(partFolder, tokenizer.file))
  const files = await hashFiles(partFolder)
  const manifest = ModelManifest.parse({
    v: manifestVersion,
    name: checkpointName(settings.checkpointFolder),
    family: variant.family,
    digest: createHash('sha256').update(digestText(files)).digest('hex'),
    licence:
      variant.declared.licence ??
      'CogVLM License and that of its base language model, unless the checkpoint says otherwise',
    target,
    weights,
    template: settings.template ?? variant.template,
    capabilities: [
      ...(settings.capabilities ?? variant.declared.capabilities ?? inferCapabilities(settings, variant)),
    ],
    ...describeShapes(variant),
    rotary: describeRotary(settings.rotary ?? 'fp32', variant, vectors),
    tokens: variant.tokens,
    tokenizer: tokenizer === null ? null : { kind: tokenizer.kind, file: tokenizer.file },
    graphs: {
      vision: 'vision.onnx',
      decoder: 'decoder.onnx',
      ...shared,
      ...(kernelCheck === undefined ? {} : { kernelCheck }),
    },
    trace: traceNames(variant),
    quantized,
    files,
    source: { config: checkpoint.config, compiler: 'coglabel' },
  })
  await writeFile(join(partFolder, manifestFileName), `${JSON.stringify(manifest, null, 1)}\n`)
  return manifest
}

/** One-dimensional tensors and single rows: norms, biases, boi, eoi, cls, rotary frequencies. A few MB at full size. */
async function readVectors(checkpoint: Checkpoint): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const vectors = new Map<string, Float32Array<ArrayBuffer>>()
  for (const [name, shape] of checkpoint.shapes) {
    const isVector = shape.length === 1 || shape.slice(0, -1).every((size) => size === 1)
    if (isVector) vectors.set(name, await checkpoint.readRows(name, 0, shape[0] ?? 1))
  }
  return vectors
}

type Report = (weight: string, byteCount: number) => void

function progressReporter({ onProgress, signal }: CompileOptions, graphs: readonly Graph[]): Report {
  const totalBytes = graphs
    .flatMap((graph) => graph.weights)
    .reduce((sum, weight) => sum + weight.byteCount, 0)
  let writtenBytes = 0
  return (weight, byteCount) => {
    signal?.throwIfAborted()
    writtenBytes += byteCount
    onProgress?.({ writtenBytes, totalBytes, weight })
  }
}

async function writeKernelCheck(partFolder: string): Promise<string> {
  const fileName = 'kernel-check.onnx'
  await writeFile(join(partFolder, fileName), encodeModel(kernelCheckGraph(), new Map()))
  return fileName
}

/** External data is mapped into memory; whole pages can be shared between processes and dropped under pressure. */
const pageBytes = 4096

async function writeGraph({
  name,
  graph,
  partFolder,
  report,
}: {
  name: string
  graph: Graph
  partFolder: string
  report: Report
}): Promise<Map<string, WeightPlace>> {
  const fileName = `${name}.weights`
  const places = new Map<Value, WeightPlace>()
  const file = await open(join(partFolder, fileName), 'w')
  try {
    let offset = 0
    for (const weight of graph.weights) {
      // Small weights are packed tightly; large ones start on a page of their own.
      const alignment = weight.byteCount >= pageBytes ? pageBytes : 64
      offset = Math.ceil(offset / alignment) * alignment
      places.set(weight.value, { fileName, offset })
      let written = 0
      await weight.write(async (piece) => {
        await writeAll(file, piece, offset + written)
        written += piece.byteLength
        report(weight.value.name, piece.byteLength)
      })
      offset += written
    }
    await file.sync()
  } finally {
    await file.close()
  }
  await writeFile(join(partFolder, `${name}.onnx`), encodeModel(graph, places))
  return new Map([...places].map(([value, place]) => [value.name, place]))
}

/** A graph over the weights that another has written, found by name. */
async function writeSharing({
  name,
  graph,
  partFolder,
  places,
}: {
  name: string
  graph: Graph
  partFolder: string
  places: ReadonlyMap<string, WeightPlace>
}): Promise<void> {
  const own = new Map(
    graph.weights.map(({ value }) => {
      const place = places.get(value.name)
      if (place === undefined) throw new InvariantError(`${value.name} of ${name} is in no weights file`)
      return [value, place]
    }),
  )
  await writeFile(join(partFolder, `${name}.onnx`), encodeModel(graph, own))
}

async function writeAll(
  file: Awaited<ReturnType<typeof open>>,
  piece: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < piece.byteLength;) {
    const length = Math.min(piece.byteLength - done, 1 << 30)
    done += (await file.write(piece, done, length, position + done)).bytesWritten
  }
}

const tokenizerFiles = [
  { kind: 'tokenizer-json', file: 'tokenizer.json' },
  { kind: 'sentencepiece', file: 'tokenizer.model' },
] as const

type FoundTokenizer = (typeof tokenizerFiles)[number] & { folder: string }

/** Finds the tokenizer in --tokenizer or in the checkpoint itself, before anything is written. Null where neither has one. */
async function findTokenizer({
  checkpointFolder,
  tokenizerFolder,
}: CompileOptions): Promise<FoundTokenizer | null> {
  const folder = tokenizerFolder ?? checkpointFolder
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new UserError(`cannot read the tokenizer folder ${folder}`, { cause })
  })
  // The slow SentencePiece form is the reference of the first generation, so it wins where both are there.
  const found = tokenizerFiles.toReversed().find(({ file }) => names.includes(file))
  if (found === undefined) {
    if (tokenizerFolder === undefined) return null
    throw new UserError(`${folder} has neither tokenizer.model nor tokenizer.json; ${tokenizerAdvice}`)
  }
  return { ...found, folder }
}

/** Here and not at the first label: of a large checkpoint that would be an hour later. */
async function checkTokenizer(
  { openTokenizer }: CompileOptions,
  tokenizer: FoundTokenizer | null,
  { vocabSize }: Variant,
): Promise<void> {
  if (tokenizer === null || openTokenizer === undefined) return
  const opened = await openTokenizer(tokenizer)
  if (opened.vocabSize <= vocabSize) return
  throw new UserError(
    `${join(tokenizer.folder, tokenizer.file)} has ${opened.vocabSize} tokens, config.json a vocab_size of ${vocabSize}; they do not belong together. Give the model's own with --tokenizer FOLDER`,
  )
}

async function hashFiles(folder: string): Promise<ModelManifest['files']> {
  const names = (await readdir(folder)).sort()
  return Promise.all(
    names.map(async (name) => {
      const { sha256, bytes } = await hashFile(join(folder, name))
      return { name, bytes, sha256 }
    }),
  )
}

async function hashFile(path: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  const file = await open(path)
  for await (const piece of file.createReadStream({ highWaterMark: 8 << 20 })) {
    if (!(piece instanceof Uint8Array)) continue
    hash.update(piece)
    bytes += piece.byteLength
  }
  return { sha256: hash.digest('hex'), bytes }
}

/** config.json does not say what a released checkpoint was trained for; its template and its name do. */
/** What the released chat checkpoints do; the variants of it (yes-no, count, tags) follow from these. */
const chatAbilities = ['caption', 'detailed-caption', 'qa', 'read-text', 'ask-questions']

function inferCapabilities({ checkpointFolder, template }: CompileOptions, variant: Variant): string[] {
  if (/grounding/i.test(checkpointName(checkpointFolder))) return ['caption', 'grounded-caption', 'ground']
  return (template ?? variant.template) === 'base' ? ['caption'] : chatAbilities
}

/** The folder's name; in the Hugging Face cache, where folders are named by commit, the repository's. */
function checkpointName(folder: string): string {
  const path = resolve(folder)
  return /models--(?:[^/\\]*--)?([^/\\]+)[/\\]snapshots[/\\][^/\\]+$/.exec(path)?.[1] ?? basename(path)
}

function describeShapes(variant: Variant): Pick<ModelManifest, 'vision' | 'language'> {
  return {
    vision: {
      imageSize: variant.tower.imageSize,
      patchRows: variant.patchRows,
      hiddenSize: variant.hiddenSize,
      mean: clipMean,
      std: clipStd,
    },
    language: {
      hiddenSize: variant.hiddenSize,
      layerCount: variant.layerCount,
      headCount: variant.headCount,
      kvHeadCount: variant.kvHeadCount,
      headDim: variant.headDim,
      vocabSize: variant.vocabSize,
      maxPositions: variant.maxPositions,
    },
  }
}

function describeRotary(
  choice: RotaryChoice,
  { headDim, ropeTheta: theta }: Variant,
  vectors: ReadonlyMap<string, Float32Array>,
): ModelManifest['rotary'] {
  const stored = choice === 'recomputed' ? undefined : vectors.get(inverseFrequencyName(0))
  const computed = (): number[] =>
    Array.from({ length: headDim / 2 }, (_, index) => Math.fround(1 / theta ** ((2 * index) / headDim)))
  return {
    theta,
    mode: choice === 'reference-bf16' ? 'reference-bf16' : 'fp32',
    inverseFrequencies: stored === undefined ? computed() : [...stored],
  }
}
