// The cloud worker's process: its environment, signals, log and exit code. It puts the ports together and knows none
// of them closely. Exit codes: 0 drained, 1 a bug of ours, 2 settings, 3 no model, 4 the stores or the queue refuse,
// 143 stopped by SIGTERM with everything given back.
import { createHash } from 'node:crypto'
import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runsPrefix } from '../dataset/events.ts'
import { systemClock } from '../dataset/queues/clock.ts'
import { openFolderQueue } from '../dataset/queues/folder.ts'
import { openSqsQueue } from '../dataset/queues/sqs.ts'
import type { WorkQueue } from '../dataset/queues/work-queue.ts'
import { openFsStore } from '../dataset/stores/fs.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { openS3Store } from '../dataset/stores/s3.ts'
import { UserError } from '../schemas/errors.ts'
import { BucketName } from '../schemas/work-message.ts'
import type { Engine } from './engine/contract.ts'
import { openEngineHost } from './engine/host.ts'
import { configureDecoder } from './image/decode.ts'
import { runWorker, type WorkerEvent } from './pipeline/worker-loop.ts'
import {
  type AwsBackend,
  type FolderBackend,
  parseWorkerSettings,
  type WorkerSettings,
} from './pipeline/worker-settings.ts'

export type WorkerRoot = {
  environment: Readonly<Record<string, string | undefined>>
  openEngine: (modelFolder: string) => Promise<Engine>
  /** Takes one line of JSON. */
  log: (line: string) => void
  stop: AbortSignal
}

/** Runs a worker to its end; returns the exit code. Never rejects. */
export async function runWorkerProcess(root: WorkerRoot): Promise<number> {
  const log = (fields: object) => root.log(JSON.stringify({ at: new Date().toISOString(), ...fields }))
  const settings = await attempt(async () => parseWorkerSettings(root.environment))
  if (!settings.ok) return fail(log, { code: 2, error: settings.error })
  const opened = await attempt(async () => await openTestedEngine(settings.value, root))
  if (!opened.ok) return fail(log, { code: 3, error: opened.error })
  const engine = opened.value
  try {
    const { mode, limits, readyFile, backend } = settings.value
    const ports = openPorts(backend)
    if (readyFile !== undefined) await writeFile(readyFile, 'ready\n')
    log({ event: 'ready', mode, backend: backend.kind, model: engine.info.model.name })
    const { ended } = await runWorker({
      ...ports,
      queue: readyFile === undefined ? ports.queue : touchAtEachLook(ports.queue, readyFile),
      engine,
      mode,
      limits,
      stop: root.stop,
      clock: systemClock,
      random: Math.random,
      onEvent: (event) => logEvent(log, event),
    })
    log({ event: 'ended', ended })
    return ended === 'stopped' ? 143 : 0
  } catch (error) {
    return fail(log, { code: error instanceof UserError ? 4 : 1, error })
  } finally {
    await engine.close().catch(() => {})
  }
}

/** Opens the model and lets it answer once: a worker that cannot shall not take messages. */
async function openTestedEngine({ modelFolder }: WorkerSettings, root: WorkerRoot): Promise<Engine> {
  const engine = await root.openEngine(modelFolder)
  try {
    await answerOnce(engine, root.stop)
    return engine
  } catch (error) {
    await engine.close().catch(() => {})
    throw error
  }
}

async function answerOnce(engine: Engine, signal: AbortSignal): Promise<void> {
  const { image, template } = engine.info
  const session = await engine.openImage(new Float32Array(3 * image.size * image.size), signal)
  try {
    const sampling = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, seed: 0 }
    const question = 'Describe the image.'
    await session.generate([{ template, history: [], question, maxNewTokens: 2, sampling }], signal)
  } finally {
    await session.close()
  }
}

type Ports = {
  queue: WorkQueue
  sourceOf: (bucket: string) => ObjectStore
  runStoreOf: (runId: string) => ObjectStore
}

