// `coglabel status`: how a run stands. Live on a terminal, once elsewhere; as JSON for programs.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { type HealthReport, worrying } from '../dataset/checks/health.ts'
import { healthSettingOf, readRunHealth } from '../dataset/checks/run-health.ts'
import { readControl } from '../dataset/run-control.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { Comparison } from '../dataset/run-estimate.ts'
import type { EstimateRange } from '../schemas/estimate.ts'
import { isAllSealed, openRunStatus, type RunStatus } from '../dataset/run-status.ts'
import { readNumber } from './flag-values.ts'
import { openPlaceOf, placeOptions, placeUsage } from './place.ts'
import { formatDuration, formatRate, formatUsd } from './progress.ts'
import { needOne, needRun, type VerbRoot } from './verb-root.ts'
import { counted } from './words.ts'

export const statusUsage = `coglabel status RUN --place URI

Says how many images are asked for, how many records are durable, sealed and failed, how fast it goes, and about what
it has cost. On a terminal it stays until everything is sealed (of a cancelled run, what it has) or you interrupt it. It
reads stores and queues only.

  --json                 once, as JSON
  --once                 once, as text
  --worker-hour USD      what an hour of one worker costs (what the deployment says)
${placeUsage}

Exit code: 0 all is sealed, 1 fatal, 2 wrong usage, 3 all is sealed and there are failures or dead letters, 4 not all,
5 not all, and the run is paused for what its checks found.`

const everyMs = 2000

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runStatus(args: readonly string[], root: VerbRoot): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...placeOptions,
      'json': { type: 'boolean' },
      'once': { type: 'boolean' },
      'worker-hour': { type: 'string' },
    },
  })
  const runId = needOne(positionals, { verb: 'status', name: 'RUN' })
  const workerHourUsd = readNumber('--worker-hour', values['worker-hour'], z.number().positive())
  const place = await openPlaceOf(values)
  const stop = new AbortController()
  const silence = root.onInterrupt(() => stop.abort())
  try {
    const config = await needRun(place, runId)
    const status = openRunStatus(place, config, workerHourUsd === undefined ? {} : { workerHourUsd })
    const isLive =
      root.progress.isTerminal && root.printsToTerminal && values.json !== true && values.once !== true
    let known: WatchedHealth | null = null
    for (let drawnLines = 0; ;) {
      const found = await status.look(root.clock())
      const health = await watchHealth(place.runStoreOf(runId), { config, found, known })
      known = health
      const isOver = !isLive || isAllSealed(found) || isLaidDown(found) || stop.signal.aborted
      if (values.json === true) root.print(JSON.stringify({ ...found, health: health.report }, null, 2))
      else if (isLive) drawnLines = draw(renderStatus(found, health.worries), { drawnLines, root })
      else root.print(renderStatus(found, health.worries).join('\n'))
      if (isOver) return exitCode(found)
      await root.sleep(everyMs, stop.signal)
    }
  } finally {
    silence()
    place.close()
  }
}

/** A cancelled run gets no more than it has; what is missing would be waited for in vain. */
function isLaidDown({ control, parts }: RunStatus): boolean {
  return control.state === 'cancelled' && parts.unsealed === 0
}

type WatchedHealth = { generation: number; report: HealthReport | null; worries: string[] }

/** How the checks say the last records are; read again when there are more. */
async function watchHealth(
  store: ObjectStore,
  { config, found, known }: { config: RunConfig; found: RunStatus; known: WatchedHealth | null },
): Promise<WatchedHealth> {
  const generation = found.sealed.generations
  if (known?.generation === generation) return known
  const standing = await readControl(store)
  const limits = healthSettingOf(config, standing)
  const report = await readRunHealth(store, { config, standing, lastGeneration: generation })
  return {
    generation,
    report,
    worries: report === null || limits === 'off' ? [] : worrying(report, limits),
  }
}

