// `coglabel label`: images in a folder to labels in a run folder. It puts the pieces together and knows none of them closely.
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { HealthMonitor, worrying } from '../dataset/checks/health.ts'
import { loadFailedIds, loadFormerDuplicates } from '../dataset/ids-again.ts'
import { loadIdIndex } from '../dataset/sealed-ids.ts'
import { type ImageSource, openSource, type SourceScan } from '../dataset/ingest.ts'
import { labelsViewName, type LabelsView, writeLabelsView } from '../dataset/labels-view.ts'
import { openRun, readRun, type WantedRun } from '../dataset/run-folder.ts'
import { sealRun } from '../dataset/seal.ts'
import { openFsStore, sweepStaleTemps } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { Engine } from '../gpu-worker/engine/contract.ts'
import type { DecoderPoolOptions } from '../gpu-worker/image/decoder-pool.ts'
import type { ImageDecoder } from '../gpu-worker/image/prepare.ts'
import { type Duplicate, findDuplicates } from '../gpu-worker/pipeline/duplicates.ts'
import { defaultRunLimits, labelSource, type RunOutcome } from '../gpu-worker/pipeline/run.ts'
import { UserError } from '../schemas/errors.ts'
import { systemCode } from '../schemas/system-error.ts'
import type { InputRules } from '../schemas/input-rules.ts'
import type { Estimate } from '../schemas/estimate.ts'
import { runConfigKey, type RunConfig } from '../schemas/run-config.ts'
import type { RunSession } from '../schemas/run-report.ts'
import type { AskFlags } from './ask-flags.ts'
import { askedRun } from './asked-run.ts'
import { reasonOf } from './explain-error.ts'
import { labelUsage, type LabelFlags, parseLabelFlags } from './label-flags.ts'
import { costOf, type LabelStop, watchStop } from './label-stop.ts'
import type { OpenEngineOptions } from './open-engine.ts'
import { startProgress, type ProgressOutput } from './progress.ts'
import { readEstimate, writeRunReport } from './run-report.ts'
import { renderSummary } from './summary.ts'
import { counted, shellWord } from './words.ts'

export type LabelRoot = {
  openEngine: (options: OpenEngineOptions) => Promise<Engine>
  openDecoder: (options: DecoderPoolOptions) => ImageDecoder
  /** The summary and nothing else. */
  print: (text: string) => void
  progress: ProgressOutput
  clock: () => Date
  /** Calls back on each interrupt until the returned function is called. */
  onInterrupt: (interrupt: () => void) => () => void
}

/** Runs the verb; returns the exit code. A source that is given stands for SRC. Throws UserError for what the user can mend. */
export async function runLabel(
  args: readonly string[],
  root: LabelRoot,
  given: { source?: ImageSource } = {},
): Promise<number> {
  const flags = parseLabelFlags(args)
  if (flags === null) {
    root.print(labelUsage)
    return 0
  }
  const out = resolve(flags.out)
  await checkOutFolder(out, flags)
  const source = given.source ?? (await openSource(flags.src, { exclude: out }))
  const scan = await source.scan()
  refuseNothing(flags.src, scan)
  tellSkipped(scan, root)
  const estimate = flags.planPath === undefined ? null : await readEstimate(flags.planPath)
  const engine = await root.openEngine({
    ...flags.model,
    keyValueCache: flags.keyValueCache,
    onCompile: compileNotice(root),
  })
  const decoder = root.openDecoder(flags.decode.pool)
  try {
    const command = ['label', ...args].map(shellWord).join(' ')
    return await labelWithEngine({ flags, out, source, scan, estimate, engine, decoder, root, command })
  } finally {
    await Promise.all([engine.close(), decoder.close()])
  }
}

type LabelJob = {
  flags: LabelFlags
  out: string
  source: ImageSource
  scan: SourceScan
  /** What was planned; null where nothing was, or with an earlier command. */
  estimate: Estimate | null
  engine: Engine
  decoder: ImageDecoder
  root: LabelRoot
  /** As it was typed, for who wants to do it again. */
  command: string
}

