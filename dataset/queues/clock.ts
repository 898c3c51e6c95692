// Time as a value that is passed in. It does not know who waits.

export type Clock = {
  /** Milliseconds since 1970. */
  nowMs(): number
  /** Resolves after `durationMs`, or as soon as the signal aborts. Never rejects. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>
}

/** The machine's own time. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  async sleep(durationMs, signal) {
    if (signal?.aborted === true) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(finish, Math.max(0, durationMs))
      signal?.addEventListener('abort', finish, { once: true })
      function finish(): void {
        clearTimeout(timer)
        signal?.removeEventListener('abort', finish)
        resolve()
      }
    })
  },
}
