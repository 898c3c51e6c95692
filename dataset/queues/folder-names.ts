// How a message's whole state is written in its file name, so that one rename(2) changes all of it. Pure.
import { maxLeaseMs } from './work-queue.ts'

export type MessageName = {
  /** Nobody may receive it before, in milliseconds since 1970. */
  visibleAtMs: number
  receiveCount: number
  sentAtMs: number
  messageId: string
  /** Names the delivery that holds it; `free` when none does. */
  token: string
}

export const freeToken = 'free'

const pattern = /^(\d{15})\.(\d{1,9})\.(\d{1,15})\.([0-9a-f-]{36})\.(free|[0-9a-f]{16})$/

/** `000001764000000000.2.1763999999000.<uuid>.<token>`: sorts by the time it becomes visible. */
export function formatName({ visibleAtMs, receiveCount, sentAtMs, messageId, token }: MessageName): string {
  const visible = String(Math.max(0, Math.round(visibleAtMs))).padStart(15, '0')
  return `${visible}.${receiveCount}.${Math.round(sentAtMs)}.${messageId}.${token}`
}

/** The state in a name, or null for a file that is none of ours. */
export function parseName(name: string): MessageName | null {
  const [, visibleAt, receiveCount, sentAt, messageId, token] = pattern.exec(name) ?? []
  if (messageId === undefined || token === undefined) return null
  return {
    visibleAtMs: Number(visibleAt),
    receiveCount: Number(receiveCount),
    sentAtMs: Number(sentAt),
    messageId,
    token,
  }
}

/**
 * Whether a message may be received. A time further away than any lease can be was written by a clock that runs
 * ahead; such a message would be stuck until that time came, so it counts as visible.
 */
export function isVisible({ visibleAtMs }: MessageName, nowMs: number): boolean {
  return visibleAtMs <= nowMs || visibleAtMs > nowMs + maxLeaseMs
}
