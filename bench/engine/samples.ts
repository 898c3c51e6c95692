// Repeated timings and their median.

/** Milliseconds of each run, after one that is not counted. */
export async function sampleMs(runs: number, job: () => Promise<unknown>): Promise<number[]> {
  await job()
  const samples: number[] = []
  for (let run = 0; run < runs; run++) {
    const startMs = performance.now()
    await job()
    samples.push(performance.now() - startMs)
  }
  return samples
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle) - 1] ?? 0)) / 2
}

/** Milliseconds to three figures. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4))
}