async function labelWithEngine(job: LabelJob): Promise<number> {
  const { flags, out, estimate, engine, root } = job
  if (engine.info.notice !== undefined) tell(root, engine.info.notice)
  const store = openFsStore(out)
  const wanted = wantedLabelRun(flags, job, await readRun(store))
  const config = await openRun(store, { wanted, now: root.clock() })
  await sweepStaleTemps(out, root.clock().getTime())
  const ran = await labelStoppably(store, config, job)
  if (ran.session.ended === 'stopped') {
    tell(root, 'stopped at once; what was finished is kept, the same command goes on from there')
    return exitCodes.stopped
  }
  await sealRun({ store, runId: config.runId, clock: root.clock })
  const view = await writeLabelsView(store, out)
  const { plannedImages } = ran
  const session = { ...ran.session, command: job.command }
  const report = await writeRunReport({ out, runId: config.runId, plannedImages, estimate, session, view })
  root.print(
    renderSummary({
      view: { ...view, path: join(flags.out, labelsViewName) },
      report,
      session,
      config,
      src: flags.src,
      out: flags.out,
    }),
  )
  return exitCode(session, view)
}

/** The settings of the run that the flags ask for; `standing` is the run that is there already. */
export function wantedLabelRun(
  { input, ...ask }: AskFlags & { input?: InputRules | undefined },
  { source, scan, engine }: Pick<LabelJob, 'source' | 'scan' | 'engine'>,
  standing: RunConfig | null = null,
): WantedRun {
  const { model, template, capabilities } = engine.info
  const asked = askedRun(ask, {
    model: { name: model.name, template, capabilities },
    ...(scan.brings === undefined ? {} : { brings: scan.brings }),
    standing,
  })
  return {
    source: source.source,
    model,
    template,
    ...asked,
    ...(input === undefined ? {} : { input }),
  }
}

/** Labels what is not done yet, until all is, or an interrupt or a limit ends it. */
async function labelStoppably(
  store: ObjectStore,
  config: RunConfig,
  job: LabelJob,
): Promise<{ session: RunSession; plannedImages: number }> {
  const { flags, scan, root } = job
  // Parts that a killed process left unsealed count as done only once they are sealed.
  await sealRun({ store, runId: config.runId, clock: root.clock })
  const [startedAt, startMs] = [root.clock(), performance.now()]
  const stopping = watchStop(flags.limits, {
    onInterrupt: root.onInterrupt,
    tell: (text) => tell(root, text),
  })
  try {
    const plannedImages = Math.min(scan.images, flags.firstImages ?? Infinity)
    const duplicates = await lookForDuplicates(config, job, stopping.drain)
    const { outcome, labelled, health } = await labelWatched(
      { store, config, plannedImages, duplicates },
      job,
      stopping,
    )
    const durationMs = Math.round(performance.now() - startMs)
    const session = {
      startedAt: startedAt.toISOString(),
      endedAt: root.clock().toISOString(),
      ...stopping.endOf(outcome),
      labelled,
      durationMs,
      usd: costOf(durationMs, flags.limits.hourUsd),
      ...(health === null ? {} : { health: healthOf(health) }),
    }
    return { session, plannedImages }
  } finally {
    stopping.close()
  }
}

type WatchedRun = {
  store: ObjectStore
  config: RunConfig
  plannedImages: number
  duplicates: ReadonlyMap<string, Duplicate>
}

/** The loop, with a line of progress, and an eye on what the checks find. */
async function labelWatched(
  { store, config, plannedImages, duplicates }: WatchedRun,
  { flags, source, engine, decoder, root }: LabelJob,
  stopping: LabelStop,
): Promise<{ outcome: RunOutcome; labelled: number; health: HealthMonitor | null }> {
  const done = await loadIdIndex(store)
  const again = [
    ...(flags.retry === null ? [] : [await loadFailedIds(store, flags.retry)]),
    ...(config.input?.dedupe === undefined
      ? []
      : [await loadFormerDuplicates(store, (key) => duplicates.has(key))]),
  ]
  const watched =
    flags.health === null ? null : { limits: flags.health, monitor: new HealthMonitor(flags.health) }
  const progress = startProgress({
    imageCount: plannedImages,
    output: root.progress,
    nowMs: () => performance.now(),
  })
  try {
    const outcome = await labelSource({
      config,
      engine,
      decoder,
      limits: { ...defaultRunLimits, decode: flags.decode.limits },
      source,
      store,
      done,
      isDone: (recordId) => done.has(recordId) && !again.some((ids) => ids.has(recordId)),
      clock: root.clock,
      drain: stopping.drain,
      stop: stopping.stop,
      maxImages: flags.firstImages,
      maxLabelled: flags.limits.maxImages,
      duplicateOf: (key) => duplicates.get(key),
      onEvent(event) {
        if (event.kind === 'image' && watched !== null) {
          const report = watched.monitor.add(event.made)
          progress.note(worrying(report, watched.limits))
          if (report.tripped !== null) stopping.trip(report.tripped)
        }
        progress.onEvent(event)
      },
    })
    const { seen, skipped } = progress.state
    return { outcome, labelled: seen - skipped, health: watched?.monitor ?? null }
  } finally {
    progress.finish()
  }
}

