// A WorkQueue over a folder: one file a message, its state in its name, every change one rename(2) or unlink(2).
// Any number of processes may share it and be killed at any point. It does not know what a message says.
import { randomUUID } from 'node:crypto'
import { closeSync, constants, fstatSync, open as openDescriptor, read as readDescriptor } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { diskSentences, systemCode } from '../../schemas/system-error.ts'
import { systemClock, type Clock } from './clock.ts'
import { formatName, freeToken, isVisible, parseName, type MessageName } from './folder-names.ts'
import { checkLeaseMs, checkSend } from './limits.ts'
import {
  maxBatchMessages,
  type LeasedMessage,
  type LeaseOutcome,
  type QueueStats,
  type WorkQueue,
} from './work-queue.ts'

/** How often an empty folder is looked at again. */
const pollMs = 100

/**
 * Names taken from one look at the folder: so many, or this share of a full one, so that a message costs as much in a
 * folder of a million as in one of a thousand. More would only go stale while others work on the same ones.
 */
const minCandidates = 8192
const candidateShare = 1 / 4

/** So many names in a row gone to others, and the list is read anew. */
const maxMisses = 32

/** Leases whose file name is remembered; an older one is found by reading the folder. */
const maxRemembered = 10_000

/** A temp file this old belongs to a sender that was killed. */
const staleTempMs = 60 * 60 * 1000

type State = {
  messages: string
  temps: string
  deadLetters: string | undefined
  maxReceives: number
  clock: Clock
  /** Names that were visible when the folder was last read, in no order. */
  candidates: string[]
  /** Current file name by lease. */
  names: Map<string, string>
  /** Whether temp files of killed senders have been looked for. */
  isSwept: boolean
}

/**
 * Opens a folder as a queue; it is made on the first send. A message received `maxReceives` times moves to the queue
 * in `deadLetterFolder` (on the same disk) instead of a further delivery. Sends are durable when they return.
 * Throws UserError when the disk is full or refuses, RetryableError for what may pass.
 */
export function openFolderQueue(
  folder: string,
  options: { clock?: Clock; maxReceives?: number; deadLetterFolder?: string } = {},
): WorkQueue {
  const state: State = {
    messages: join(resolve(folder), 'messages'),
    temps: join(resolve(folder), '.tmp'),
    deadLetters:
      options.deadLetterFolder === undefined
        ? undefined
        : join(resolve(options.deadLetterFolder), 'messages'),
    maxReceives: options.maxReceives ?? Infinity,
    clock: options.clock ?? systemClock,
    candidates: [],
    names: new Map(),
    isSwept: false,
  }
  return {
    async send(bodies, { delayMs = 0 } = {}) {
      checkSend(bodies, delayMs)
      return await explained(state, async () => await send(state, bodies, delayMs))
    },
    async receive(want) {
      checkLeaseMs(want.leaseMs)
      return await explained(state, async () => await receive(state, want))
    },
    async extend(leases, leaseMs) {
      checkLeaseMs(leaseMs)
      return await each(state, leases, async (held) => await reschedule(state, { ...held, leftMs: leaseMs }))
    },
    async release(leases, delayMs) {
      checkLeaseMs(delayMs)
      return await each(
        state,
        leases,
        async (held) => await reschedule(state, { ...held, leftMs: delayMs, token: freeToken }),
      )
    },
    async ack(leases) {
      return await each(state, leases, async ({ name }) => {
        await unlink(join(state.messages, name))
        return 'done'
      })
    },
    stats: async () => await explained(state, async () => await stats(state)),
  }
}

async function send(state: State, bodies: readonly string[], delayMs: number): Promise<boolean[]> {
  await mkdir(state.messages, { recursive: true })
  await mkdir(state.temps, { recursive: true })
  if (!state.isSwept) await sweepStaleTemps(state.temps)
  state.isSwept = true
  const nowMs = state.clock.nowMs()
  await Promise.all(
    bodies.map(async (body) => {
      const messageId = randomUUID()
      const temp = join(state.temps, messageId)
      try {
        await writeDurably(temp, body)
        const name = {
          visibleAtMs: nowMs + delayMs,
          receiveCount: 0,
          sentAtMs: nowMs,
          messageId,
          token: freeToken,
        }
        await rename(temp, join(state.messages, formatName(name)))
      } catch (error) {
        await rm(temp, { force: true })
        throw error
      }
    }),
  )
  await syncFolder(state.messages)
  return bodies.map(() => true)
}

