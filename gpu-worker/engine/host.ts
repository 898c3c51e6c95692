// The engine in a process of its own. A crash of the native runtime takes that process and not the run: it is started
// again, its open images are opened again, and an image on which it dies twice is given up.
// A thread would not do: a fault in native code ends every thread of its process.
import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { InvariantError, RetryableError, UserError } from '../../schemas/errors.ts'
import { startProcess } from '../process/start-process.ts'
import { createCompany } from './company.ts'
import type { Company } from './company.ts'
import { EngineCrashError, expectPixels } from './contract.ts'
import type { Answer, ImageSession, PixelEngine, PromptRequest } from './contract.ts'
import type { EngineOptions } from './engine.ts'
import type { HostReply, HostRequest } from './host-protocol.ts'

/** Crashes on one image after which it is given up. */
const maxCrashesPerImage = 2

export type EngineHost = PixelEngine & {
  /** Of the process that runs the model now; changes after a crash. */
  readonly processId: number | undefined
  /** Times the process died while it was needed. */
  readonly crashCount: number
}

/** Starts the engine process and waits until the model is loaded. Throws what `openEngine` throws. */
export async function openEngineHost(options: EngineOptions): Promise<EngineHost> {
  let child = await startChild(options)
  let crashCount = 0
  let closed = false
  let restarting: Promise<EngineChild> | undefined

  // One restart serves everybody who noticed the crash.
  const current = async (): Promise<EngineChild> => {
    if (child.alive) return child
    if (closed) throw new InvariantError('the engine is closed')
    crashCount += restarting === undefined ? 1 : 0
    restarting ??= restart(options)
      .then((fresh) => {
        child = fresh
        return fresh
      })
      .finally(() => {
        restarting = undefined
      })
    return restarting
  }
  const company = createCompany()
  const crowd: Crowd = { places: new Set(), aloneCount: 0 }
  return {
    info: child.info,
    get processId() {
      return child.processId
    },
    get crashCount() {
      return crashCount
    },
    openImage: async (image, signal) =>
      openImage({ current, company, crowd, pixels: expectPixels(image), signal }),
    close: async () => {
      closed = true
      await restarting?.catch(() => undefined)
      await child.stop()
    },
  }
}

/** Tries to load again before it gives up: a process that dies while loading says nothing about an image. */
const maxLoadAttempts = 3

/** Starts a fresh process, patiently: what killed the last one (too little memory) may need a moment to pass. */
async function restart(options: EngineOptions): Promise<EngineChild> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startChild(options)
    } catch (error) {
      if (!(error instanceof RetryableError) || attempt === maxLoadAttempts) throw error
      await sleep(500 * attempt)
    }
  }
}

/** Where an image is open; nowhere after a crash, until it is asked about again. */
type Place = { open: { child: EngineChild; imageId: number } | undefined; jobCount: number }

/**
 * Images that are not closed, and how many jobs are alone or wait for it. While there are any, an image without a job of
 * its own gives its room back: another may wait for that room to end its job, and the lonely one for that end.
 */
type Crowd = { places: Set<Place>; aloneCount: number }

type ImageOptions = {
  current: () => Promise<EngineChild>
  company: Company
  crowd: Crowd
  pixels: Float32Array | null
  signal: AbortSignal | undefined
}

/**
 * An image of which the pixels are kept until it is closed, so that a fresh process can be given it.
 * Requests are served together. Those that were when the process died are served again one at a time, each with no
 * other image open, so that the next death says on whom it was.
 */
async function openImage({ current, company, crowd, pixels, signal }: ImageOptions): Promise<ImageSession> {
  let crashes = 0
  const { places } = crowd
  const place: Place = { open: undefined, jobCount: 0 }
  places.add(place)
  let [opening, isClosed]: [Promise<void> | undefined, boolean] = [undefined, false]
  // Requests about one image that come together open it once: a second copy would keep its room for ever.
  const idIn = async (child: EngineChild, jobSignal: AbortSignal | undefined): Promise<number> => {
    while (place.open?.child !== child) {
      if (opening !== undefined) await opening.catch(() => undefined)
      else {
        opening = child
          .open(pixels, jobSignal)
          .then((imageId) => void (place.open = { child, imageId }))
          .finally(() => (opening = undefined))
        await opening
      }
    }
    return place.open.imageId
  }
  const once = async <T>(job: Job<T>, jobSignal: AbortSignal | undefined): Promise<T> => {
    const isAlone = crashes > 0
    place.jobCount += 1
    try {
      const child = await current()
      if (isAlone) for (const other of places) if (other !== place) leave(other)
      return await job(child, await idIn(child, jobSignal))
    } finally {
      place.jobCount -= 1
      // One that was closed while a request waited would otherwise stay open.
      if (isClosed || (!isAlone && crowd.aloneCount > 0)) leaveIdle(place)
    }
  }
  const enter = async <T>(job: () => Promise<T>): Promise<T> => {
    if (crashes === 0) return company.beside(job)
    crowd.aloneCount += 1
    // Its own room too: who has to end before it is alone may be waiting for that.
    for (const each of places) leaveIdle(each)
    return company.alone(job).finally(() => (crowd.aloneCount -= 1))
  }
  const attempt = async <T>(job: Job<T>, jobSignal: AbortSignal | undefined): Promise<T> => {
    for (;;) {
      try {
        return await enter(() => once(job, jobSignal))
      } catch (error) {
        if (!(error instanceof ProcessGone)) throw error
        crashes += 1
        if (crashes >= maxCrashesPerImage) {
          throw new EngineCrashError(
            `the native runtime died ${crashes} times on this image (${error.message})`,
            { cause: error },
          )
        }
      }
    }
  }
  await attempt(() => Promise.resolve(), signal).catch((error: unknown) => {
    places.delete(place)
    throw error
  })
  return {
    generate: (prompts, jobSignal) =>
      attempt((child, imageId) => child.generate(imageId, prompts, jobSignal), jobSignal),
    close: () => {
      isClosed = true
      leave(place)
      places.delete(place)
      return Promise.resolve()
    },
  }
}

