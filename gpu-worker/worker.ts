// The cloud worker's process: its environment, signals, log and exit code. It puts the ports together and knows none
// of them closely. Exit codes: 0 drained, 1 a bug of ours, 2 settings, 3 no model, 4 the stores or the queue refuse,
// 143 stopped by SIGTERM with everything given back.
import { readFile, utimes, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { systemClock } from '../dataset/queues/clock.ts'
import type { WorkQueue } from '../dataset/queues/work-queue.ts'
import { UserError } from '../schemas/errors.ts'
import { openCompanions, timeCommits, timeWaits } from './cloud/companions.ts'
import { openModelFolder, openPorts } from './cloud/ports.ts'
import { describeError, type Log, openLog } from './cloud/worker-log.ts'
import type { Engine } from './engine/contract.ts'
import { readManifest } from './engine/compiled-model.ts'
import { deviceProblem } from './engine/device.ts'
import { openEndpoint } from './engine/endpoint/endpoint.ts'
import { openEngineHost } from './engine/host.ts'
import { type DecoderPoolOptions, openDecoderPool } from './image/decoder-pool.ts'
import type { ImageDecoder } from './image/prepare.ts'
import { onInterrupt } from './process/on-interrupt.ts'
import { listAbilities } from './tasks/registry.ts'
import { keepThumbnails } from './pipeline/thumbnails.ts'
import { tryEngine } from './pipeline/engine-trial.ts'
import { runWorker } from './pipeline/worker-loop.ts'
import { type ModelSource, parseWorkerSettings, type WorkerSettings } from './pipeline/worker-settings.ts'

export type WorkerRoot = {
  environment: Readonly<Record<string, string | undefined>>
  openEngine: (modelFolder: string) => Promise<Engine>
  openDecoder: (options: DecoderPoolOptions) => ImageDecoder
  /** Takes one line of JSON. */
  log: (line: string) => void
  stop: AbortSignal
}

/** Runs a worker to its end; returns the exit code. Never rejects. */
export async function runWorkerProcess(root: WorkerRoot): Promise<number> {
  const log = openLog(root.log)
  const settings = await attempt(async () => parseWorkerSettings(root.environment))
  if (!settings.ok) return fail(log, { code: 2, error: settings.error })
  const opened = await attempt(async () => await openTestedEngine(settings.value, root))
  if (!opened.ok && root.stop.aborted) return end(log, 'stopped')
  if (!opened.ok) return fail(log, { code: 3, error: opened.error })
  const { engine } = opened.value
  try {
    return end(log, await work({ root, log, settings: settings.value, ...opened.value }))
  } catch (error) {
    return fail(log, { code: error instanceof UserError ? 4 : 1, error })
  } finally {
    await engine.close().catch(() => {})
  }
}

type Opened = { engine: Engine; loading: { fetchedBytes: number; weightsMs: number; selfTestMs: number } }

/** Fetches and opens the model and lets it answer once: a worker that cannot shall not take messages. */
async function openTestedEngine({ model }: WorkerSettings, root: WorkerRoot): Promise<Opened> {
  const startMs = performance.now()
  const { engine, fetchedBytes } = await openModel(model, root)
  const loadedMs = performance.now()
  try {
    await answerOnce(engine, root.stop)
    const [weightsMs, selfTestMs] = [loadedMs - startMs, performance.now() - loadedMs].map(Math.round)
    return { engine, loading: { fetchedBytes, weightsMs: weightsMs ?? 0, selfTestMs: selfTestMs ?? 0 } }
  } catch (error) {
    await engine.close().catch(() => {})
    throw error
  }
}

async function openModel(
  model: ModelSource,
  root: WorkerRoot,
): Promise<{ engine: Engine; fetchedBytes: number }> {
  if (model.kind === 'endpoint') {
    const { kind: _kind, keyFile, ...options } = model
    const key = keyFile === undefined ? options.key : await readKeyFile(keyFile)
    try {
      const engine = await openEndpoint({ ...options, key, capabilities: listAbilities() })
      return { engine, fetchedBytes: 0 }
    } catch (error) {
      throw withVariables(error)
    }
  }
  const { folder, fetchedBytes } = await openModelFolder(model, root.stop)
  return { engine: await root.openEngine(folder), fetchedBytes }
}

/** A worker has no flags: what the endpoint says of them is said of the variables in their place. */
function withVariables(error: unknown): unknown {
  if (!(error instanceof UserError)) return error
  const text = error.message
    .replaceAll(
      /--endpoint-([a-z-]+)/g,
      (_, name: string) => `COGLABEL_ENDPOINT_${name.replaceAll('-', '_').toUpperCase()}`,
    )
    .replaceAll('--endpoint', 'COGLABEL_MODEL')
  return new UserError(text, { cause: error })
}

async function readKeyFile(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((error: unknown) => {
    throw new UserError(`COGLABEL_ENDPOINT_KEY_FILE ${path} cannot be read: ${String(error)}`, {
      cause: error,
    })
  })
}

async function answerOnce(engine: Engine, signal: AbortSignal): Promise<void> {
  const failure = await tryEngine(engine, signal)
  if (failure !== null) throw new UserError(`the model does not answer: ${failure.message}`)
}

type Work = Opened & { root: WorkerRoot; settings: WorkerSettings; log: Log }

async function work({ root, settings, engine, loading, log }: Work): Promise<'drained' | 'stopped'> {
  const { mode, limits, readyFile, backend, thumbnails } = settings
  const decoder = root.openDecoder(settings.decoders)
  const model = engine.info.model.name
  const clock = systemClock
  const { queue, sourceOf, runStoreOf, queueOfRole } = openPorts(settings)
  const beside = openCompanions({ settings, model, clock, log, write: root.log })
  const { metrics } = beside
  metrics.observe('WeightsLoadMs', loading.weightsMs)
  try {
    if (readyFile !== undefined) await writeFile(readyFile, 'ready\n')
    const { notice } = engine.info
    log({
      event: 'ready',
      mode,
      backend: backend.kind,
      model,
      ...(notice === undefined ? {} : { notice }),
      ...loading,
    })
    const onError = (error: unknown) => log({ event: 'thumbnail-failed', error: describeError(error) })
    const { ended } = await runWorker({
      queue: touchAtEachLook(timeWaits(queue, { metrics, clock }), readyFile),
      engine,
      sourceOf,
      queueOfRole,
      runStoreOf: (runId) => timeCommits(runStoreOf(runId), { metrics, runId }),
      decoder,
      thumbnailsOf: thumbnails ? keepThumbnails({ runStoreOf, clock, onError }) : undefined,
      mode,
      limits,
      stop: AbortSignal.any([root.stop, beside.spotNotice]),
      stopWithinMs: beside.remainingMs,
      clock,
      random: Math.random,
      onEvent: (event) => beside.event(event),
    })
    return ended
  } finally {
    await Promise.all([beside.close(), decoder.close()])
  }
}

/** The same queue; each receive says that the process is alive. */
function touchAtEachLook(queue: WorkQueue, readyFile: string | undefined): WorkQueue {
  if (readyFile === undefined) return queue
  return {
    ...queue,
    async receive(options) {
      const now = new Date()
      await utimes(readyFile, now, now).catch(() => {})
      return await queue.receive(options)
    },
  }
}

function end(log: Log, ended: 'drained' | 'stopped'): number {
  log({ event: 'ended', ended })
  return ended === 'stopped' ? 143 : 0
}

function fail(log: Log, { code, error }: { code: number; error: unknown }): number {
  log({ event: 'failed', code, error: describeError(error) })
  return code
}

async function attempt<T>(
  act: () => Promise<T>,
): Promise<{ ok: true; value: T } | { ok: false; error: unknown }> {
  try {
    return { ok: true, value: await act() }
  } catch (error) {
    return { ok: false, error }
  }
}

/** A model runs on the device that it was compiled for, or not at all: a fleet of GPUs shall not label on their CPUs. */
export async function openOnItsDevice(modelFolder: string): Promise<Engine> {
  const { target } = await readManifest(modelFolder)
  const problem = await deviceProblem(target)
  if (problem !== null)
    throw new UserError(`${modelFolder} was compiled for ${target}, which cannot be used here: ${problem}`)
  return await openEngineHost({ modelFolder, device: target })
}

/** This process as a root: SIGTERM and SIGINT ask it to stop, and once more end it at once. */
export function processWorkerRoot(): Omit<WorkerRoot, 'openEngine'> {
  const stop = new AbortController()
  onInterrupt(() => (stop.signal.aborted ? process.exit(130) : stop.abort()))
  return {
    environment: process.env,
    openDecoder: openDecoderPool,
    log: (line) => void process.stdout.write(`${line}\n`),
    stop: stop.signal,
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await runWorkerProcess({
    ...processWorkerRoot(),
    openEngine: openOnItsDevice,
  })
}