function openPorts(backend: WorkerSettings['backend']): Ports {
  return backend.kind === 'aws' ? openAwsPorts(backend) : openFolderPorts(backend)
}

function openFolderPorts({ folder, maxReceives }: FolderBackend): Ports {
  return {
    queue: openFolderQueue(join(folder, 'queue'), {
      maxReceives,
      deadLetterFolder: join(folder, 'dead-letters'),
    }),
    // The name was checked when the message was read: it is no path.
    sourceOf: (bucket) => openFsStore(join(folder, 'buckets', BucketName.parse(bucket))),
    runStoreOf: (runId) => openFsStore(join(folder, 'labels', runsPrefix, runId)),
  }
}

function openAwsPorts(backend: AwsBackend): Ports {
  const { queueUrl, labelsBucket, sourceBuckets, s3Endpoint, sqsEndpoint, forcePathStyle } = backend
  const connection = { forcePathStyle, ...(s3Endpoint === undefined ? {} : { endpoint: s3Endpoint }) }
  const sources = new Map(sourceBuckets.map((bucket) => [bucket, openS3Store({ bucket, ...connection })]))
  return {
    queue: openSqsQueue({ queueUrl, ...(sqsEndpoint === undefined ? {} : { endpoint: sqsEndpoint }) }),
    sourceOf(bucket) {
      const store = sources.get(bucket)
      if (store !== undefined) return store
      throw new UserError(`the bucket ${bucket} is not in COGLABEL_SOURCE_BUCKETS; add it to read from it`)
    },
    runStoreOf: (runId) =>
      openS3Store({ bucket: labelsBucket, prefix: `${runsPrefix}${runId}/`, ...connection }),
  }
}

/** The same queue; each receive says that the process is alive. */
function touchAtEachLook(queue: WorkQueue, readyFile: string): WorkQueue {
  return {
    ...queue,
    async receive(options) {
      const now = new Date()
      await utimes(readyFile, now, now).catch(() => {})
      return await queue.receive(options)
    },
  }
}

type Log = (fields: object) => void

/** One line for each part and each message that did not end well; none for an image. No captions, no raw keys. */
function logEvent(log: Log, event: WorkerEvent): void {
  switch (event.kind) {
    case 'part':
      return log({ event: 'part', runId: event.runId, part: event.key, records: event.records })
    case 'released':
      return log({
        event: 'released',
        message: hashed(event.messageId),
        reason: event.reason,
        delayMs: event.delayMs,
      })
    case 'split':
      return log({ event: 'split', message: hashed(event.messageId), into: event.into })
    case 'lease-lost':
    case 'ack-failed':
      return log({ event: event.kind, message: hashed(event.messageId), heldMs: event.heldMs })
    case 'queue-error':
      return log({ event: 'queue-error', error: describe(event.error) })
    case 'acked':
    case 'image':
    case 'received':
      return undefined
  }
}

function fail(log: Log, { code, error }: { code: number; error: unknown }): number {
  log({ event: 'failed', code, error: describe(error) })
  return code
}

/** An error's message without the keys that URIs in it would give away. */
function describe(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return text.replaceAll(
    /\b(s3|file|memory):\/\/[^\s"]+/g,
    (uri) => `${uri.slice(0, uri.indexOf(':'))}:#${hashed(uri)}`,
  )
}

function hashed(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
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

/** This process as a root: SIGTERM and SIGINT ask it to stop. */
export function processWorkerRoot(): Omit<WorkerRoot, 'openEngine'> {
  const stop = new AbortController()
  configureDecoder({ threads: 1 })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
  return {
    environment: process.env,
    log: (line) => void process.stdout.write(`${line}\n`),
    stop: stop.signal,
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await runWorkerProcess({
    ...processWorkerRoot(),
    openEngine: async (modelFolder) => await openEngineHost({ modelFolder }),
  })
}
