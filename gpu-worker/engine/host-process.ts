// Entry of the engine process: answers the host's messages with an engine. Ends when the host goes away.
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import type { ImageSession, PixelEngine } from './contract.ts'
import { openEngine } from './engine.ts'
import type { HostReply, HostRequest, Thrown } from './host-protocol.ts'

let engine: PixelEngine | undefined
const images = new Map<number, ImageSession>()
const cancels = new Map<number, AbortController>()

process.on('disconnect', () => process.exit(0))
process.on('message', (request: HostRequest) => void serve(request))

async function serve(request: HostRequest): Promise<void> {
  if (request.kind === 'cancel') {
    cancels.get(request.target)?.abort(new Error('cancelled'))
    return
  }
  const cancel = new AbortController()
  cancels.set(request.id, cancel)
  try {
    const reply = await answer(request, cancel.signal)
    if (reply !== undefined) send(reply)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    send({ kind: 'failed', id: request.id, message, thrown: kindOf(error) })
  } finally {
    cancels.delete(request.id)
  }
}

/** A host that was killed takes no answer, and 'disconnect' is about to end this process: no reason for a stack. */
function send(reply: HostReply): void {
  process.send?.(reply, undefined, undefined, () => undefined)
}

async function answer(
  request: Exclude<HostRequest, { kind: 'cancel' }>,
  signal: AbortSignal,
): Promise<HostReply | undefined> {
  const { id } = request
  switch (request.kind) {
    case 'load':
      engine = await openEngine(request.options)
      return { kind: 'loaded', id, info: engine.info }
    case 'open': {
      if (engine === undefined) throw new InvariantError('no model is loaded')
      images.set(id, await engine.openImage(request.pixels, signal))
      return { kind: 'opened', id, imageId: id }
    }
    case 'generate': {
      const image = images.get(request.imageId)
      if (image === undefined) throw new InvariantError(`image ${request.imageId} is not open`)
      return { kind: 'answered', id, answers: await image.generate(request.prompts, signal) }
    }
    case 'close': {
      await images.get(request.imageId)?.close()
      images.delete(request.imageId)
      return undefined
    }
  }
}

function kindOf(error: unknown): Thrown {
  if (error instanceof UserError) return 'user'
  if (error instanceof RetryableError) return 'retryable'
  return error instanceof InvariantError ? 'invariant' : 'runtime'
}
