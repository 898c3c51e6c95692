// A job for each of many items, a limited number at a time. It does not know what the jobs do.

/**
 * Begins the jobs in the items' order, at most `max` at a time. After the first error, or once the signal fires, none
 * is begun; that error is thrown when those under way have ended.
 */
export async function inParallel<T>(
  items: Iterable<T>,
  { max, signal }: { max: number; signal?: AbortSignal | undefined },
  job: (item: T) => Promise<void>,
): Promise<void> {
  const failed = new AbortController()
  const rest = items[Symbol.iterator]()
  const lane = async () => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) {
      if (failed.signal.aborted || signal?.aborted === true) return
      await job(next.value).catch((error: unknown) => failed.abort(error))
    }
  }
  await Promise.all(Array.from({ length: max }, lane))
  failed.signal.throwIfAborted()
  signal?.throwIfAborted()
}

/** As `inParallel`, for jobs with results; they come in the order of the items. */
export async function mapInParallel<T, R>(
  items: readonly T[],
  options: { max: number; signal?: AbortSignal | undefined },
  job: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  await inParallel(items.entries(), options, async ([index, item]) => {
    results[index] = await job(item)
  })
  return results
}
