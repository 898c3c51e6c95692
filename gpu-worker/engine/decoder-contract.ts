// What runs a compiled model's graphs is to its callers: pixels to image rows, rows to logits and new cache rows.
import type { CacheFormat } from '../../schemas/model-manifest.ts'
import type { CompiledModel } from './compiled-model.ts'
import type { Kernel } from './kernel.ts'
import type { CacheShape, PrefixRows, StepRows, Suffix } from './kv-cache.ts'
import type { HostTensor } from './session.ts'

/** Rows of a run: V vision rows, E embedded rows and L tokens, in this order; R = V + E + L, and E + L is not 0. */
export type DecoderRows = {
  visionRows: Float32Array
  embeddedRows: Float32Array
  tokenIds: readonly number[]
  /** [R] */
  positionIds: readonly number[]
  /** Rows whose logits are wanted. */
  logitRows: readonly number[]
  /** More values of the graph to return, by name, for a trace. */
  traced?: readonly string[]
}

export type Lanes = { size: number; rows: readonly (number | undefined)[] }

/** Rows of sequences behind prefixes: those of one prefix lie together, in the order of `slots`. */
export type DecoderStep = DecoderRows & {
  /** At most the decoder's `slotCount`, all prefixes of one length. */
  slots: readonly { prefix: PrefixRows; rowCount: number }[]
  suffix: Suffix['rows']
  /** Given where each row is its sequence's only one: the suffix as lanes of `size` slots, and the row that owns each. */
  lanes?: Lanes
  /** [R, suffix + R]: 0 or `masked`. Every row sees its whole prefix. */
  mask: Float32Array
  /** Greedy tokens to choose beyond the logits, where every row gives logits; at most the decoder's `maxAhead`. */
  ahead?: number
}

export type Ran = {
  /** [logitRows, vocabulary] */
  logits: Float32Array
  traced: Readonly<Record<string, HostTensor>>
}

/** `newRows` are R rows, then R for each step ahead. */
export type StepRan = Ran & { newRows: StepRows; ahead?: Ahead }

/** What a step chose by itself, likeliest token after likeliest token: [steps ahead, R]. */
export type Ahead = {
  tokens: readonly number[]
  /** Sums of the logits behind each token: NaN where some were no numbers. */
  sums: Float32Array
}

export type Decoder = {
  readonly compiled: CompiledModel
  readonly shape: CacheShape
  readonly cacheFormat: CacheFormat
  readonly kernel: Kernel
  /** Images whose rows can be in one step. */
  readonly slotCount: number
  /** Tokens that a step may choose by itself. */
  readonly maxAhead: number
  /** What a user should know of how it runs. */
  readonly notice?: string
  /** Nothing before the first token. */
  emptyPrefix(): PrefixRows
  /** For the rows of sequences, none yet. */
  openSuffix(): Suffix
  /** Image rows [patchRows + 2, hidden] of pixels [3, S, S]. */
  encodeImage(pixels: Float32Array): Promise<Float32Array>
  /** Runs rows in causal order behind a prefix: the prefix that the two make together. */
  extend(rows: DecoderRows, prefix: PrefixRows): Promise<Ran & { prefix: PrefixRows }>
  /** Runs a step: what its suffix is to append. */
  run(step: DecoderStep): Promise<StepRan>
  /** Gives back what a prefix holds on a device; it is not to be used any more. */
  freePrefix(prefix: PrefixRows): void
  close(): Promise<void>
}
