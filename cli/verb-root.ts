// What a verb that works on a place needs of its process: output, a clock, interrupts. It does not know the verbs.
import { setTimeout as sleep } from 'node:timers/promises'
import { readRun } from '../dataset/run-folder.ts'
import type { Place } from '../dataset/place.ts'
import { UserError } from '../schemas/errors.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { processRoot } from './label-root.ts'

export type VerbRoot = {
  /** The result and nothing else. */
  print: (text: string) => void
  /** Whether somebody reads it as it comes. */
  printsToTerminal: boolean
  /** A line for whoever watches. */
  tell: (text: string) => void
  progress: { isTerminal: boolean; columns: number; write: (text: string) => void }
  clock: () => Date
  sleep: (durationMs: number, signal: AbortSignal) => Promise<void>
  /** Calls back on each interrupt until the returned function is called. */
  onInterrupt: (interrupt: () => void) => () => void
}

/** This process. */
export function processVerbRoot(): VerbRoot {
  const root = processRoot()
  return {
    ...root,
    printsToTerminal: process.stdout.isTTY,
    tell: (text) => root.progress.write(`${root.progress.isTerminal ? '\r\u001B[2K' : ''}${text}\n`),
    sleep: async (durationMs, signal) => await sleep(durationMs, undefined, { signal }).catch(() => {}),
  }
}

const tickMs = 200

/** One line that is written over, on a terminal; silent elsewhere. */
export function startTicker({ progress, clock }: Pick<VerbRoot, 'progress' | 'clock'>) {
  let lastMs = -Infinity
  return {
    show(text: string) {
      const nowMs = clock().getTime()
      if (!progress.isTerminal || nowMs - lastMs < tickMs) return
      lastMs = nowMs
      progress.write(`\r\u001B[2K${text.slice(0, progress.columns - 1)}`)
    },
    end() {
      if (progress.isTerminal) progress.write('\r\u001B[2K')
    },
  }
}

/** A run's settings. Throws UserError when the place has no such run. */
export async function needRun(place: Place, runId: string): Promise<RunConfig> {
  const config = await readRun(place.runStoreOf(runId))
  if (config !== null) return config
  throw new UserError(
    `there is no run ${runId} at ${place.uri}; coglabel submit prints the id of the run it begins`,
  )
}

/** The only argument of a verb. Throws UserError when there is none or more. */
export function needOne(
  positionals: readonly string[],
  { verb, name }: { verb: string; name: string },
): string {
  const [only, ...rest] = positionals
  if (only !== undefined && rest.length === 0) return only
  throw new UserError(
    `${verb} takes one ${name}, and was given ${positionals.length}; see coglabel ${verb} --help`,
  )
}
