// run.json: how the commands on a run folder went so far, planned against actual. It does not know how labels are made.
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LabelsView } from '../dataset/labels-view.ts'
import { UserError } from '../schemas/errors.ts'
import { Estimate } from '../schemas/estimate.ts'
import {
  maxRunSessions,
  RunReport,
  runReportName,
  runReportVersion,
  type RunSession,
} from '../schemas/run-report.ts'

export type ReportOfCommand = {
  out: string
  runId: string
  /** Images that the command was to label. */
  plannedImages: number
  /** Null keeps that of an earlier command. */
  estimate: Estimate | null
  session: RunSession
  view: LabelsView
}

/** Adds a session to the folder's report and writes it whole. */
export async function writeRunReport(command: ReportOfCommand): Promise<RunReport> {
  const { out, runId, plannedImages, estimate, session, view } = command
  const path = join(out, runReportName)
  const before = await readReport(path, runId)
  const sessions = fold([...(before?.sessions ?? []), session])
  const labelled = sum(sessions.map((one) => one.labelled))
  const durationMs = sum(sessions.map((one) => one.durationMs))
  const priced = sessions.flatMap(({ usd }) => (usd === null ? [] : [usd]))
  const report: RunReport = {
    v: runReportVersion,
    runId,
    planned: { images: plannedImages, estimate: estimate ?? before?.planned.estimate ?? null },
    actual: {
      images: view.images,
      byTask: view.byTask,
      failures: view.byErrorCode,
      labelled,
      durationMs,
      imageMs: labelled === 0 ? null : durationMs / labelled,
      usd: priced.length === 0 ? null : sum(priced),
    },
    sessions,
  }
  const aside = join(out, '.tmp', `run-${process.pid}.json`)
  await writeFile(aside, `${JSON.stringify(report, null, 2)}\n`)
  await rename(aside, path)
  return report
}

/** What run.json tells, where it can be read: it is a view, and may be of another version. */
export async function readRunReport(run: string): Promise<RunReport | null> {
  const text = await readFile(join(run, runReportName), 'utf8').catch(() => null)
  const report = text === null ? undefined : RunReport.safeParse(parseJson(text))
  return report?.success === true ? report.data : null
}

/** The commands that made the labels, each once, oldest first. */
export function commandsOf({ sessions }: RunReport): string[] {
  return [...new Set(sessions.flatMap(({ command }) => command ?? []))]
}

/** Null where there is none, of this run and version: a view is made anew. */
async function readReport(path: string, runId: string): Promise<RunReport | null> {
  const text = await readFile(path, 'utf8').catch(() => null)
  if (text === null) return null
  const report = RunReport.safeParse(parseJson(text))
  return report.success && report.data.runId === runId ? report.data : null
}

/** What `coglabel plan --save` wrote. Throws UserError for anything else. */
export async function readEstimate(path: string): Promise<Estimate> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new UserError(`the plan ${path} cannot be read; give the file that coglabel plan --save wrote`, {
      cause,
    })
  })
  const estimate = Estimate.safeParse(parseJson(text))
  if (estimate.success) return estimate.data
  throw new UserError(`${path} is no plan; give the file that coglabel plan --save wrote`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** The oldest sessions beyond the limit become one: sums stay right. */
function fold(sessions: readonly RunSession[]): RunSession[] {
  const extra = sessions.length - maxRunSessions
  const [first] = sessions
  if (extra <= 0 || first === undefined) return [...sessions]
  const folded = sessions.slice(0, extra + 1)
  const priced = folded.flatMap(({ usd }) => (usd === null ? [] : [usd]))
  const one = {
    ...(folded.at(-1) ?? first),
    startedAt: first.startedAt,
    labelled: sum(folded.map(({ labelled }) => labelled)),
    durationMs: sum(folded.map(({ durationMs }) => durationMs)),
    usd: priced.length === 0 ? null : sum(priced),
  }
  return [one, ...sessions.slice(extra + 1)]
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
