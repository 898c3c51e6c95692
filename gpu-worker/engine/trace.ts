// Runs one sequence with every intermediate value looked at, to compare a compiled model with the original.
// Uses the decoder graph of `label` with outputs added (who adds them is not known here).
import { InvariantError, UserError } from '../../schemas/errors.ts'
import { greedySampling } from '../../schemas/sampling.ts'
import type { Decoder, DecoderRows } from './decoder-contract.ts'
import { causalMask } from './attention-mask.ts'
import { generate } from './generation.ts'
import type { PrefixRows } from './kv-cache.ts'
import { sequencePositions, visionRange } from './layout.ts'

export type TraceCase = {
  /** float32 [3, S, S], or null for text. */
  pixels: Float32Array | null
  inputIds: readonly number[]
  /** 1 for every image placeholder (boi, patches, eoi), 0 for bos and text. */
  tokenTypeIds: readonly number[]
  positionIds?: readonly number[] | undefined
  maxNewTokens: number
}

export type Trace = {
  /** [N + 2, H]; null without an image. */
  imageFeatures: Float32Array | null
  /** Output of each decoder layer before the final norm, [L, T, H]. */
  hidden: Float32Array
  /** [T, H] */
  finalNorm: Float32Array
  /** [V], of the last position. */
  lastLogits: Float32Array
  /** Greedy continuation; eos does not stop it. */
  greedyIds: number[]
}

/** Traces one sequence. Throws UserError for layouts that no CogVLM prompt has. */
export async function traceSequence(decoder: Decoder, traceCase: TraceCase): Promise<Trace> {
  const { manifest } = decoder.compiled
  const vision = visionRange(traceCase, manifest.vision.patchRows)
  const positionIds = traceCase.positionIds ?? sequencePositions(traceCase.tokenTypeIds)
  const total = traceCase.inputIds.length
  if (positionIds.length !== total)
    throw new UserError(`position_ids has ${positionIds.length} elements, input_ids ${total}`)
  const imageFeatures =
    traceCase.pixels === null || vision === undefined ? null : await decoder.encodeImage(traceCase.pixels)
  const steps = splitSteps({ total, vision, inputIds: traceCase.inputIds })
  const collected: StepTrace[] = []
  let prefix = decoder.emptyPrefix()
  for (const step of steps.slice(0, -1)) {
    const outcome = await runStep(decoder, { step, prefix, positionIds, imageFeatures })
    prefix = outcome.prefix
    collected.push(outcome)
  }
  const lastStep = steps.at(-1)
  if (lastStep === undefined) throw new UserError('input_ids is empty; a sequence starts with bos')
  const last = await runStep(decoder, { step: lastStep, prefix, positionIds, imageFeatures })
  collected.push(last)
  const greedyIds = await continueGreedily(decoder, { traceCase, lastStep, prefix, positionIds, last })
  return { imageFeatures, ...joinTraces(decoder, collected, total), lastLogits: last.lastLogits, greedyIds }
}

/** Rows [start, end) of the sequence that run together: first the prefix as `label` runs it, then the text. */
type Step = { start: number; end: number; kind: 'image' | 'tokens'; tokenIds: readonly number[] }

function splitSteps({
  total,
  vision,
  inputIds,
}: {
  total: number
  vision: { start: number; end: number } | undefined
  inputIds: readonly number[]
}): Step[] {
  const tokens = (start: number, end: number): Step => ({
    start,
    end,
    kind: 'tokens',
    tokenIds: inputIds.slice(start, end),
  })
  // bos alone: it is before everything, and label runs it once for all images.
  const steps = [tokens(0, Math.min(1, total))]
  if (vision !== undefined) steps.push({ ...vision, kind: 'image', tokenIds: [] })
  const textStart = vision?.end ?? 1
  if (textStart < total) steps.push(tokens(textStart, total))
  return steps.filter(({ start, end }) => end > start)
}

type StepTrace = {
  /** What the step ends with where it belongs to the prefix; what it started from where it is text. */
  prefix: PrefixRows
  rowCount: number
  /** Per layer [rows, H]. */
  hidden: Float32Array[]
  finalNorm: Float32Array
  lastLogits: Float32Array
}

