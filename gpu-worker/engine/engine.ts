// The engine over a compiled model, in this process: prompts in, text out. One image's prompts share its prefill.
import { patternOf } from '../../schemas/constraint.ts'
import { UserError } from '../../schemas/errors.ts'
import type { Target } from '../../schemas/model-manifest.ts'
import { tokenizerAdvice } from '../../schemas/model-manifest.ts'
import { openTokenizer } from '../tokenizer/tokenizer.ts'
import type { Tokenizer } from '../tokenizer/tokenizer-contract.ts'
import { renderPrompt } from '../tokenizer/template.ts'
import { openCompiledModel, requireTarget } from './compiled-model.ts'
import type { CompiledModel } from './compiled-model.ts'
import { expectPixels } from './contract.ts'
import type { Answer, ImageSession, PixelEngine, PromptRequest } from './contract.ts'
import { type Constrainer, openConstrainer } from './constraint.ts'
import { openDecoder } from './decoder.ts'
import type { Decoder } from './decoder.ts'
import { generate } from './generation.ts'
import type { Prefix, SequenceRequest } from './generation.ts'
import { imagePrefix, textPrefix } from './prefix.ts'
import { runtimeName, runtimeVersion } from './session.ts'
import { createTurnQueue } from './turn-queue.ts'
import type { InTurn } from './turn-queue.ts'

export type EngineOptions = {
  modelFolder: string
  threads?: number
  /** The CPU when left out. */
  device?: Target
}

/**
 * Loads a compiled model. Throws UserError when it cannot be used: damaged, for another device, or without a tokenizer.
 */
export async function openEngine({
  modelFolder,
  threads,
  device = 'cpu',
}: EngineOptions): Promise<PixelEngine> {
  const compiled = await openCompiledModel(modelFolder)
  requireTarget(compiled, device)
  const tokenizer = await loadTokenizer(compiled)
  const decoder = await openDecoder(compiled, { device, ...(threads === undefined ? {} : { threads }) })
  const bos = await textPrefix(decoder)
  const inTurn = createTurnQueue()
  const constrainer = openConstrainer(tokenizer)
  return {
    info: describe(compiled, decoder),
    openImage: (image, signal) =>
      inTurn(async () => {
        signal?.throwIfAborted()
        const pixels = expectPixels(image)
        const prefix = pixels === null ? bos : await imagePrefix(decoder, bos, pixels)
        return imageSession({ decoder, tokenizer, constrainer, prefix, hasImage: pixels !== null, inTurn })
      }),
    close: () => inTurn(() => decoder.close()),
  }
}

function imageSession({
  decoder,
  tokenizer,
  constrainer,
  prefix,
  hasImage,
  inTurn,
}: {
  decoder: Decoder
  tokenizer: Tokenizer
  constrainer: Constrainer
  prefix: Prefix
  hasImage: boolean
  inTurn: InTurn
}): ImageSession {
  const { manifest } = decoder.compiled
  const imageTokens = hasImage ? manifest.vision.patchRows + 2 : 0
  const firstPosition = prefix.nextPosition
  return {
    generate: (prompts, signal) =>
      inTurn(async () => {
        const rendered = prompts.map((prompt) => {
          const promptText = renderPrompt(prompt)
          return { prompt, promptText, tokenIds: tokenizer.encode(promptText) }
        })
        const requests = rendered.map(({ prompt, tokenIds }) =>
          toRequest({
            prompt,
            constrainer,
            tokenIds,
            stopIds: manifest.tokens.eos,
            room: manifest.language.maxPositions - firstPosition - tokenIds.length,
          }),
        )
        const fitting = requests.filter((request) => request !== undefined)
        const results = await generate(decoder, prefix, { requests: fitting, signal })
        return rendered.map(({ promptText, tokenIds }, index): Answer => {
          const promptTokens = 1 + tokenIds.length
          const request = requests[index]
          const result = request === undefined ? undefined : results[fitting.indexOf(request)]
          if (result === undefined) {
            return {
              promptText,
              text: '',
              tokenIds: [],
              finishReason: 'prompt-too-long',
              usage: { promptTokens, imageTokens, outputTokens: 0 },
            }
          }
          const usage = { promptTokens, imageTokens, outputTokens: result.tokenIds.length }
          return {
            promptText,
            text: tokenizer.decode(result.tokenIds).trim(),
            tokenIds: result.tokenIds,
            finishReason: result.finishReason,
            usage,
          }
        })
      }),
    close: () => Promise.resolve(),
  }
}

/** A prompt as token ids, its answer cut to the positions that are left; undefined where none is. */
function toRequest({
  prompt,
  constrainer,
  tokenIds,
  stopIds,
  room,
}: {
  prompt: PromptRequest
  constrainer: Constrainer
  tokenIds: readonly number[]
  stopIds: readonly number[]
  room: number
}): SequenceRequest | undefined {
  if (room < 1) return undefined
  const follower = prompt.constraint && constrainer.follow(patternOf(prompt.constraint))
  const maxNewTokens = Math.min(prompt.maxNewTokens, room)
  return { tokenIds, maxNewTokens, sampling: prompt.sampling, stopIds, follower }
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

/** On a GPU the loop still keeps the cache in this process's memory. */
const unmeasuredNotice =
  'its rate on this device is unmeasured, and keys and values cross the bus at every step'

function describe({ manifest }: CompiledModel, decoder: Decoder): PixelEngine['info'] {
  const { name, digest, weights, licence, template, capabilities, vision } = manifest
  const notice = manifest.target === 'cpu' ? decoder.kernel.notice : unmeasuredNotice
  return {
    model: { name, digest, weights, licence },
    engine: `${runtimeName}/${manifest.target}/${decoder.kernel.name}`,
    engineVersion: runtimeVersion,
    template,
    capabilities,
    image: { kind: 'pixels', size: vision.imageSize, mean: vision.mean, std: vision.std },
    ...(notice === undefined ? {} : { notice }),
  }
}
