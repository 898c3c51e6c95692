// HTTP requests to one server: so many at a time, each tried again while that may help, the key in none of what comes
// back. It does not know what is asked.
import { setTimeout as sleep } from 'node:timers/promises'
import { backoffMs, isPassing, retryAfterMs, type RetrySettings } from './backoff.ts'

export type RequestSettings = {
  baseUrl: URL
  /** Null sends none. */
  key: string | null
  concurrency: number
  /** Of one try, from its start to the last byte. */
  timeoutMs: number
  retry: RetrySettings
}

export type HttpReply =
  | { kind: 'reply'; status: number; text: string; location: string | null }
  | { kind: 'none'; reason: 'timeout' | 'connection' | 'too-long'; message: string }

export type Requests = {
  /** What came of a request at last. Rejects with the signal's reason when it fires, and never for what a server does. */
  send(path: string, request: { body?: string; attempts?: number }, signal: AbortSignal): Promise<HttpReply>
}

/** A server has no business sending more than this for one answer. */
const maxReplyBytes = 8 * 1024 * 1024

/** Opens no connection yet. */
export function openRequests(settings: RequestSettings): Requests {
  const { retry } = settings
  const inSlot = createSlots(settings.concurrency)
  // A server that is overrun is left alone by all requests, not only by the one it told.
  let restUntilMs = 0
  const rest = async (delayMs: number, signal: AbortSignal) => {
    const ms = Math.max(delayMs, restUntilMs - Date.now())
    if (ms > 0) await sleep(ms, undefined, { signal })
  }
  const send: Requests['send'] = async (path, { body, attempts = retry.attempts }, signal) =>
    await inSlot(signal, async () => {
      let delayMs = 0
      let timeouts = 0
      for (let attempt = 1; ; attempt += 1) {
        await rest(delayMs, signal)
        const { reply, retryAfter } = await tryOnce({ path, body, signal }, settings)
        if (reply.kind === 'none' && reply.reason === 'timeout') timeouts += 1
        const mayHelp = reply.kind === 'none' ? reply.reason !== 'too-long' : isPassing(reply.status)
        if (!mayHelp || attempt >= attempts || timeouts >= retry.timeouts) return reply
        const askedMs = retryAfterMs(retryAfter, retry, Date.now())
        if (askedMs !== null) restUntilMs = Math.max(restUntilMs, Date.now() + askedMs)
        delayMs = backoffMs(attempt, retry, Math.random())
      }
    })
  return {
    send: async (path, request, signal) => {
      try {
        return await send(path, request, signal)
      } catch (error) {
        // What fetch and timers throw for a signal differs; callers get the reason itself.
        signal.throwIfAborted()
        throw error
      }
    },
  }
}

type Try = { path: string; body: string | undefined; signal: AbortSignal }

async function tryOnce(
  { path, body, signal }: Try,
  { baseUrl, key, timeoutMs }: RequestSettings,
): Promise<{ reply: HttpReply; retryAfter: string | null }> {
  const clean = (text: string) => withoutKey(text, key)
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(new URL(path, baseUrl), {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      },
      ...(body === undefined ? {} : { body }),
      // Images and key go to the host that was named, and to no other.
      redirect: 'manual',
      signal: AbortSignal.any([signal, timeout]),
    })
    const location = response.headers.get('location')
    const text = await readLimited(response)
    const retryAfter = response.headers.get('retry-after')
    if (text === null) {
      const message = `the answer has more than ${maxReplyBytes} bytes`
      return { reply: { kind: 'none', reason: 'too-long', message }, retryAfter }
    }
    const where = location === null ? null : clean(location)
    return {
      reply: { kind: 'reply', status: response.status, text: clean(text), location: where },
      retryAfter,
    }
  } catch (error) {
    signal.throwIfAborted()
    const reply: HttpReply = timeout.aborted
      ? { kind: 'none', reason: 'timeout', message: `no whole answer within ${timeoutMs / 1000} s` }
      : { kind: 'none', reason: 'connection', message: clean(explain(error)) }
    return { reply, retryAfter: null }
  }
}

/** The body as text, or null when it is too long. */
async function readLimited(response: Response): Promise<string | null> {
  if (response.body === null) return ''
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.length
    if (bytes > maxReplyBytes) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** A server that repeats the key, as some do in complaints, shall not bring it into a record or a log. */
function withoutKey(text: string, key: string | null): string {
  if (key === null) return text
  const spellings = new Set([key, encodeURIComponent(key), JSON.stringify(key).slice(1, -1)])
  return [...spellings].reduce((cleaned, spelling) => cleaned.replaceAll(spelling, '[key]'), text)
}

/** fetch says "fetch failed" and keeps why as the cause. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  if (cause instanceof AggregateError) return cause.errors.map((one) => explain(one)).join('; ')
  return cause instanceof Error ? explain(cause) : error.message
}

/** Lets so many jobs run at a time, in the order they come; one whose signal fires stops waiting. */
function createSlots(max: number) {
  let running = 0
  const waiting = new Set<() => void>()
  const take = async (signal: AbortSignal) => {
    signal.throwIfAborted()
    if (running < max) {
      running += 1
      return
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const leave = () => {
      waiting.delete(resolve)
      reject(signal.reason)
    }
    waiting.add(resolve)
    signal.addEventListener('abort', leave, { once: true })
    try {
      await promise
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }
  return async <T>(signal: AbortSignal, job: () => Promise<T>): Promise<T> => {
    await take(signal)
    try {
      return await job()
    } finally {
      const [next] = waiting
      if (next === undefined) running -= 1
      else {
        waiting.delete(next)
        next()
      }
    }
  }
}
