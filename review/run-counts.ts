// How many records of a run have which state, task and check. Pure over the index.
import type { IndexedImage } from './index-entry.ts'

/** What is counted once, when a run is opened: the first answer must not wait for it. */
export function countRun(images: readonly IndexedImage[]) {
  const statuses = { ok: 0, filtered: 0, failed: 0 }
  const tasks = new Map<string, number>()
  const checks = new Map<string, { pass: number; fail: number; low: number | null; high: number | null }>()
  let nearImages = 0
  for (const { records, groupSize } of images) {
    if (groupSize > 1) nearImages += 1
    for (const record of records) {
      statuses[record.status] += 1
      tasks.set(record.task, (tasks.get(record.task) ?? 0) + 1)
      for (const { name, pass, score } of record.checks) {
        const seen = checks.get(name) ?? { pass: 0, fail: 0, low: null, high: null }
        seen[pass ? 'pass' : 'fail'] += 1
        if (score !== null) {
          seen.low = Math.min(seen.low ?? score, score)
          seen.high = Math.max(seen.high ?? score, score)
        }
        checks.set(name, seen)
      }
    }
  }
  return {
    statuses,
    nearImages,
    tasks: [...tasks].map(([name, count]) => ({ name, count })),
    checks: [...checks].map(([name, seen]) => ({ name, ...seen })),
  }
}

export type RunCounts = ReturnType<typeof countRun>
