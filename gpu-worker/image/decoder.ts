// One decoder process, seen from outside: one image at a time, and an end that is always told, also when it is the
// process that ended. It does not know who is next.
import type { ChildProcess } from 'node:child_process'
import { InvariantError, RetryableError } from '../../schemas/errors.ts'
import { startProcess } from '../process/start-process.ts'
import type { DecoderArguments, DecoderReply, DecoderRequest } from './decoder-protocol.ts'
import type { ImageDecoder, PrepareResult } from './prepare.ts'

export type DecodeEnd =
  | { kind: 'prepared'; result: PrepareResult }
  /** In each of these cases the process is gone, or as good as. */
  | { kind: 'died'; reason: string }
  | { kind: 'too-long'; waitedMs: number }
  | { kind: 'too-much-memory'; residentBytes: number; memoryBytes: number }

export type Decoder = {
  readonly isAlive: boolean
  readonly processId: number
  prepare(...job: Parameters<ImageDecoder['prepare']>): Promise<DecodeEnd>
  stop(): Promise<void>
}

/** Beyond the limit of the decode itself, which the native library keeps where it can. */
const graceMs = 2000

const maxStartMs = 30_000

/** Starts a process and waits until it can decode. Throws RetryableError when it cannot be started. */
export async function startDecoder({ memoryBytes }: DecoderArguments): Promise<Decoder> {
  const child = startProcess('decoder-process', {
    module: import.meta,
    args: [JSON.stringify({ memoryBytes } satisfies DecoderArguments)],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const gone = watchEnd(child)
  await untilReady(child, gone)
  rest(child)
  let nextId = 0
  return {
    get isAlive() {
      return gone.reason === null
    },
    processId: child.pid ?? -1,
    async prepare(bytes, wanted, signal) {
      const id = nextId++
      work(child)
      try {
        const limitMs = wanted.limits.timeoutSeconds * 1000 + graceMs
        const end = await askOnce(child, { request: { id, bytes, wanted }, gone, limitMs, signal })
        return end.kind === 'too-much-memory' ? { ...end, memoryBytes } : end
      } finally {
        rest(child)
      }
    },
    async stop() {
      child.kill('SIGKILL')
      work(child)
      await gone.ended
    },
  }
}

type Gone = { reason: string | null; ended: Promise<string> }

function watchEnd(child: ChildProcess): Gone {
  const { promise, resolve } = Promise.withResolvers<string>()
  const gone: Gone = { reason: null, ended: promise }
  const end = (reason: string) => {
    gone.reason ??= reason
    resolve(reason)
  }
  child.on('exit', (code, signalName) => end(signalName ?? `exit code ${code}`))
  child.on('error', (error) => end(error.message))
  return gone
}

async function untilReady(child: ChildProcess, gone: Gone): Promise<void> {
  const ready = Promise.withResolvers<null>()
  const timer = setTimeout(() => child.kill('SIGKILL'), maxStartMs)
  child.once('message', () => ready.resolve(null))
  const reason = await Promise.race([ready.promise, gone.ended])
  clearTimeout(timer)
  if (reason !== null)
    throw new RetryableError(
      `a decoder process ended while it started (${reason}); is there enough memory?`,
      {
        cause: null,
      },
    )
}

type Asked = {
  request: DecoderRequest
  gone: Gone
  limitMs: number
  signal: AbortSignal | undefined
}

type ProcessEnd =
  | Exclude<DecodeEnd, { kind: 'too-much-memory' }>
  | Extract<DecoderReply, { kind: 'too-much-memory' }>

/** Sends one image and waits for what becomes of it. A process that is not done is killed. */
async function askOnce(child: ChildProcess, { request, gone, limitMs, signal }: Asked): Promise<ProcessEnd> {
  const { promise, resolve, reject } = Promise.withResolvers<ProcessEnd>()
  const hear = (reply: DecoderReply) => {
    if (reply.kind === 'too-much-memory') resolve(reply)
    else if (reply.kind === 'prepared' && reply.id === request.id) resolve(reply)
    else if (reply.kind === 'failed') reject(new InvariantError(`a decoder failed: ${reply.message}`))
  }
  const stop = () => reject(signal?.reason)
  child.on('message', hear)
  signal?.addEventListener('abort', stop, { once: true })
  const timer = setTimeout(() => resolve({ kind: 'too-long', waitedMs: limitMs }), limitMs)
  void gone.ended.then((reason) => resolve({ kind: 'died', reason }))
  // A failed send means that the process is gone; its exit tells so.
  child.send(request, () => undefined)
  let end: ProcessEnd | null = null
  try {
    end = await promise
    return end
  } finally {
    clearTimeout(timer)
    child.off('message', hear)
    signal?.removeEventListener('abort', stop)
    if (end?.kind !== 'prepared' && gone.reason === null) {
      child.kill('SIGKILL')
      gone.reason = 'killed'
    }
  }
}

/** An idle process does not keep this one alive. */
function rest(child: ChildProcess): void {
  child.unref()
  child.channel?.unref()
}

function work(child: ChildProcess): void {
  child.ref()
  child.channel?.ref()
}
