// Someone asks this process to stop: Ctrl-C, a supervisor, a container that ends. It does not know what stops.

const signals = ['SIGINT', 'SIGTERM'] as const

/** A person who presses Ctrl-C twice takes longer. */
const sameRequestMs = 100

/**
 * Calls `listener` at each request, until the function that is returned is called. A request can arrive twice within a moment,
 * from the terminal or a supervisor and once more from what started this process (npm, cli/launch.js): that counts once.
 */
export function onInterrupt(listener: () => void): () => void {
  let lastMs = -Infinity
  const hear = (): void => {
    const nowMs = performance.now()
    if (nowMs - lastMs < sameRequestMs) return
    lastMs = nowMs
    listener()
  }
  for (const signal of signals) process.on(signal, hear)
  return () => {
    for (const signal of signals) process.off(signal, hear)
  }
}
