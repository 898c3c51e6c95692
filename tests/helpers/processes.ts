// Whether a process runs, for tests that end some.
import { setTimeout as wait } from 'node:timers/promises'

export function isRunning(processId: number): boolean {
  try {
    return process.kill(processId, 0)
  } catch {
    return false
  }
}

/** Resolves when the process is gone. Throws when it stays. */
export async function untilGone(processId: number): Promise<void> {
  for (let tries = 0; isRunning(processId); tries += 1) {
    if (tries > 1500) throw new Error(`the process ${processId} stays`)
    await wait(20)
  }
}
