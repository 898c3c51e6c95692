// An engine without a model: its answers follow from the pixels and the question, so that every run can be repeated.
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expectPixels } from '../../gpu-worker/engine/contract.ts'
import type { Answer, Engine, PromptRequest } from '../../gpu-worker/engine/contract.ts'

export type CountingEngine = Engine & {
  counts: { images: number; prompts: number; open: number; maxOpen: number }
}

type CountingOptions = {
  delayMs?: number
  capabilities?: readonly string[]
  /** Tells two models apart. */
  digest?: string
  /** Replaces the answer to a prompt; may throw. */
  answer?: (request: PromptRequest, pixelsHash: string) => string | undefined
}

const allTasks = ['caption', 'detailed-caption', 'qa', 'grounded-caption', 'ground']

/** Opens the double; `counts` says what it was asked to do. */
export function openCountingEngine({
  delayMs = 0,
  capabilities = allTasks,
  digest = 'c0'.repeat(32),
  answer,
}: CountingOptions = {}): CountingEngine {
  const counts = { images: 0, prompts: 0, open: 0, maxOpen: 0 }
  return {
    counts,
    info: {
      model: { name: 'counting', digest, weights: 'none', licence: 'none' },
      engine: 'counting-engine',
      engineVersion: '1',
      template: 'chat',
      capabilities,
      image: { kind: 'pixels', size: 16, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
    },
    async openImage(image, signal) {
      signal?.throwIfAborted()
      const pixels = expectPixels(image)
      counts.images += 1
      counts.open += 1
      counts.maxOpen = Math.max(counts.maxOpen, counts.open)
      const hash = hashOf(pixels)
      return {
        async generate(prompts, generateSignal) {
          if (delayMs > 0)
            await sleep(delayMs, undefined, generateSignal === undefined ? {} : { signal: generateSignal })
          generateSignal?.throwIfAborted()
          counts.prompts += prompts.length
          return prompts.map((request) => answerTo(request, { hash, text: answer?.(request, hash) }))
        },
        async close() {
          counts.open -= 1
        },
      }
    },
    async close() {},
  }
}

function answerTo(
  request: PromptRequest,
  { hash, text }: { hash: string; text: string | undefined },
): Answer {
  const said = text ?? inventAnswer(request, hash)
  const tokenIds = Array.from(said, (character) => character.codePointAt(0) ?? 0)
  return {
    promptText: `Question: ${request.question} Answer:`,
    text: said,
    tokenIds,
    finishReason: 'stop',
    usage: { promptTokens: request.question.length, imageTokens: 18, outputTokens: tokenIds.length },
  }
}

function inventAnswer({ question, sampling }: PromptRequest, hash: string): string {
  const number = Number.parseInt(hash.slice(0, 2), 16)
  const box = `[[${[number, number, number + 100, number + 200].map((value) => String(value).padStart(3, '0')).join(',')}]]`
  if (question.includes('box'))
    return question.startsWith('Where') ? box : `A thing ${box} numbered ${hash.slice(0, 8)}.`
  return sampling.temperature > 0
    ? `thing ${hash.slice(0, 8)} drawn by ${sampling.seed}`
    : `thing ${hash.slice(0, 8)}`
}

function hashOf(pixels: Float32Array | null): string {
  const bytes =
    pixels === null ? new Uint8Array() : new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength)
  return createHash('sha256').update(bytes).digest('hex')
}