async function runStep(
  decoder: Decoder,
  {
    step,
    prefix,
    positionIds,
    imageFeatures,
  }: { step: Step; prefix: PrefixRows; positionIds: readonly number[]; imageFeatures: Float32Array | null },
): Promise<StepTrace> {
  const { manifest } = decoder.compiled
  const { hiddenSize, patchRows } = manifest.vision
  const rowCount = step.end - step.start
  const none = new Float32Array(0)
  const image = step.kind === 'image' ? imageFeatures : null
  const names = [
    manifest.trace.finalNorm,
    ...manifest.trace.layers.flatMap(({ vision, language }) => [vision, language]),
  ]
  const rows: DecoderRows = {
    visionRows: image?.subarray(0, (patchRows + 1) * hiddenSize) ?? none,
    embeddedRows: image?.subarray((patchRows + 1) * hiddenSize) ?? none,
    tokenIds: step.tokenIds,
    positionIds: positionIds.slice(step.start, step.end),
    // All rows, because the final norm is applied to the rows whose logits are asked for.
    logitRows: Array.from({ length: rowCount }, (_, row) => row),
    traced: names,
  }
  const isText = step.kind === 'tokens' && step.start > 0
  const { logits, traced, ...after } = isText
    ? await decoder.run({
        ...rows,
        slots: [{ prefix, rowCount }],
        suffix: decoder.openSuffix().rows,
        mask: causalMask(rowCount),
      })
    : await decoder.extend(rows, prefix)
  const read = (name: string): Float32Array => {
    const tensor = traced[name]
    if (tensor?.type !== 'float32') throw new InvariantError(`the traced graph did not return ${name}`)
    return tensor.data
  }
  return {
    prefix: 'prefix' in after ? after.prefix : prefix,
    rowCount,
    hidden: manifest.trace.layers.map(({ vision, language }) => concatenate([read(vision), read(language)])),
    finalNorm: read(manifest.trace.finalNorm),
    lastLogits: logits.slice((rowCount - 1) * manifest.language.vocabSize),
  }
}

/** Runs the text again through the generation loop of `label`, which must give the same first token. */
async function continueGreedily(
  decoder: Decoder,
  {
    traceCase,
    lastStep,
    prefix,
    positionIds,
    last,
  }: {
    traceCase: TraceCase
    lastStep: Step
    prefix: PrefixRows
    positionIds: readonly number[]
    last: StepTrace
  },
): Promise<number[]> {
  const request = { maxNewTokens: traceCase.maxNewTokens, sampling: greedySampling, stopIds: [] }
  if (lastStep.kind === 'image' || prefix.length === 0) {
    // The model speaks right after the image, or right after bos.
    const nextPosition = (positionIds.at(-1) ?? 0) + 1
    const behindImage = { rows: last.prefix, nextPosition, lastLogits: last.lastLogits }
    const [result] = await generate(decoder, behindImage, { requests: [{ ...request, tokenIds: [] }] })
    return result?.tokenIds ?? []
  }
  const text = { tokenIds: lastStep.tokenIds, positionIds: positionIds.slice(lastStep.start, lastStep.end) }
  const behindPrefix = { rows: prefix, nextPosition: 0, lastLogits: new Float32Array(0) }
  const [result] = await generate(decoder, behindPrefix, { requests: [{ ...request, ...text }] })
  return result?.tokenIds ?? []
}

function joinTraces(
  decoder: Decoder,
  steps: readonly StepTrace[],
  total: number,
): { hidden: Float32Array; finalNorm: Float32Array } {
  const { layerCount } = decoder.compiled.manifest.language
  const layers = Array.from({ length: layerCount }, (_, layer) =>
    concatenate(steps.map(({ hidden }) => hidden[layer] ?? new Float32Array(0))),
  )
  const finalNorm = concatenate(steps.map((step) => step.finalNorm))
  const { hiddenSize } = decoder.compiled.manifest.language
  if (finalNorm.length !== total * hiddenSize)
    throw new InvariantError('the traced rows do not add up to the sequence')
  return { hidden: concatenate(layers), finalNorm }
}

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const joined = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}
