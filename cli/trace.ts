// `coglabel trace`: runs one sequence through a compiled model and writes every intermediate value, to compare a
// conversion with the original. It runs the graph of `label` with outputs added.
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import type { ModelManifest } from '../schemas/model-manifest.ts'
import { openCompiledModel, requireTarget } from '../gpu-worker/engine/compiled-model.ts'
import { openDecoder } from '../gpu-worker/engine/decoder.ts'
import type { Decoder } from '../gpu-worker/engine/decoder-contract.ts'
import { traceSequence } from '../gpu-worker/engine/trace.ts'
import type { Trace, TraceCase } from '../gpu-worker/engine/trace.ts'
import { appendOutputs } from '../gpu-worker/model/onnx.ts'
import { decodeFloats, encodeSafetensors, openSafetensors } from '../gpu-worker/model/safetensors.ts'
import type { OutgoingTensor } from '../gpu-worker/model/safetensors.ts'

export const traceUsage = `coglabel trace COMPILED_DIR --case CASE.json --out OUT.safetensors

CASE.json: {"pixel_values": {"file": "x.safetensors", "tensor": "name"} | null, "input_ids": [...],
"token_type_ids": [...], "position_ids": [...] (optional), "max_new_tokens": 24}; files are relative to CASE.json.
OUT: image_features [N+2,H], hidden [L,T,H], final_norm [T,H], last_logits [V], greedy_ids [max_new_tokens].

Exit code: 0 written, 1 fatal, 2 wrong usage.`

const Ids = z.array(z.int().nonnegative()).min(1).max(1_000_000)

const CaseFile = z.strictObject({
  pixel_values: z.strictObject({ file: z.string().min(1), tensor: z.string().min(1) }).nullable(),
  input_ids: Ids,
  token_type_ids: z.array(z.int().min(0).max(1)).min(1).max(1_000_000),
  // A table of cosines is made up to the largest position.
  position_ids: z.array(z.int().min(0).max(1_000_000)).min(1).max(1_000_000).optional(),
  max_new_tokens: z.int().nonnegative().max(100_000).default(24),
})

/** Runs the verb; returns the exit code. */
export async function runTrace(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { case: { type: 'string' }, out: { type: 'string' } },
    allowPositionals: true,
  })
  const [modelFolder, ...rest] = positionals
  if (modelFolder === undefined || rest.length > 0 || values.case === undefined || values.out === undefined) {
    throw new UserError(`trace takes one compiled folder, --case and --out\n\n${traceUsage}`)
  }
  const decoder = await openTracedDecoder(modelFolder)
  try {
    requireTarget(decoder.compiled, 'cpu')
    const traceCase = await readCase(values.case, decoder.compiled.manifest)
    const trace = await traceSequence(decoder, traceCase)
    await writeFile(values.out, encodeSafetensors(toTensors(trace, traceCase, decoder.compiled.manifest)))
  } finally {
    await decoder.close()
  }
  console.log(`wrote ${resolve(values.out)}`)
  return 0
}

/** The decoder of a compiled folder, its graph given the traced values as outputs. */
export async function openTracedDecoder(modelFolder: string): Promise<Decoder> {
  const compiled = await openCompiledModel(modelFolder)
  const { trace, graphs } = compiled.manifest
  const names = [trace.finalNorm, ...trace.layers.flatMap(({ vision, language }) => [vision, language])]
  const graph = await readFile(join(modelFolder, graphs.decoder))
  return openDecoder(compiled, {
    decoderGraph: appendOutputs(
      graph,
      names.map((name) => ({ name, elementType: 'float32' })),
    ),
  })
}

async function readCase(path: string, manifest: ModelManifest): Promise<TraceCase> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UserError(`cannot read the case ${path}: ${reason}\n\n${traceUsage}`, { cause })
  })
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new UserError(`${path} is not JSON`, { cause })
  }
  const parsed = CaseFile.safeParse(json)
  if (!parsed.success)
    throw new UserError(`${path} is not a trace case: ${z.prettifyError(parsed.error)}\n\n${traceUsage}`)
  const fields = parsed.data
  const largest = Math.max(...fields.input_ids)
  if (largest >= manifest.language.vocabSize) {
    throw new UserError(
      `${path} has the token id ${largest}; the vocabulary has ${manifest.language.vocabSize}`,
    )
  }
  return {
    pixels:
      fields.pixel_values === null ? null : await readPixels(dirname(path), fields.pixel_values, manifest),
    inputIds: fields.input_ids,
    tokenTypeIds: fields.token_type_ids,
    positionIds: fields.position_ids,
    maxNewTokens: fields.max_new_tokens,
  }
}

async function readPixels(
  folder: string,
  { file, tensor }: { file: string; tensor: string },
  manifest: ModelManifest,
): Promise<Float32Array> {
  const opened = await openSafetensors(resolve(folder, file))
  try {
    const stored = opened.tensors.get(tensor)
    if (stored === undefined)
      throw new UserError(
        `${file} has no tensor ${tensor}; it has ${[...opened.tensors.keys()].slice(0, 10).join(', ')}`,
      )
    const size = manifest.vision.imageSize
    const shape = stored.shape.join(', ')
    if (shape !== `3, ${size}, ${size}` && shape !== `1, 3, ${size}, ${size}`) {
      throw new UserError(
        `${tensor} in ${file} is [${shape}]; the model takes [3, ${size}, ${size}] (or with a leading 1)`,
      )
    }
    return decodeFloats(
      await opened.readBytes(stored, 0, stored.end - stored.begin),
      stored.storedType,
      tensor,
    )
  } finally {
    await opened.close()
  }
}

function toTensors(
  trace: Trace,
  { inputIds }: TraceCase,
  { language, vision }: ModelManifest,
): OutgoingTensor[] {
  const { hiddenSize, layerCount, vocabSize } = language
  const length = inputIds.length
  const image =
    trace.imageFeatures === null
      ? []
      : [{ name: 'image_features', shape: [vision.patchRows + 2, hiddenSize], data: trace.imageFeatures }]
  return [
    ...image,
    { name: 'hidden', shape: [layerCount, length, hiddenSize], data: trace.hidden },
    { name: 'final_norm', shape: [length, hiddenSize], data: trace.finalNorm },
    { name: 'last_logits', shape: [vocabSize], data: trace.lastLogits },
    {
      name: 'greedy_ids',
      shape: [trace.greedyIds.length],
      data: BigInt64Array.from(trace.greedyIds, BigInt),
    },
  ]
}
