// What an engine is to its callers: it answers prompts about one image. It does not know tasks, records or files.
// Implementations: the in-process engine over a compiled model (engine.ts), the same behind a child process (host.ts),
// and a server that somebody else runs (endpoint/).
import type { Constraint } from '../../schemas/constraint.ts'
import { InvariantError } from '../../schemas/errors.ts'
import type { Failure } from '../../schemas/failure.ts'
import type { PromptTemplate } from '../../schemas/model-manifest.ts'
import type { RunModel } from '../../schemas/run-config.ts'
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
  /** The form that the answer is read in, held or not: an engine that cannot hold it asks for it in words. */
  form?: Constraint | undefined
}

export type PromptTurn = { question: string; answer: string }

/** What the model said to one prompt, in the order the prompts were given. */
export type Answer = {
  /** The rendered prompt, without image placeholders. */
  promptText: string
  /** Decoded text, end-of-text token left out, one leading space removed. Boxes are [[x0,y0,x1,y1]], per mille. */
  text: string
  /** What the model said, where its boxes had to be rewritten for `text`. */
  raw?: string
  /** What was lost or mended in the rewriting, for people. */
  repairs?: readonly string[]
  /** Why there is no usable answer to this one prompt; `text` is what there is of it, often nothing. */
  failure?: Failure
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
  model: RunModel
  /** Runtime and the kernel class it was found to use, for example `onnxruntime-node/cpu/int8-7bit`. */
  engine: string
  engineVersion: string
  template: PromptTemplate
  capabilities: readonly string[]
  /** What `openImage` takes. */
  image: PixelForm | PictureForm
  /** Images it has work for at a time, where that is more than the run's own limit. */
  imagesAtOnce?: number
  /** Something the user should know about this machine, in one sentence. */
  notice?: string
}

/** float32 [3, size, size], normalised with mean and std per RGB channel. */
export type PixelForm = { kind: 'pixels'; size: number; mean: readonly number[]; std: readonly number[] }

/** An image file, upright and without metadata. */
export type PictureForm = {
  kind: 'picture'
  /** Both sides are made multiples of it; 1 keeps the shape. */
  grid: number
  minPixels: number
  maxPixels: number
}

/** An image as an engine of the form `picture` takes it. */
export type Picture = { bytes: Uint8Array; mime: string; width: number; height: number }

/** The native runtime died while it worked on one image, again after a restart. Other images are not affected. */
export class EngineCrashError extends Error {
  override readonly name = 'EngineCrashError'
}

export type Engine = {
  readonly info: EngineInfo
  /** Takes an image in the form that `info.image` says, or null for text only. */
  openImage(image: Float32Array | Picture | null, signal?: AbortSignal): Promise<ImageSession>
  close(): Promise<void>
}

/** An engine that runs the model itself. */
export type PixelEngine = Engine & { readonly info: EngineInfo & { image: PixelForm } }

/** What an engine of the form `pixels` was given. */
export function expectPixels(image: Float32Array | Picture | null): Float32Array | null {
  if (image === null || image instanceof Float32Array) return image
  throw new InvariantError('an engine that takes pixels was given a picture')
}