async function receive(
  state: State,
  { max, waitMs, leaseMs, signal }: Parameters<WorkQueue['receive']>[0],
): Promise<LeasedMessage[]> {
  const endMs = state.clock.nowMs() + waitMs
  for (;;) {
    if (signal?.aborted === true) return []
    const taken = await take(state, Math.min(max, maxBatchMessages), leaseMs)
    const leftMs = endMs - state.clock.nowMs()
    if (taken.length > 0 || leftMs <= 0) return taken
    await state.clock.sleep(Math.min(leftMs, pollMs), signal)
  }
}

/** Leases up to `max` messages; reads the folder at most twice. */
async function take(state: State, max: number, leaseMs: number): Promise<LeasedMessage[]> {
  const taken: LeasedMessage[] = []
  let misses = 0
  for (let reads = 0; taken.length < max;) {
    if (state.candidates.length === 0 || misses >= maxMisses) {
      if (reads === 2) break
      reads += 1
      misses = 0
      state.candidates = await readCandidates(state)
      if (state.candidates.length === 0) break
    }
    const names = state.candidates.splice(taken.length - max)
    const leased = await Promise.all(names.map(async (name) => await lease(state, name, leaseMs)))
    const won = leased.filter((message) => message !== null)
    taken.push(...won)
    misses = won.length > 0 ? 0 : misses + names.length
  }
  return taken
}

/** The visible names that have waited longest, shuffled so that processes seldom want the same one. */
async function readCandidates(state: State): Promise<string[]> {
  const nowMs = state.clock.nowMs()
  const visible = (await readNames(state)).filter(({ parsed }) => isVisible(parsed, nowMs))
  const oldest = visible
    .map(({ name }) => name)
    .toSorted()
    .slice(0, Math.max(minCandidates, visible.length * candidateShare))
  for (let at = oldest.length - 1; at > 0; at -= 1) {
    const other = Math.floor(Math.random() * (at + 1))
    const [left, right] = [oldest[at], oldest[other]]
    if (left !== undefined && right !== undefined) [oldest[at], oldest[other]] = [right, left]
  }
  return oldest
}

/** Takes one message by renaming it, which one process can do; null when another did, or it went to the dead letters. */
async function lease(state: State, name: string, leaseMs: number): Promise<LeasedMessage | null> {
  const message = parseName(name)
  if (message === null) return null
  const token = randomUUID().replaceAll('-', '').slice(16)
  const receiveCount = message.receiveCount + 1
  if (state.deadLetters !== undefined && receiveCount > state.maxReceives) {
    await bury(state, name, message)
    return null
  }
  const visibleAtMs = state.clock.nowMs() + leaseMs
  const leasedName = formatName({ ...message, receiveCount, token, visibleAtMs })
  const body = await unlessGone(async () => {
    await rename(join(state.messages, name), join(state.messages, leasedName))
    return await readText(join(state.messages, leasedName))
  })
  if (body === null) return null
  const { messageId, sentAtMs } = message
  const handle = `${messageId}.${token}`
  remember(state, handle, leasedName)
  return { messageId, lease: handle, body, receiveCount, sentAtMs }
}

async function bury(state: State, name: string, message: MessageName): Promise<void> {
  if (state.deadLetters === undefined) return
  await mkdir(state.deadLetters, { recursive: true })
  const buried = formatName({ ...message, token: freeToken, visibleAtMs: state.clock.nowMs() })
  const target = join(state.deadLetters, buried)
  await unlessGone(async () => await rename(join(state.messages, name), target))
}

type Held = { lease: string; name: string; message: MessageName }

