// Decoding in processes of its own. A fault in native code, a decode without end or one that takes all memory ends one
// process and costs its image, which gets a named failure; the next image gets a fresh process.
import { availableParallelism } from 'node:os'
import { InvariantError } from '../../schemas/errors.ts'
import type { FailureCode } from '../../schemas/failure.ts'
import { type DecodeEnd, type Decoder, startDecoder } from './decoder.ts'
import type { ImageDecoder, PrepareResult } from './prepare.ts'

export type DecoderPool = ImageDecoder & {
  /** Of the processes that run now. */
  readonly processIds: readonly number[]
  /** Times a process died or was ended while it worked. */
  readonly deathCount: number
}

export type DecoderPoolOptions = {
  /** Images decoded at once, each in a process of its own; they are started when they are needed. */
  processes?: number | undefined
  /** What one process may hold. */
  memoryBytes?: number | undefined
}

/** An image of 100 megapixels, the limit unless told otherwise, takes 0.7 to 1.2 GB while it is decoded (LOG.md). */
export const defaultDecoderMemoryBytes = 2e9

/** Deaths on one image after which it is given up: the first may have been meant for somebody else. */
const maxDeathsPerImage = 2

/** A process prepares 10 to 100 photographs a second, which is more than most models look at. */
const mostProcesses = 4

type Slot = { decoder: Decoder | undefined }

/** Starts no process yet. */
export function openDecoderPool({
  processes = Math.min(mostProcesses, availableParallelism()),
  memoryBytes = defaultDecoderMemoryBytes,
}: DecoderPoolOptions = {}): DecoderPool {
  const slots: readonly Slot[] = Array.from({ length: processes }, () => ({ decoder: undefined }))
  // Whoever was used last is used next, so that no more processes are started than are needed.
  const free = [...slots]
  const waiting: ((slot: Slot) => void)[] = []
  const state = { deathCount: 0, isClosed: false }
  const take = async (): Promise<Slot> => {
    const slot = free.pop()
    if (slot !== undefined) return slot
    const turn = Promise.withResolvers<Slot>()
    waiting.push(turn.resolve)
    return await turn.promise
  }
  const giveBack = (slot: Slot) => {
    const next = waiting.shift()
    if (next === undefined) free.push(slot)
    else next(slot)
  }
  const attempt: Attempt = async (slot, ...job) => {
    if (state.isClosed) throw new InvariantError('the decoders are closed')
    if (slot.decoder?.isAlive !== true) slot.decoder = await startDecoder({ memoryBytes })
    const end = await slot.decoder.prepare(...job)
    if (end.kind !== 'prepared') state.deathCount += 1
    return end
  }
  return {
    get processIds() {
      return slots.flatMap(({ decoder }) => (decoder?.isAlive === true ? [decoder.processId] : []))
    },
    get deathCount() {
      return state.deathCount
    },
    async prepare(...job) {
      const [, , signal] = job
      const slot = await take()
      try {
        signal?.throwIfAborted()
        return await prepareInTurn(slot, { job, attempt })
      } finally {
        giveBack(slot)
      }
    },
    async close() {
      state.isClosed = true
      await Promise.all(slots.map(async ({ decoder }) => await decoder?.stop()))
    },
  }
}

type Job = Parameters<ImageDecoder['prepare']>
type Attempt = (slot: Slot, ...job: Job) => Promise<DecodeEnd>

/** Tries an image again on which a process died, once: a fault that was its own shows again. */
async function prepareInTurn(
  slot: Slot,
  { job, attempt }: { job: Job; attempt: Attempt },
): Promise<PrepareResult> {
  const deaths: string[] = []
  for (;;) {
    const end = await attempt(slot, ...job)
    switch (end.kind) {
      case 'prepared':
        return end.result
      case 'too-long':
        return fail('timed-out', `decoding did not end within ${Math.round(end.waitedMs / 1000)} s`)
      case 'too-much-memory':
        return fail(
          'decoder-out-of-memory',
          `decoding took ${megabytes(end.residentBytes)} MB; a decoder may hold ${megabytes(end.memoryBytes)} MB`,
        )
      case 'died': {
        deaths.push(end.reason)
        if (deaths.length < maxDeathsPerImage) break
        return fail(
          'decoder-crashed',
          `the decoder died ${deaths.length} times on this image (${deaths.join(', ')}); the file is damaged or an attack`,
        )
      }
    }
  }
}

function fail(code: FailureCode, message: string): PrepareResult {
  return { ok: false, failure: { code, message } }
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}
