// Why `coglabel label` ends before every image is labelled: an interrupt, labels that are no good, or a limit of images,
// time or money. It does not know how labels are made: it says when to take no new image, and when to stop at once.
import type { RunEnd } from '../schemas/run-report.ts'
import type { RunOutcome } from '../gpu-worker/pipeline/run.ts'

/** Of one command; what earlier ones labelled does not count. */
export type LabelLimits = {
  /** Newly labelled. */
  maxImages: number | undefined
  maxMinutes: number | undefined
  maxCostUsd: number | undefined
  /** What an hour of this machine costs. */
  hourUsd: number | undefined
}

export type LabelStop = {
  /** Take no new image. */
  drain: AbortSignal
  /** Leave what is under way. */
  stop: AbortSignal
  /** What is made is not worth going on for. */
  trip(reason: string): void
  /** How the run ended, given how its loop did. */
  endOf(outcome: RunOutcome): { ended: RunEnd; limit: string | null }
  /** Watches no longer. */
  close(): void
}

const msPerHour = 3_600_000

/** setTimeout takes no more; a run of 24 days is stopped by hand. */
const maxTimerMs = 2 ** 31 - 1

type Watch = {
  onInterrupt: (interrupt: () => void) => () => void
  tell: (text: string) => void
}

/** Watches from now on. The first interrupt drains, the second stops; a limit drains. */
export function watchStop(limits: LabelLimits, { onInterrupt, tell }: Watch): LabelStop {
  const [drain, stop] = [new AbortController(), new AbortController()]
  let reached: string | null = null
  let isInterrupted = false
  let tripped: string | null = null
  const silence = onInterrupt(() => {
    if (isInterrupted) stop.abort()
    else tell('interrupted: finishing the images under way; interrupt again to stop at once')
    isInterrupted = true
    drain.abort()
  })
  const timed = timeLimit(limits)
  const timer =
    timed === null
      ? undefined
      : setTimeout(() => {
          tell(`${timed.name} is reached: finishing the images under way`)
          reached = timed.name
          drain.abort()
        }, timed.ms)
  return {
    drain: drain.signal,
    stop: stop.signal,
    trip(reason) {
      if (tripped !== null) return
      tripped = reason
      tell(`${reason}: finishing the images under way, then the run pauses`)
      drain.abort()
    },
    endOf({ ended }) {
      if (ended === 'all-done' || ended === 'stopped') return { ended, limit: null }
      if (isInterrupted) return { ended: 'interrupted', limit: null }
      if (tripped !== null) return { ended: 'quality', limit: tripped }
      return { ended: 'limit', limit: reached ?? `--max-images ${limits.maxImages}` }
    },
    close() {
      silence()
      clearTimeout(timer)
    },
  }
}

/** Time and money run out together: the earlier of the two, in milliseconds from the start. Null for neither. */
export function timeLimit({
  maxMinutes,
  maxCostUsd,
  hourUsd,
}: LabelLimits): { ms: number; name: string } | null {
  const time =
    maxMinutes === undefined ? [] : [{ ms: maxMinutes * 60_000, name: `--max-minutes ${maxMinutes}` }]
  const cost =
    maxCostUsd === undefined || hourUsd === undefined
      ? []
      : [{ ms: (maxCostUsd / hourUsd) * msPerHour, name: `--max-cost ${maxCostUsd}` }]
  const [first] = [...time, ...cost].toSorted((left, right) => left.ms - right.ms)
  return first === undefined ? null : { ...first, ms: Math.min(first.ms, maxTimerMs) }
}

/** What so much time costs, where a price is known. */
export function costOf(durationMs: number, hourUsd: number | undefined): number | null {
  return hourUsd === undefined ? null : (durationMs / msPerHour) * hourUsd
}
