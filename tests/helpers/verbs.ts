// Verbs and workers over a place, in this process, with the counting engine.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runControl } from '../../cli/control.ts'
import type { VerbRoot } from '../../cli/verb-root.ts'
import { decodeHere } from '../../gpu-worker/image/prepare.ts'
import { runWorkerProcess } from '../../gpu-worker/worker.ts'
import { LabelRecord } from '../../schemas/label-record.ts'
import type { RunAction } from '../../schemas/run-control.ts'
import { manifestVersion, manifestFileName, ModelManifest } from '../../schemas/model-manifest.ts'
import { type CountingEngine, openCountingEngine } from './counting-engine.ts'
import { tempFolder } from './temp-folder.ts'
import type { TestPlace } from './places.ts'

/** A verb as a shell would run it: its exit code and what it said. */
export async function runVerb(
  verb: (args: readonly string[], root: VerbRoot) => Promise<number>,
  args: readonly string[],
  root: Partial<VerbRoot> = {},
): Promise<{ code: number; out: string; told: string }> {
  const [out, told]: [string[], string[]] = [[], []]
  const code = await verb(args, {
    print: (text) => out.push(text),
    tell: (text) => told.push(text),
    printsToTerminal: false,
    progress: { isTerminal: false, columns: 80, write: (text) => told.push(text) },
    clock: () => new Date(),
    sleep: async () => {},
    onInterrupt: () => () => {},
    ...root,
  })
  return { code, out: out.join('\n'), told: told.join('\n') }
}

/** `pause`, `resume` or `cancel` as runVerb takes a verb. */
export function controls(action: RunAction) {
  return async (args: readonly string[], root: VerbRoot) => await runControl(action, args, root)
}

/** A worker that drains the place's queue; returns its exit code and log. */
export async function runTestWorker(
  { workerEnvironment }: TestPlace,
  {
    engine = openCountingEngine(),
    stop = new AbortController().signal,
    ...more
  }: { engine?: CountingEngine; stop?: AbortSignal; [name: string]: unknown } = {},
): Promise<{ code: number; lines: string[]; images: number }> {
  const lines: string[] = []
  const code = await runWorkerProcess({
    environment: {
      ...workerEnvironment,
      COGLABEL_MODEL: 'counting',
      COGLABEL_MODE: 'drain',
      COGLABEL_IDLE_EXIT_SECONDS: '0.3',
      ...(more as Record<string, string>),
    },
    openEngine: async () => engine,
    openDecoder: () => decodeHere,
    log: (line) => lines.push(line),
    stop,
  })
  // One image is the worker's own test of its engine.
  return { code, lines, images: engine.counts.images - 1 }
}

/** The manifest of the counting engine, as that of a compiled model: enough to submit a run for it. */
export async function writeCountingModel(): Promise<{ folder: string; text: string; digest: string }> {
  const folder = join(await tempFolder(), 'model')
  const { info } = openCountingEngine()
  const { name, digest, licence } = info.model
  const manifest: ModelManifest = ModelManifest.parse({
    v: manifestVersion,
    name,
    family: 'cogvlm',
    digest,
    licence,
    target: 'cpu',
    weights: 'fp32',
    template: info.template,
    capabilities: info.capabilities,
    vision: { imageSize: 16, patchRows: 1, hiddenSize: 8, mean: [0, 0, 0], std: [1, 1, 1] },
    language: {
      hiddenSize: 8,
      layerCount: 1,
      headCount: 1,
      kvHeadCount: 1,
      headDim: 8,
      vocabSize: 8,
      maxPositions: 64,
    },
    rotary: { theta: 10_000, mode: 'fp32', inverseFrequencies: [1] },
    tokens: { bos: 1, eos: [2], placeholder: 0 },
    tokenizer: null,
    graphs: { vision: 'vision.onnx', decoder: 'decoder.onnx' },
    trace: { layers: [], finalNorm: 'norm' },
    quantized: [],
    files: [],
    source: { config: {}, compiler: 'test' },
  })
  const text = JSON.stringify(manifest)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, manifestFileName), text)
  return { folder, text, digest }
}

/** What the view of a run folder has. */
export async function readLabels(folder: string): Promise<LabelRecord[]> {
  const text = await readFile(join(folder, 'labels.jsonl'), 'utf8')
  return text
    .trim()
    .split('\n')
    .map((line) => LabelRecord.parse(JSON.parse(line)))
}
