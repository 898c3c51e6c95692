// Messages between the pool of decoders and its processes. Both ends are this code of the same version, so they are not
// parsed.
import type { PrepareResult, WantedImage } from './prepare.ts'

export type DecoderRequest = { id: number; bytes: Uint8Array; wanted: WantedImage }

export type DecoderReply =
  | { kind: 'ready' }
  | { kind: 'prepared'; id: number; result: PrepareResult }
  /** The process holds more than it may. */
  | { kind: 'too-much-memory'; residentBytes: number }
  /** A bug of ours. */
  | { kind: 'failed'; id: number; message: string }

/** The first argument of a decoder process: how much memory it may hold. */
export type DecoderArguments = { memoryBytes: number }
