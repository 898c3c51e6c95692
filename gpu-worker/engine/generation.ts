// Answers several token sequences behind one shared prefix, with nothing else running and no limit on the cache.
import { createBatch } from './batch.ts'
import type { Decoder } from './decoder-contract.ts'
import type { Prefix, SequenceRequest, SequenceResult } from './sequence.ts'

/** Generates all sequences together. Each gets the tokens it would get alone. Rejects with the signal's reason. */
export function generate(
  decoder: Decoder,
  prefix: Prefix,
  { requests, signal }: { requests: readonly SequenceRequest[]; signal?: AbortSignal | undefined },
): Promise<SequenceResult[]> {
  const batch = createBatch(decoder, { limitBytes: Infinity, rowBytes: 1, longestRows: 0 })
  return batch.generate(prefix, requests, signal)
}