/** Looks at every image before the first is asked about, where the run leaves out duplicates. */
async function lookForDuplicates(
  { input }: RunConfig,
  { flags, source, decoder, root }: LabelJob,
  signal: AbortSignal,
): Promise<Map<string, Duplicate>> {
  if (input?.dedupe === undefined) return new Map()
  const found = await findDuplicates(source, {
    kind: input.dedupe,
    limits: flags.decode.limits,
    decoder,
    maxImages: flags.firstImages,
    signal,
    onImage: (seen) =>
      seen % 10_000 === 0 ? tell(root, `looking for duplicates: ${seen} images`) : undefined,
  })
  if (found.size > 0) tell(root, `not asked about, since they repeat others: ${counted(found.size, 'image')}`)
  return found
}

function healthOf(monitor: HealthMonitor): NonNullable<RunSession['health']> {
  const { records, rates } = monitor.report()
  const round = (value: number | null) => (value === null ? null : Math.round(value * 10_000) / 10_000)
  return {
    records,
    rates: Object.fromEntries(Object.entries(rates).map(([name, value]) => [name, round(value)])),
  }
}

const exitCodes = { 'all-done': 0, 'limit': 4, 'quality': 5, 'interrupted': 130, 'stopped': 130 } as const

function exitCode({ ended }: RunSession, view: LabelsView): number {
  const hasFailed = Object.values(view.byTask).some((counts) => counts.failed > 0)
  return ended === 'all-done' && hasFailed ? 3 : exitCodes[ended]
}

async function checkOutFolder(out: string, { isYes }: LabelFlags): Promise<void> {
  const names: string[] = await readdir(out).catch((error: unknown) => {
    const code = systemCode(error)
    if (code === 'ENOENT') return []
    const why = code === 'ENOTDIR' ? 'it is a file, expected a folder' : reasonOf(error)
    throw new UserError(`--out ${out} cannot be used: ${why}`, { cause: error })
  })
  const isRun = names.includes(runConfigKey) || names.every((name) => name === '.tmp')
  if (isRun || isYes) return
  throw new UserError(
    `--out ${out} holds other files (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}); give an empty folder, or add --yes to use it all the same`,
  )
}

export function refuseNothing(src: string, { images, skipped }: SourceScan): void {
  if (images > 0) return
  const reasons = describeSkipped(skipped)
  throw new UserError(
    `no images in "${src}"${reasons === '' ? '' : ` (left out: ${reasons})`}; give a folder of images, one image or a .jsonl manifest`,
  )
}

function tellSkipped({ skipped, unasked = {} }: SourceScan, root: LabelRoot): void {
  const reasons = describeSkipped(skipped)
  if (reasons !== '') tell(root, `left out: ${reasons}`)
  for (const [field, lines] of Object.entries(unasked))
    tell(
      root,
      `${counted(lines, 'line')} with "${field}", kept in meta and not asked; lists of texts are: "questions": ["…"], "phrases": ["…"]`,
    )
}

/** Where the reason alone leaves open what to do. */
const skipHints: Readonly<Record<string, string>> = {
  'symbolic link': ' (none is followed)',
  'unusable name': ' (a backslash in it, or bytes that are not UTF-8)',
}

function describeSkipped(skipped: SourceScan['skipped']): string {
  return Object.entries(skipped)
    .map(([reason, count]) => `${count} ${reason}${skipHints[reason] ?? ''}`)
    .join(', ')
}

/** Says once that a compile is under way and how far it is at every tenth. */
export function compileNotice(root: LabelRoot): NonNullable<OpenEngineOptions['onCompile']> {
  let lastTenth = -1
  return ({ writtenBytes, totalBytes }) => {
    const tenth = totalBytes === 0 ? 10 : Math.floor((writtenBytes * 10) / totalBytes)
    if (lastTenth === -1) tell(root, 'compiling the model (once; it is kept for next time)')
    else if (tenth > lastTenth && totalBytes > 500_000_000) tell(root, `compiling: ${tenth * 10} %`)
    lastTenth = Math.max(tenth, lastTenth)
  }
}

function tell(root: LabelRoot, text: string): void {
  root.progress.write(`${root.progress.isTerminal ? '\r\u001B[2K' : ''}${text}\n`)
}
