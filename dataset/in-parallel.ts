// Doing many small waits side by side, a limited number at once. It does not know what is waited for.

/** Results in the order of the items; `limit` of them are under way at most. The first error ends it. */
export async function inParallel<T, R>(
  items: readonly T[],
  act: (item: T) => Promise<R>,
  { limit }: { limit: number },
): Promise<R[]> {
  const results: R[] = []
  const queue = items.entries()
  const lane = async () => {
    for (const [index, item] of queue) results[index] = await act(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane))
  return results
}