type Job<T> = (child: EngineChild, imageId: number) => Promise<T>

function leaveIdle(place: Place): void {
  if (place.jobCount === 0) leave(place)
}

function leave(place: Place): void {
  if (place.open?.child.alive === true) place.open.child.closeImage(place.open.imageId)
  place.open = undefined
}

/** The process ended while it owed an answer. Never leaves this file. */
class ProcessGone extends Error {
  override readonly name = 'ProcessGone'
}

type EngineChild = {
  readonly alive: boolean
  readonly processId: number | undefined
  readonly info: PixelEngine['info']
  open(pixels: Float32Array | null, signal: AbortSignal | undefined): Promise<number>
  generate(
    imageId: number,
    prompts: readonly PromptRequest[],
    signal: AbortSignal | undefined,
  ): Promise<Answer[]>
  closeImage(imageId: number): void
  stop(): Promise<void>
}

async function startChild(options: EngineOptions): Promise<EngineChild> {
  const child = startProcess('host-process', {
    module: import.meta,
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const waiting = new Map<number, { resolve: (reply: HostReply) => void; reject: (error: Error) => void }>()
  let alive = true
  let nextId = 0
  child.on('message', (reply: HostReply) => {
    waiting.get(reply.id)?.resolve(reply)
    waiting.delete(reply.id)
  })
  const gone = (reason: string): void => {
    alive = false
    for (const { reject } of waiting.values()) reject(new ProcessGone(reason))
    waiting.clear()
  }
  child.on('exit', (code, signalName) => gone(signalName === null ? `exit code ${code}` : signalName))
  child.on('error', (error) => gone(error.message))
  const call = async (
    request: DistributedOmit<HostRequest, 'id'>,
    signal?: AbortSignal,
  ): Promise<HostReply> => {
    const id = nextId++
    const cancel = (): void => send(child, { kind: 'cancel', id: nextId++, target: id })
    signal?.throwIfAborted()
    signal?.addEventListener('abort', cancel, { once: true })
    try {
      return await new Promise<HostReply>((resolve, reject) => {
        if (!alive) reject(new ProcessGone('it had ended before'))
        waiting.set(id, { resolve, reject })
        send(child, { ...request, id })
      })
    } finally {
      signal?.removeEventListener('abort', cancel)
    }
  }
  const loaded = await call({ kind: 'load', options }).catch((error: unknown) => {
    throw new RetryableError('the engine process ended while it loaded the model; is there enough memory?', {
      cause: error,
    })
  })
  // A process that could not load has nothing to do, and would keep this one alive.
  if (loaded.kind === 'failed') await stopChild(child, () => alive)
  return {
    get alive() {
      return alive
    },
    processId: child.pid,
    info: expectReply(loaded, 'loaded').info,
    open: async (pixels, signal) =>
      expectReply(await call({ kind: 'open', pixels }, signal), 'opened', signal).imageId,
    generate: async (imageId, prompts, signal) =>
      expectReply(
        await call({ kind: 'generate', imageId, prompts: [...prompts] }, signal),
        'answered',
        signal,
      ).answers,
    closeImage: (imageId) => send(child, { kind: 'close', id: nextId++, imageId }),
    stop: () => stopChild(child, () => alive),
  }
}

/** `Omit` for each member of a union. */
type DistributedOmit<Union, Key extends PropertyKey> = Union extends unknown ? Omit<Union, Key> : never

function send(child: ChildProcess, request: HostRequest): void {
  // A failed send means the process is gone; its exit event tells those who wait.
  if (child.connected) child.send(request, () => undefined)
}

function stopChild(child: ChildProcess, isAlive: () => boolean): Promise<void> {
  if (!isAlive()) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.disconnect()
  })
}

function expectReply<Kind extends HostReply['kind']>(
  reply: HostReply,
  kind: Kind,
  signal?: AbortSignal,
): Extract<HostReply, { kind: Kind }> {
  if (reply.kind === 'failed') {
    signal?.throwIfAborted()
    throw errorOf(reply)
  }
  if (reply.kind !== kind)
    throw new InvariantError(`the engine process answered ${reply.kind} where ${kind} was expected`)
  return reply as Extract<HostReply, { kind: Kind }> // its kind was compared just now
}

/** The error as the engine in this process would have thrown it. */
function errorOf({ thrown, message }: Extract<HostReply, { kind: 'failed' }>): Error {
  switch (thrown) {
    case 'user':
      return new UserError(message)
    case 'retryable':
      return new RetryableError(message)
    case 'invariant':
      return new InvariantError(`the engine process failed: ${message}`)
    case 'runtime':
      return new Error(message)
    default:
      return thrown satisfies never
  }
}
