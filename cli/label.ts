// `coglabel label`: images in a folder to labels in a run folder. It puts the pieces together and knows none of them closely.
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { loadIdIndex } from '../dataset/sealed-ids.ts'
import { type ImageSource, openSource, type SourceScan } from '../dataset/ingest.ts'
import { labelsViewName, type LabelsView, writeLabelsView } from '../dataset/labels-view.ts'
import { openRun } from '../dataset/run-folder.ts'
import { sealRun } from '../dataset/seal.ts'
import { openFsStore, sweepStaleTemps } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import type { Engine } from '../gpu-worker/engine/contract.ts'
import { labelSource, type RunOutcome } from '../gpu-worker/pipeline/run.ts'
import { listItemTasks, planTasks } from '../gpu-worker/tasks/registry.ts'
import { UserError } from '../schemas/errors.ts'
import { runConfigKey, type RunConfig } from '../schemas/run-config.ts'
import { labelUsage, type LabelFlags, parseLabelFlags } from './label-flags.ts'
import type { OpenModelOptions } from './open-model.ts'
import { startProgress, type ProgressOutput } from './progress.ts'
import { renderSummary } from './summary.ts'

export type LabelRoot = {
  openEngine: (options: OpenModelOptions) => Promise<Engine>
  /** The summary and nothing else. */
  print: (text: string) => void
  progress: ProgressOutput
  clock: () => Date
  /** Calls back on each interrupt until the returned function is called. */
  onInterrupt: (interrupt: () => void) => () => void
}

/** Runs the verb; returns the exit code. Throws UserError for what the user can mend. */
export async function runLabel(args: readonly string[], root: LabelRoot): Promise<number> {
  const flags = parseLabelFlags(args)
  if (flags === null) {
    root.print(labelUsage)
    return 0
  }
  const out = resolve(flags.out)
  await checkOutFolder(out, flags)
  const source = await openSource(flags.src, { exclude: out })
  const scan = await source.scan()
  refuseNothing(flags.src, scan)
  tellSkipped(scan, root)
  const engine = await root.openEngine({
    modelFolder: flags.modelFolder,
    keyValueCache: flags.keyValueCache,
    onCompile: compileNotice(root),
  })
  try {
    return await labelWithEngine({ flags, out, source, scan, engine, root })
  } finally {
    await engine.close()
  }
}

type LabelJob = {
  flags: LabelFlags
  out: string
  source: ImageSource
  scan: SourceScan
  engine: Engine
  root: LabelRoot
}

async function labelWithEngine(job: LabelJob): Promise<number> {
  const { flags, out, engine, root } = job
  if (engine.info.notice !== undefined) tell(root, engine.info.notice)
  const store = openFsStore(out)
  const config = await openRunFor(store, job)
  await sweepStaleTemps(out, root.clock().getTime())
  const startMs = performance.now()
  const { outcome, labelled } = await labelInterruptibly(store, config, job)
  if (outcome.ended === 'stopped') {
    tell(root, 'stopped at once; what was finished is kept, the same command goes on from there')
    return 130
  }
  await sealRun({ store, runId: config.runId, clock: root.clock })
  const view = await writeLabelsView(store, out)
  const elapsedMs = performance.now() - startMs
  const where = { ...view, path: join(flags.out, labelsViewName) }
  root.print(
    renderSummary({
      view: where,
      labelled,
      elapsedMs,
      isInterrupted: outcome.ended === 'drained',
      config,
      src: flags.src,
      out: flags.out,
    }),
  )
  return exitCode(outcome, view)
}

async function openRunFor(
  store: ObjectStore,
  { flags, source, scan, engine, root }: LabelJob,
): Promise<RunConfig> {
  const { model, template, capabilities } = engine.info
  const { taskNames: names, questions, phrases, from, sampling } = flags
  const wanted = {
    names,
    questions,
    phrases,
    from,
    ...(scan.brings === undefined ? {} : { brings: scan.brings }),
    model: { name: model.name, template, capabilities },
  }
  const tasks = planTasks(wanted)
  const itemTasks = listItemTasks(wanted)
  return await openRun(store, {
    wanted: {
      source: source.source,
      model,
      template,
      tasks,
      ...(itemTasks.length === 0 ? {} : { itemTasks }),
      sampling,
    },
    now: root.clock(),
  })
}

/** Labels what is not done yet. The first interrupt finishes what is under way, the second stops at once. */
async function labelInterruptibly(
  store: ObjectStore,
  config: RunConfig,
  { flags, source, scan, engine, root }: LabelJob,
): Promise<{ outcome: RunOutcome; labelled: number }> {
  // Parts that a killed process left unsealed count as done only once they are sealed.
  await sealRun({ store, runId: config.runId, clock: root.clock })
  const done = await loadIdIndex(store)
  const [drain, stop] = [new AbortController(), new AbortController()]
  const silence = root.onInterrupt(() => {
    if (drain.signal.aborted) stop.abort()
    else tell(root, 'interrupted: finishing the images under way; interrupt again to stop at once')
    drain.abort()
  })
  const imageCount = Math.min(scan.images, flags.maxImages ?? Infinity)
  const progress = startProgress({ imageCount, output: root.progress, nowMs: () => performance.now() })
  try {
    const outcome = await labelSource({
      config,
      engine,
      source,
      store,
      done,
      clock: root.clock,
      drain: drain.signal,
      stop: stop.signal,
      maxImages: flags.maxImages,
      onEvent: progress.onEvent,
    })
    return { outcome, labelled: progress.state.seen - progress.state.skipped }
  } finally {
    silence()
    progress.finish()
  }
}

function exitCode(outcome: RunOutcome, view: LabelsView): number {
  if (outcome.ended !== 'all-done') return 130
  return Object.values(view.byTask).some((counts) => counts.failed > 0) ? 3 : 0
}

async function checkOutFolder(out: string, { isYes }: LabelFlags): Promise<void> {
  const names: string[] = await readdir(out).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? error.code : ''
    if (code === 'ENOENT') return []
    throw new UserError(
      `--out ${out} cannot be used: ${code === 'ENOTDIR' ? 'it is a file, expected a folder' : String(error)}`,
      { cause: error },
    )
  })
  const isRun = names.includes(runConfigKey) || names.every((name) => name === '.tmp')
  if (isRun || isYes) return
  throw new UserError(
    `--out ${out} holds other files (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}); give an empty folder, or add --yes to use it all the same`,
  )
}

function refuseNothing(src: string, { images, skipped }: SourceScan): void {
  if (images > 0) return
  const reasons = describeSkipped(skipped)
  throw new UserError(
    `no images in "${src}"${reasons === '' ? '' : ` (left out: ${reasons})`}; give a folder of images, one image or a .jsonl manifest`,
  )
}

function tellSkipped({ skipped }: SourceScan, root: LabelRoot): void {
  const reasons = describeSkipped(skipped)
  if (reasons !== '') tell(root, `left out: ${reasons}`)
}

function describeSkipped(skipped: SourceScan['skipped']): string {
  return Object.entries(skipped)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(', ')
}

/** Says once that a compile is under way and how far it is at every tenth. */
function compileNotice(root: LabelRoot): NonNullable<OpenModelOptions['onCompile']> {
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
