// The engine over a compiled model, in this process: prompts in, text out. One image's prompts share its prefill.
import { totalmem } from 'node:os'
import { patternOf } from '../../schemas/constraint.ts'
import { UserError } from '../../schemas/errors.ts'
import { tokenizerAdvice } from '../../schemas/model-manifest.ts'
import type { CacheFormat, Target } from '../../schemas/model-manifest.ts'
import { openTokenizer } from '../tokenizer/tokenizer.ts'
import type { Tokenizer } from '../tokenizer/tokenizer-contract.ts'
import { renderPrompt } from '../tokenizer/template.ts'
import { createBatch } from './batch.ts'
import type { Batch, OpenPrefix } from './batch.ts'
import { prefixBytes, suffixRowBytes } from './cache-budget.ts'
import type { CacheNeeds } from './cache-budget.ts'
import { openCompiledModel, requireTarget } from './compiled-model.ts'
import type { CompiledModel } from './compiled-model.ts'
import { expectPixels } from './contract.ts'
import type { Answer, ImageSession, PixelEngine, PromptRequest } from './contract.ts'
import { type Constrainer, openConstrainer } from './constraint.ts'
import { openDecoder } from './decoder.ts'
import { wholeLanes } from './kv-cache.ts'
import type { Decoder } from './decoder-contract.ts'
import { prefixFailure } from './sequence.ts'
import type { SequenceRequest } from './sequence.ts'
import { imagePrefix, textPrefix } from './prefix.ts'
import { runtimeName, runtimeVersion } from './session.ts'

export type EngineOptions = {
  modelFolder: string
  threads?: number
  /** How the rows of images are cached; where it is left out, in bytes if the weights are in 4 bits, else in float32. */
  cacheFormat?: CacheFormat
  /** The most memory for keys and values. What does not fit waits. */
  cacheBytes?: number
  /** The CPU when left out. */
  device?: Target
  /** Weights that a stage does not need leave memory, for a second or two an image (LOG.md). */
  lowMemory?: boolean
}

/**
 * Loads a compiled model. Throws UserError when it cannot be used: damaged, for another device, or without a tokenizer.
 */
export async function openEngine({
  modelFolder,
  threads,
  device = 'cpu',
  cacheFormat,
  cacheBytes,
  lowMemory = false,
}: EngineOptions): Promise<PixelEngine> {
  const compiled = await openCompiledModel(modelFolder)
  requireTarget(compiled, device)
  const tokenizer = await loadTokenizer(compiled)
  const threadOption = threads === undefined ? {} : { threads }
  const decoder = await openDecoder(compiled, {
    device,
    cacheFormat: cacheFormat ?? usualCacheFormat(compiled),
    lowMemory,
    ...threadOption,
  })
  const bos = await textPrefix(decoder)
  const needs = cacheNeeds(decoder, cacheBytes)
  const batch = createBatch(decoder, needs)
  const constrainer = openConstrainer(tokenizer)
  return {
    info: describe(compiled, decoder),
    openImage: async (image, signal) => {
      signal?.throwIfAborted()
      const pixels = expectPixels(image)
      if (pixels === null)
        return imageSession({
          decoder,
          tokenizer,
          constrainer,
          batch,
          open: { prefix: bos, close: () => {} },
        })
      const bytes = imageBytes(decoder)
      const open = await batch.open(() => imagePrefix(decoder, bos, pixels), bytes, signal)
      return imageSession({ decoder, tokenizer, constrainer, batch, open })
    },
    close: async () => {
      await batch.idle()
      await decoder.close()
    },
  }
}

/** Who took 4 bits wants little memory, and what bytes add to their error is a hundredth of it (LOG.md, 2026-11-27). */
function usualCacheFormat({ manifest: { weights, graphs } }: CompiledModel): CacheFormat {
  return weights === 'int4' && graphs.decoderInt8Cache !== undefined ? 'int8' : 'fp32'
}

/** bos, boi, patches and eoi. */
function imageBytes({ compiled, shape, cacheFormat }: Decoder): number {
  return prefixBytes(shape, { rows: compiled.manifest.vision.patchRows + 3, format: cacheFormat })
}

/** A fifth of the memory where nobody says otherwise, and never less than one image and its longest answer need. */
function cacheNeeds(decoder: Decoder, cacheBytes: number | undefined): CacheNeeds {
  const longestRows = wholeLanes(decoder.compiled.manifest.language.maxPositions)
  const rowBytes = suffixRowBytes(decoder.shape)
  const least = imageBytes(decoder) + longestRows * rowBytes
  if (cacheBytes !== undefined && cacheBytes < least) {
    throw new UserError(
      `the cache may have ${megabytes(cacheBytes)} MB, one image and its longest answer need ${megabytes(least)} MB; allow more`,
    )
  }
  return { limitBytes: cacheBytes ?? Math.max(least, totalmem() / 5), rowBytes, longestRows }
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6)
}