/** Writes over what stands on the terminal; returns how many lines stand there now. */
function draw(
  lines: readonly string[],
  { drawnLines, root }: { drawnLines: number; root: VerbRoot },
): number {
  // What is below goes too: a line of before may have nothing to say any more.
  const up = drawnLines === 0 ? '' : `\u001B[${drawnLines}A\r\u001B[J`
  root.progress.write(up + lines.map((line) => `${line.slice(0, root.progress.columns - 1)}\n`).join(''))
  return lines.length
}

function exitCode(status: RunStatus): number {
  if (!isAllSealed(status)) return status.control.cause === 'health' ? 5 : 4
  return status.sealed.failed > 0 || status.deadLetters > 0 ? 3 : 0
}

/** The status as lines for people. Pure. */
function renderStatus(status: RunStatus, worries: readonly string[] = []): string[] {
  const { expected, committed, sealed, askedAgain, parts, queue, spend, recordsPerSecond, etaMs } = status
  const of = expected === null ? '' : ` of ${expected.records}`
  const share =
    expected === null || expected.records === 0
      ? ''
      : `  ${(Math.min(1, committed.records / expected.records) * 100).toFixed(1)} %`
  const speed = recordsPerSecond === null ? 'no speed yet' : `${formatRate(recordsPerSecond)} records/s`
  const eta = etaMs === null ? '' : etaMs === 0 ? ', all is committed' : `, ${formatDuration(etaMs)} left`
  const hours = spend.workerHours === null ? 'unknown' : `${spend.workerHours.toFixed(3)} worker-hours`
  const usd = spend.usd === null ? '' : `, ${spend.usd.toFixed(2)} USD`
  return [
    `run        ${status.runId} (${status.source}) at ${status.place}`,
    ...controlLines(status),
    `expected   ${expected === null ? 'whatever arrives' : `${expected.images} images, ${expected.records} records${expected.isComplete ? '' : '; the plan is not complete'}`}`,
    `committed  ${committed.isEstimate ? 'about ' : ''}${committed.records}${of} records${share}  (${parts.unsealed} parts not sealed)`,
    `sealed     ${sealed.records}${of} records in ${counted(sealed.generations, 'generation')}: ${sealed.ok} ok, ${sealed.filtered} filtered, ${sealed.failed} failed`,
    ...(askedAgain.records === 0
      ? []
      : [
          `again      ${counted(askedAgain.records, 'record')} still to come, asked for by coglabel reconcile`,
        ]),
    ...(worries.length === 0 ? [] : [`health     ${worries.join(', ')} of the last records`]),
    `queue      ${queue.visible} waiting, ${queue.inFlight} with workers, ${queue.delayed} delayed; ${status.deadLetters} dead letters`,
    `speed      ${speed}${eta}`,
    `spend      ${hours}${usd}; assumes ${spend.assumes}`,
    ...(status.plan === null ? [] : [planLine(status.plan)]),
  ]
}

/** A run that is not worked on: since when, why, and what there is to do about it. */
function controlLines({ control: { state, since, cause, reason }, runId }: RunStatus): string[] {
  if (state === 'running') return []
  const why = reason === null ? '' : `: ${reason}`
  const next =
    state === 'cancelled'
      ? ''
      : cause === 'health'
        ? `; look at some labels, then coglabel resume ${runId}, with --health off whatever comes`
        : `; coglabel resume ${runId} goes on`
  return [`${state.padEnd(10)} since ${since ?? 'some time'}${why}${next}`]
}

function planLine({ planned, heading, verdict }: Comparison): string {
  const { workerHours, usd, instance } = planned
  const hours = ({ low, mid, high }: EstimateRange) =>
    `${mid.toFixed(2)} worker-hours (${low.toFixed(2)} to ${high.toFixed(2)})`
  const money = `${formatUsd(usd.mid)} (${formatUsd(usd.low)} to ${formatUsd(usd.high)})`
  const cost = heading === null || heading.usd === null ? '' : `, ${formatUsd(heading.usd)}`
  const now =
    heading === null
      ? ''
      : `; heading for ${heading.workerHours.toFixed(2)} worker-hours${cost}: ${verdict} the plan`
  return `planned    ${hours(workerHours)}, ${money} on ${instance}${now}`
}
