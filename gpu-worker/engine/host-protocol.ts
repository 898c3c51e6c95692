// Messages between the engine host and its process. Both ends are this code of the same version, so they are not parsed.
import type { Answer, PixelEngine, PromptRequest } from './contract.ts'
import type { EngineOptions } from './engine.ts'

export type HostRequest =
  | { kind: 'load'; id: number; options: EngineOptions }
  | { kind: 'open'; id: number; pixels: Float32Array | null }
  | { kind: 'generate'; id: number; imageId: number; prompts: PromptRequest[] }
  | { kind: 'close'; id: number; imageId: number }
  | { kind: 'cancel'; id: number; target: number }

export type HostReply =
  | { kind: 'loaded'; id: number; info: PixelEngine['info'] }
  | { kind: 'opened'; id: number; imageId: number }
  | { kind: 'answered'; id: number; answers: Answer[] }
  | { kind: 'failed'; id: number; message: string; thrown: Thrown }

/** Which of our errors it was; `runtime` for one that the native runtime threw, which is about what it was given. */
export type Thrown = 'user' | 'retryable' | 'invariant' | 'runtime'