function imageSession({
  decoder,
  tokenizer,
  constrainer,
  batch,
  open: { prefix, close },
}: {
  decoder: Decoder
  tokenizer: Tokenizer
  constrainer: Constrainer
  batch: Batch
  open: OpenPrefix
}): ImageSession {
  const { manifest } = decoder.compiled
  const imageTokens = prefix.rows.length - 1
  let isOpen = true
  const firstPosition = prefix.nextPosition
  const failure = prefixFailure(prefix)
  return {
    generate: async (prompts, signal) => {
      const rendered = prompts.map((prompt) => {
        const promptText = renderPrompt(prompt)
        return { prompt, promptText, tokenIds: tokenizer.encode(promptText) }
      })
      const requests = rendered.map(({ prompt, tokenIds }) =>
        toRequest({
          prompt,
          constrainer,
          // As the reference's input begins: bos, and a placeholder for each of the image's rows.
          prefixIds: [manifest.tokens.bos, ...(imageTokens > 0 ? [manifest.tokens.placeholder] : [])],
          tokenIds,
          stopIds: manifest.tokens.eos,
          room: manifest.language.maxPositions - firstPosition - tokenIds.length,
        }),
      )
      // Beside others its rows would make theirs no numbers, too.
      const fitting = failure === undefined ? requests.filter((request) => request !== undefined) : []
      const results = await batch.generate(prefix, fitting, signal)
      return rendered.map(({ promptText, tokenIds }, index): Answer => {
        const promptTokens = 1 + tokenIds.length
        const request = requests[index]
        const result = request === undefined ? undefined : results[fitting.indexOf(request)]
        if (result === undefined) {
          return {
            promptText,
            text: '',
            tokenIds: [],
            finishReason: request === undefined ? 'prompt-too-long' : 'length',
            usage: { promptTokens, imageTokens, outputTokens: 0 },
            ...(failure === undefined ? {} : { failure }),
          }
        }
        const usage = { promptTokens, imageTokens, outputTokens: result.tokenIds.length }
        return {
          promptText,
          text: tokenizer.decode(result.tokenIds).trim(),
          tokenIds: result.tokenIds,
          finishReason: result.finishReason,
          usage,
          ...(result.failure === undefined ? {} : { failure: result.failure }),
        }
      })
    },
    close: () => {
      if (isOpen) close()
      isOpen = false
      return Promise.resolve()
    },
  }
}

/** A prompt as token ids, its answer cut to the positions that are left; undefined where none is. */
function toRequest({
  prompt,
  constrainer,
  prefixIds,
  tokenIds,
  stopIds,
  room,
}: {
  prompt: PromptRequest
  constrainer: Constrainer
  prefixIds: readonly number[]
  tokenIds: readonly number[]
  stopIds: readonly number[]
  room: number
}): SequenceRequest | undefined {
  if (room < 1) return undefined
  const follower = prompt.constraint && constrainer.follow(patternOf(prompt.constraint))
  const maxNewTokens = Math.min(prompt.maxNewTokens, room)
  return { prefixIds, tokenIds, maxNewTokens, sampling: prompt.sampling, stopIds, follower }
}

async function loadTokenizer({ folder, manifest }: CompiledModel): Promise<Tokenizer> {
  if (manifest.tokenizer === null) {
    throw new UserError(
      `${folder} was compiled without a tokenizer: it can be traced with token ids but not label. ` +
        tokenizerAdvice,
    )
  }
  const tokenizer = await openTokenizer({ folder, ...manifest.tokenizer })
  if (tokenizer.vocabSize > manifest.language.vocabSize) {
    throw new UserError(
      `the tokenizer of ${folder} has ${tokenizer.vocabSize} tokens, the model ${manifest.language.vocabSize}; they do not belong together`,
    )
  }
  return tokenizer
}

/** The runtime holds memory on WebGPU for us, on CUDA not. A step's least on an H100 is in LOG.md. */
const deviceNotices: Record<Target, string | undefined> = {
  cpu: undefined,
  webgpu:
    'on the one GPU that was measured each token took 10 ms or more on WebGPU, so small models are faster with --device cpu',
  cuda: 'its rate on this device is unmeasured, and keys and values cross the bus with every few tokens',
}

function describe({ manifest }: CompiledModel, decoder: Decoder): PixelEngine['info'] {
  const { name, digest, weights, licence, template, capabilities, vision } = manifest
  const told = [deviceNotices[manifest.target] ?? decoder.kernel.notice, decoder.notice]
  const notices = told.filter((one) => one !== undefined)
  return {
    model: { name, digest, weights, licence },
    engine: `${runtimeName}/${manifest.target}/${decoder.kernel.name}${decoder.cacheFormat === 'fp32' ? '' : `/kv-${decoder.cacheFormat}`}`,
    engineVersion: runtimeVersion,
    template,
    capabilities,
    image: { kind: 'pixels', size: vision.imageSize, mean: vision.mean, std: vision.std },
    ...(notices.length === 0 ? {} : { notice: notices.join('; ') }),
  }
}
