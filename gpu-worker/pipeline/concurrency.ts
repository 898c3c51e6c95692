// Letting a limited number of jobs run at a time. It does not know what they do.

/** Runs jobs in the order they come, at most `max` at a time. */
export function limitConcurrency(max: number): <T>(job: () => Promise<T>) => Promise<T> {
  let running = 0
  const queue: (() => void)[] = []
  return async (job) => {
    if (running >= max) await untilCalled(queue)
    else running += 1
    try {
      return await job()
    } finally {
      const next = queue.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }
}

/** Waits in the queue until whoever holds the place calls. */
async function untilCalled(queue: (() => void)[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  queue.push(resolve)
  await promise
}
