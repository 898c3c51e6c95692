// What an engine is to its callers: it answers prompts about one image. It does not know tasks, records or files.
// Implementations: the in-process engine over a compiled model (engine.ts), the same behind a child process (host.ts).
import type { Constraint } from '../../schemas/constraint.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import type { Sampling } from '../../schemas/sampling.ts'

/** One question to the model. `history` holds past turns; the image always precedes everything. */
export type PromptRequest = {
  template: PromptTemplate
  history: readonly PromptTurn[]
  question: string
  maxNewTokens: number
  sampling: Sampling
  /** What the answer can be; anything when left out. An engine that cannot hold it answers freely. */
  constraint?: Constraint | undefined
}

export type PromptTurn = { question: string; answer: string }

/** What the model said to one prompt, in the order the prompts were given. */
export type Answer = {
  /** The rendered prompt, without image placeholders. */
  promptText: string
  /** Decoded text, end-of-text token left out, one leading space removed. */
  text: string
  tokenIds: number[]
  /** `prompt-too-long`: the prompt leaves no position for an answer; nothing was generated for it. */
  finishReason: 'stop' | 'length' | 'prompt-too-long'
  usage: { promptTokens: number; imageTokens: number; outputTokens: number }
}

/** One image whose keys and values stay cached until `close`, so that every prompt about it shares one prefill. */
export type ImageSession = {
  /**
   * Answers all prompts together, one per prompt, in order. Rejects with the signal's reason when it fires, and with
   * EngineCrashError when the native runtime died twice on this image.
   */
  generate(prompts: readonly PromptRequest[], signal?: AbortSignal): Promise<Answer[]>
  close(): Promise<void>
}

export type EngineInfo = {
  model: { name: string; digest: string; weights: string; licence: string }
  /** Runtime and the kernel class it was found to use, for example `onnxruntime-node/cpu/int8-7bit`. */
  engine: string
  engineVersion: string
  template: PromptTemplate
  capabilities: readonly string[]
  /** What `openImage` takes: float32 [3, size, size], normalised with mean and std per RGB channel. */
  image: { size: number; mean: readonly number[]; std: readonly number[] }
  /** Something the user should know about this machine, in one sentence. */
  notice?: string
}

/** The native runtime died while it worked on one image, again after a restart. Other images are not affected. */
export class EngineCrashError extends Error {
  override readonly name = 'EngineCrashError'
}

export type Engine = {
  readonly info: EngineInfo
  /** `pixels` is float32 [3, S, S] as `info.image` says, or null for text only. */
  openImage(pixels: Float32Array | null, signal?: AbortSignal): Promise<ImageSession>
  close(): Promise<void>
}
