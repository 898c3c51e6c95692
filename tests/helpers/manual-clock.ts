// A clock for tests: it stands still until it is told to go on.
import type { Clock } from '../../dataset/queues/clock.ts'

/** A clock that stands still until it is advanced, which wakes the sleepers whose time has come. */
export type ManualClock = Clock & { advance(durationMs: number): void }

/** Opens a clock that stands at `startMs`. */
export function manualClock(startMs: number): ManualClock {
  let nowMs = startMs
  const sleepers = new Set<{ wakeAtMs: number; wake: () => void }>()
  return {
    nowMs: () => nowMs,
    async sleep(durationMs, signal) {
      if (durationMs <= 0 || signal?.aborted === true) return
      await new Promise<void>((resolve) => {
        const sleeper = { wakeAtMs: nowMs + durationMs, wake: finish }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', finish, { once: true })
        function finish(): void {
          sleepers.delete(sleeper)
          signal?.removeEventListener('abort', finish)
          resolve()
        }
      })
    },
    advance(durationMs) {
      nowMs += durationMs
      for (const sleeper of sleepers) if (sleeper.wakeAtMs <= nowMs) sleeper.wake()
    },
  }
}
