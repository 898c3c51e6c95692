// What `label` says when it is done: counts, where the labels are, what to try next. Pure text.
import type { LabelsView } from '../dataset/labels-view.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { RunReport, RunSession } from '../schemas/run-report.ts'
import { formatDuration, formatImageTime, formatRate, formatUsd } from './progress.ts'
import { counted, printable, shellPath } from './words.ts'

export type Summary = {
  view: LabelsView
  /** Of all commands on this folder; the session is this one. */
  report: RunReport
  session: RunSession
  config: RunConfig
  src: string
  out: string
}

/** The summary as lines of text, without a line feed at its end. */
export function renderSummary(summary: Summary): string {
  const { view, report, session } = summary
  const lines = [
    '',
    headline(summary),
    ...planLines(report, session),
    '',
    ...renderCounts(view.byTask),
    ...renderFindings(view),
    ...renderFailures(view),
  ]
  lines.push('', `labels: ${view.path} (${counted(view.records, 'line')}, ${counted(view.images, 'image')})`)
  if (session.ended !== 'all-done') {
    if (session.ended === 'quality')
      return [
        ...lines,
        `paused: ${session.limit}`,
        `look at some of them; the same command goes on from here, with --health off whatever comes`,
      ].join('\n')
    const why = session.limit === null ? 'interrupted' : `stopped by ${session.limit}`
    return [...lines, `${why}: the same command goes on from here`].join('\n')
  }
  return [...lines, 'next:', ...nextSteps(summary)].join('\n')
}

function headline({ session, view }: Summary): string {
  const { labelled, durationMs, usd, ended } = session
  if (labelled === 0 && ended === 'all-done')
    return `nothing to do: all ${view.images} images had their labels already`
  const rate = labelled / (durationMs / 1000)
  const cost = usd === null ? '' : `, ${formatUsd(usd)}`
  return `labelled ${counted(labelled, 'image')} in ${formatDuration(durationMs)} (${formatRate(rate)} images/s)${cost}`
}

/** How an image's mean time, over all commands, compares with what was measured before; nothing without a plan. */
function planLines({ planned, actual }: RunReport, { labelled }: RunSession): string[] {
  const pilot = planned.estimate?.pilot
  if (pilot === undefined || pilot === null || actual.imageMs === null || labelled === 0) return []
  const { low, mid, high } = pilot.imageMs
  const verdict = actual.imageMs < low ? 'faster' : actual.imageMs > high ? 'slower' : 'as planned'
  const [wanted, least, most, took] = [mid, low, high, actual.imageMs].map(formatImageTime)
  return [`planned ${wanted} an image (${least} to ${most}), it took ${took}: ${verdict}`]
}

function renderCounts(byTask: LabelsView['byTask']): string[] {
  const width = Math.max(4, ...Object.keys(byTask).map((task) => task.length))
  const row = (task: string, cells: readonly (string | number)[]) =>
    `  ${task.padEnd(width)}${cells.map((cell) => String(cell).padStart(10)).join('')}`
  const rows = Object.entries(byTask).toSorted(([left], [right]) => (left < right ? -1 : 1))
  return [
    row('task', ['ok', 'filtered', 'failed']),
    ...rows.map(([task, { ok, filtered, failed }]) => row(task, [ok, filtered, failed])),
  ]
}

/** What checks turned down, and what they only noted. */
function renderFindings({ byCheck, filtered, byTask }: LabelsView): string[] {
  const counts = (kind: 'filtered' | 'noted') =>
    Object.entries(byCheck).flatMap(([name, found]) => (found[kind] === 0 ? [] : [`${found[kind]} ${name}`]))
  const shown = filtered.map(
    ({ key, task, check, evidence }) =>
      `  ${printable(key)} (${task}): ${check}${evidence === '' ? '' : `: ${printable(evidence)}`}`,
  )
  const total = Object.values(byTask).reduce((sum, one) => sum + one.filtered, 0)
  const more =
    total > shown.length
      ? [`  … and ${total - shown.length} more; look for "status":"filtered" in the labels`]
      : []
  const [turnedDown, noted] = [counts('filtered'), counts('noted')]
  return [
    ...(turnedDown.length === 0 ? [] : ['', `filtered: ${turnedDown.join(', ')}`, ...shown, ...more]),
    ...(noted.length === 0 ? [] : ['', `noted: ${noted.join(', ')}`]),
  ]
}

function renderFailures({ failed, byErrorCode }: LabelsView): string[] {
  if (failed.length === 0) return []
  const codes = Object.entries(byErrorCode).map(([code, count]) => `${count} ${code}`)
  const shown = failed.map(
    ({ key, task, code, message }) => `  ${printable(key)} (${task}): ${code}: ${printable(message)}`,
  )
  const total = Object.values(byErrorCode).reduce((sum, count) => sum + count, 0)
  const more =
    total > shown.length
      ? [`  … and ${total - shown.length} more; look for "status":"failed" in the labels`]
      : []
  return ['', `failed: ${codes.join(', ')}`, ...shown, ...more]
}

function nextSteps({ view, src, out, config }: Summary): string[] {
  const tasks = new Set([...config.tasks.map((spec) => spec.task), ...(config.itemTasks ?? [])])
  const isAsked = config.tasks.some((spec) => spec.prompts.some((prompt) => prompt.kind === 'asked'))
  const asks: string[] = []
  if (!isAsked && config.itemTasks?.includes('qa') !== true) asks.push('--ask "What is in the picture?"')
  if (!tasks.has('ground') && tasks.has('grounded-caption')) asks.push('--tasks ground --ground "the dog"')
  // A folder each, for a run keeps its settings.
  const other = (ending: string | number) => shellPath(`${out.replace(/\/+$/, '')}-${ending}`)
  return [
    `  head -n 1 ${shellPath(view.path)}`,
    `  npx coglabel draw ${shellPath(out)} --out ${other('pictures')}`,
    ...asks.map((ask, index) => `  npx coglabel label ${shellPath(src)} --out ${other(index + 2)} ${ask}`),
    `  npx coglabel review ${shellPath(out)}`,
  ]
}
