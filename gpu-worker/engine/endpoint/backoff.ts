// When to ask a server again. Pure; it does not know what was asked.

export type RetrySettings = {
  /** Tries of one request in all. */
  attempts: number
  /** Tries that may end without an answer in time: each takes the whole limit. */
  timeouts: number
  firstDelayMs: number
  maxDelayMs: number
  /** A server that says when to come back is waited for this long at most. */
  maxRetryAfterMs: number
}

/** About a minute in all, in which a server can restart a model that is loaded. */
export const defaultRetry: RetrySettings = {
  attempts: 8,
  timeouts: 3,
  firstDelayMs: 500,
  maxDelayMs: 30_000,
  maxRetryAfterMs: 300_000,
}

/** Before try `attempt` + 1, 1 the first: doubled each time, between half and all of it by chance. */
export function backoffMs(
  attempt: number,
  { firstDelayMs, maxDelayMs }: RetrySettings,
  random: number,
): number {
  const full = Math.min(maxDelayMs, firstDelayMs * 2 ** (attempt - 1))
  return full * (0.5 + random / 2)
}

/** Milliseconds from now that a Retry-After header asks for, in seconds or as a date (RFC 9110, 10.2.3); null without one. */
export function retryAfterMs(
  header: string | null,
  { maxRetryAfterMs }: RetrySettings,
  nowMs: number,
): number | null {
  if (header === null) return null
  const text = header.trim()
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  return Number.isFinite(ms) ? Math.min(maxRetryAfterMs, Math.max(0, ms)) : null
}

/** Whether the same request may fare better later. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500
}
