// How a run's progress looks: one rewritten line on a terminal, plain lines elsewhere. It does not know how labels are made.
import type { RunEvent } from '../gpu-worker/pipeline/run.ts'

export type ProgressOutput = { isTerminal: boolean; columns: number; write: (text: string) => void }

export type ProgressState = {
  imageCount: number
  /** Images looked at, also those that had their records already. */
  seen: number
  /** Images that had all their records already; they say nothing about the rate. */
  skipped: number
  records: { ok: number; filtered: number; failed: number }
  startMs: number
  /** What checks find too often of late. */
  notes: readonly string[]
  /** Times of the last images that were really labelled. */
  recentMs: number[]
}

const terminalEveryMs = 100
const plainEveryMs = 5_000

/** The rate is that of the last images, so that it follows a change; the first ones also hold the warm-up. */
const rateWindow = 64
const imagesBeforeRate = 3

/** Follows a run's events and writes them; `finish` leaves a clean line behind. */
export function startProgress({
  imageCount,
  output,
  nowMs,
}: {
  imageCount: number
  output: ProgressOutput
  nowMs: () => number
}) {
  const state: ProgressState = {
    imageCount,
    seen: 0,
    skipped: 0,
    records: { ok: 0, filtered: 0, failed: 0 },
    startMs: nowMs(),
    notes: [],
    recentMs: [nowMs()],
  }
  let lastMs = -Infinity
  const draw = (isLast: boolean) => {
    const everyMs = output.isTerminal ? terminalEveryMs : plainEveryMs
    if (!isLast && nowMs() - lastMs < everyMs) return
    lastMs = nowMs()
    const line = renderProgress(state, {
      nowMs: nowMs(),
      columns: output.isTerminal ? output.columns : Infinity,
    })
    output.write(output.isTerminal ? `\r\u001B[2K${line}${isLast ? '\n' : ''}` : `${line}\n`)
  }
  draw(false)
  return {
    onEvent(event: RunEvent) {
      applyEvent(state, event, nowMs())
      draw(false)
    },
    note(notes: readonly string[]) {
      state.notes = notes
    },
    finish: () => draw(true),
    state,
  }
}

/** Takes one event into the counts. */
export function applyEvent(state: ProgressState, event: RunEvent, nowMs: number): void {
  if (event.kind !== 'image') return
  state.seen += 1
  if (event.wasDone) {
    state.skipped += 1
    // Passing over finished images takes time that says nothing about labelling.
    if (state.recentMs.length === 1) state.recentMs[0] = nowMs
    return
  }
  for (const status of event.statuses) state.records[status] += 1
  state.recentMs.push(nowMs)
  if (state.recentMs.length > rateWindow) state.recentMs.shift()
}

/** Images per second over the last ones, or null while there are too few to tell. */
export function rateOf(state: ProgressState, nowMs: number): number | null {
  const labelled = state.recentMs.length - 1
  const sinceMs = nowMs - (state.recentMs[0] ?? nowMs)
  return labelled < imagesBeforeRate || sinceMs <= 0 ? null : (labelled * 1000) / sinceMs
}

/** One line, at most `columns` wide. Pure. */
export function renderProgress(
  state: ProgressState,
  { nowMs, columns }: { nowMs: number; columns: number },
): string {
  const { seen, imageCount, skipped, records } = state
  const rate = rateOf(state, nowMs)
  const left = imageCount - seen
  const speed = rate === null ? 'warming up' : `${formatRate(rate)} images/s`
  const eta = rate === null || left <= 0 ? '' : `  ${formatDuration((left / rate) * 1000)} left`
  const failed = records.failed === 0 ? '' : `  ${records.failed} failed`
  const known = skipped === 0 ? '' : `  ${skipped} done before`
  const filtered = records.filtered === 0 ? '' : `  ${records.filtered} filtered`
  const notes = state.notes.map((note) => `  ${note}`).join('')
  const counts = `${seen}/${imageCount} images  ${speed}${eta}  ${records.ok} ok${filtered}${failed}${known}${notes}`
  const barWidth = Math.min(24, columns - counts.length - 10)
  if (!Number.isFinite(columns) || barWidth < 5) return counts.slice(0, columns - 1)
  const filled = imageCount === 0 ? barWidth : Math.round((barWidth * seen) / imageCount)
  return `[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}] ${counts}`
}

export function formatRate(rate: number): string {
  return rate >= 10 ? rate.toFixed(0) : rate.toFixed(rate >= 1 ? 1 : 2)
}

/** Cents where they matter, whole dollars from a hundred on. */
export function formatUsd(usd: number): string {
  if (usd >= 100) return `$${Math.round(usd).toLocaleString('en-US')}`
  return `$${usd.toFixed(usd > 0 && usd < 0.1 ? 4 : 2)}`
}

/** 1.3 ms, 420 ms, 2.31 s, and longer ones as durations. */
export function formatImageTime(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`
  if (ms < 995) return `${ms.toFixed(0)} ms`
  return ms < 9995 ? `${(ms / 1000).toFixed(2)} s` : formatDuration(ms)
}

/** 0.4 s, 42 s, 3 min 20 s, 5 h 10 min, 2 d 3 h. */
export function formatDuration(ms: number): string {
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}