/** Moves the time a message becomes visible; with a new token its lease ends too. */
async function reschedule(
  state: State,
  { lease: handle, name, message, leftMs, token }: Held & { leftMs: number; token?: string },
): Promise<LeaseOutcome> {
  const nowMs = state.clock.nowMs()
  if (isVisible(message, nowMs)) return 'lost'
  const renamed = formatName({ ...message, token: token ?? message.token, visibleAtMs: nowMs + leftMs })
  await rename(join(state.messages, name), join(state.messages, renamed))
  if (token === undefined) remember(state, handle, renamed)
  else state.names.delete(handle)
  return 'done'
}

/**
 * Runs `act` on the file of each lease. A file that is not where it was is looked for by reading the folder, for a
 * heartbeat may have renamed it meanwhile; when no file has the lease's token, the lease is lost.
 */
async function each(
  state: State,
  leases: readonly string[],
  act: (held: Held) => Promise<LeaseOutcome>,
): Promise<LeaseOutcome[]> {
  const one = async (handle: string): Promise<LeaseOutcome> => {
    let name = state.names.get(handle)
    for (let tries = 0; tries < 3; tries += 1) {
      name ??= (await readNames(state)).find((found) => found.name.endsWith(`.${handle}`))?.name
      const message = name === undefined ? null : parseName(name)
      if (name === undefined || message === null) break
      const held = { lease: handle, name, message }
      const outcome = await unlessGone(async () => await act(held))
      if (outcome !== null) return outcome
      name = undefined
    }
    state.names.delete(handle)
    return 'lost'
  }
  return await explained(state, async () => await Promise.all(leases.map(one)))
}

async function stats(state: State): Promise<QueueStats> {
  const nowMs = state.clock.nowMs()
  const counts = { visible: 0, inFlight: 0, delayed: 0 }
  for (const { parsed } of await readNames(state)) {
    if (isVisible(parsed, nowMs)) counts.visible += 1
    else if (parsed.receiveCount > 0) counts.inFlight += 1
    else counts.delayed += 1
  }
  return counts
}

async function readNames(state: State): Promise<{ name: string; parsed: MessageName }[]> {
  const names = (await unlessGone(async () => await readdir(state.messages))) ?? []
  return names.flatMap((name) => {
    const parsed = parseName(name)
    return parsed === null ? [] : [{ name, parsed }]
  })
}

function remember(state: State, handle: string, name: string): void {
  state.names.delete(handle)
  state.names.set(handle, name)
  if (state.names.size <= maxRemembered) return
  for (const oldest of state.names.keys()) {
    state.names.delete(oldest)
    return
  }
}

const openFile = promisify(openDescriptor)
const readFile = promisify(readDescriptor)

/** What asks an open file for its size or closes it never waits for a disk, so it is not handed to another thread. */
async function readText(path: string): Promise<string> {
  const file = await openFile(path, constants.O_RDONLY)
  try {
    const bytes = Buffer.allocUnsafe(fstatSync(file).size)
    const { bytesRead } = await readFile(file, bytes, 0, bytes.length, 0)
    return bytes.toString('utf8', 0, bytesRead)
  } finally {
    closeSync(file)
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function sweepStaleTemps(temps: string): Promise<void> {
  for (const name of await readdir(temps)) {
    const stats = await stat(join(temps, name)).catch(() => null)
    if (stats !== null && Date.now() - stats.mtimeMs > staleTempMs)
      await rm(join(temps, name), { force: true })
  }
}

/** Null when the file is gone: somebody else was faster. */
async function unlessGone<T>(act: () => Promise<T>): Promise<T | null> {
  try {
    return await act()
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  }
}

const sentences: Readonly<Record<string, string>> = {
  ...diskSentences,
  EACCES: 'access is not permitted',
  EPERM: 'access is not permitted',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EEXIST: 'a part of the path is a file, not a folder',
  EXDEV: 'the queue and its dead letters are on different disks',
}

async function explained<T>(state: State, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    const sentence = sentences[systemCode(error)]
    if (sentence !== undefined)
      throw new UserError(
        `the queue in ${state.messages} failed: ${sentence}; no message was lost, mend it and run again`,
        { cause: error },
      )
    if (systemCode(error) === '') throw error
    throw new RetryableError(`the queue in ${state.messages} failed with ${systemCode(error)}`, {
      cause: error,
    })
  }
}
