// `coglabel dev`: a cloud on this machine. An emulator of S3 and SQS, a standing run, a worker and the sealer; an image
// that arrives is labelled within seconds. All but the labels is in memory, and everything goes through the AWS SDK.
import { rename, stat } from 'node:fs/promises'
import { join, parse, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { uploadPrefix } from '../dataset/plan-sources.ts'
import { labelsViewName } from '../dataset/labels-view.ts'
import { openPlace, type Place } from '../dataset/place.ts'
import { openRun } from '../dataset/run-folder.ts'
import { makeFolder } from '../dataset/stores/make-folder.ts'
import { openS3Store } from '../dataset/stores/s3.ts'
import { startEmulator, type Answered, type Emulator } from '../emulator/emulator.ts'
import { type Deployment, deploymentKey, deploymentVersion } from '../schemas/deployment.ts'
import { UserError } from '../schemas/errors.ts'
import { systemCode } from '../schemas/system-error.ts'
import type { HealthSetting } from '../schemas/health.ts'
import type { InputRules } from '../schemas/input-rules.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import { type AskFlags, askOptions, askUsage, readAskFlags } from './ask-flags.ts'
import { readNumber } from './flag-values.ts'
import { describeHealth, healthOption, readHealthSetting } from './health-flag.ts'
import { inputOptions, inputUsage, readSharedInputRules } from './input-flags.ts'
import type { ChosenModel } from './choose-model.ts'
import { greeting, type Reporter, renderEnd, startReport } from './dev/report.ts'
import { watchDropFolder } from './dev/drop-folder.ts'
import { keepSealing } from './dev/sealing.ts'
import { keepWorking } from './dev/working.ts'
import { standingSource } from './submit-source.ts'
import { wantedRun } from './submit.ts'
import type { VerbRoot } from './verb-root.ts'

export const devUsage = `coglabel dev [--images DIR] [--out DIR] [--port N] [--model DIR] [options]

Starts a cloud on this machine: S3 and SQS on loopback, a worker, and the sealer. Copy an image into DIR, or put it into
the bucket with any S3 client, and its labels are sealed within seconds. Buckets and queues are in memory and gone at
the end; the labels stay in OUT/labels.jsonl.

  --images DIR           watched for images, also those that are there already (OUT/drop)
  --out DIR              where labels.jsonl is kept (coglabel-dev)
  --port N               of S3 and SQS on 127.0.0.1; 0 takes a free one (4580)
  --model DIR            a compiled model or a checkpoint folder (the model that comes with coglabel)
${askUsage}
  --dedupe exact         leave out images whose bytes the run has already
${inputUsage}
  --health off|a=b,…     when the run pauses, by what checks find in the last window=200 records or more, as shares:
                         ${describeHealth()}

Exit code: 0 ended by Ctrl-C, 1 fatal, 2 wrong usage or settings.`

export type DevRoot = VerbRoot & {
  /** The model's folder and what a run says of it; compiles a checkpoint once. */
  chooseModel: (choice: string | undefined, place: Place) => Promise<{ folder: string; chosen: ChosenModel }>
  /** The script that runs a worker for its environment. */
  workerPath: string
}

type DevFlags = {
  images: string
  out: string
  port: number
  model: string | undefined
  ask: AskFlags
  input: InputRules | undefined
  health: HealthSetting | undefined
}

const region = 'us-east-1'
const devRunId = 'dev'
const buckets = { images: 'images', labels: 'labels', weights: 'weights' }

/** Runs until it is interrupted; returns the exit code. Throws UserError for what the user can mend. */
export async function runDev(args: readonly string[], root: DevRoot): Promise<number> {
  const flags = parseDevFlags(args)
  await makeFolder(flags.images)
  const setAside = await setOldLabelsAside(flags.out, root)
  if (setAside !== null) root.tell(`the labels of an earlier time are now ${setAside}`)
  const report = startReport({ bucket: buckets.images, prefix: uploadPrefix(devRunId), clock: root.clock })
  const cloud = await startCloud(flags, (answered) => {
    const line = report.arrived(answered)
    if (line !== null) root.print(line)
  })
  try {
    return await runIn(cloud, { flags, report, root })
  } finally {
    cloud.place.close()
    await cloud.emulator.close()
  }
}

type Cloud = { emulator: Emulator; place: Place; deployment: Deployment }

async function startCloud(flags: DevFlags, onAnswer: (answered: Answered) => void): Promise<Cloud> {
  const credentials = {
    accessKeyId: 'coglabel-dev',
    secretAccessKey: crypto.randomUUID().replaceAll('-', ''),
  }
  const emulator = await startEmulator({ port: flags.port, region, credentials, onAnswer }).catch(
    (error: unknown) => {
      if (systemCode(error) !== 'EADDRINUSE') throw error
      throw new UserError(
        `port ${flags.port} is taken; give another with --port, or --port 0 for a free one`,
        {
          cause: error,
        },
      )
    },
  )
  const { endpoint } = emulator
  const queues = emulator.provision({
    buckets: Object.values(buckets),
    queue: 'work',
    deadLetters: 'dead-letters',
    maxReceives: 8,
    events: { bucket: buckets.images, prefix: 'incoming/' },
  })
  const deployment: Deployment = {
    v: deploymentVersion,
    name: 'coglabel dev',
    region,
    queueUrl: queues.queueUrl,
    deadLetterQueueUrl: queues.deadLettersUrl,
    labelsBucket: buckets.labels,
    imageBuckets: [buckets.images],
    weightsBucket: buckets.weights,
    functions: {},
    endpoints: { s3: endpoint, sqs: endpoint, pathStyle: true },
  }
  const connection = { endpoint, region, credentials }
  const labels = openS3Store({ bucket: buckets.labels, forcePathStyle: true, ...connection })
  await labels.putIfAbsent(deploymentKey, Buffer.from(`${JSON.stringify(deployment, null, 2)}\n`))
  labels.close()
  return { emulator, place: await openPlace(`s3://${buckets.labels}`, connection), deployment }
}

type Session = { flags: DevFlags; report: Reporter; root: DevRoot }

async function runIn(
  { emulator, place, deployment }: Cloud,
  { flags, report, root }: Session,
): Promise<number> {
  const { folder, chosen } = await root.chooseModel(flags.model, place)
  const config = await beginRun(place, { flags, chosen, root })
  const stop = new AbortController()
  const silence = root.onInterrupt(() => {
    if (!stop.signal.aborted) root.tell('\nstopping: what is under way is finished and sealed')
    stop.abort()
  })
  const { endpoint, credentials } = emulator
  root.print(
    greeting({
      ...flags,
      model: chosen.model.name,
      endpoint,
      region,
      credentials,
      prefix: uploadPrefix(devRunId),
      bucket: buckets.images,
      labelsBucket: buckets.labels,
      runId: devRunId,
    }),
  )
  root.tell('the worker loads the model; what arrives waits in the queue until then')
  const worked = new AbortController()
  const sealing = keepSealing({
    place,
    config,
    out: flags.out,
    clock: root.clock,
    until: worked.signal,
    onSealed: (records) => report.sealed(records).forEach((line) => root.print(line)),
    onPaused: (runId, reason) =>
      root.print(report.paused(reason, `${runId} --place s3://${buckets.labels} --aws-endpoint ${endpoint}`)),
  })
  const jobs = [
    keepWorking({
      workerPath: root.workerPath,
      modelFolder: folder,
      deployment,
      credentials,
      root,
      stop: stop.signal,
    }).finally(() => worked.abort()),
    watchDropFolder({
      folder: flags.images,
      store: place.imagesOf(buckets.images),
      prefix: uploadPrefix(devRunId),
      stop: stop.signal,
      tell: root.tell,
    }),
    sealing,
  ]
  await endTogether(jobs, () => stop.abort()).finally(silence)
  root.print(renderEnd({ view: await sealing, waiting: report.waiting(), out: flags.out }))
  return 0
}

/** Waits for all. The first that fails stops the others, and is thrown when they have ended: the cloud is theirs too. */
async function endTogether(jobs: readonly Promise<unknown>[], stop: () => void): Promise<void> {
  const failures: unknown[] = []
  const watched = jobs.map(async (job) =>
    job.catch((error: unknown) => {
      failures.push(error)
      stop()
    }),
  )
  await Promise.all(watched)
  if (failures.length > 0) throw failures[0]
}

async function beginRun(
  place: Place,
  { flags, chosen, root }: { flags: DevFlags; chosen: ChosenModel; root: DevRoot },
): Promise<RunConfig> {
  const { ask, input, health } = flags
  const asked = { ...ask, input, health, hasClaims: false, costCapUsd: undefined }
  const { source } = standingSource(place)
  const wanted = wantedRun(asked, { source, chosen, grounding: null })
  return await openRun(place.runStoreOf(devRunId), { wanted, now: root.clock(), runId: devRunId })
}

function parseDevFlags(args: readonly string[]): DevFlags {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...askOptions,
      ...inputOptions,
      ...healthOption,
      images: { type: 'string' },
      out: { type: 'string', default: 'coglabel-dev' },
      port: { type: 'string' },
      model: { type: 'string' },
    },
  })
  return {
    images: resolve(values.images ?? join(values.out, 'drop')),
    out: resolve(values.out),
    port: readNumber('--port', values.port, z.int().min(0).max(65_535)) ?? 4580,
    model: values.model,
    ask: readAskFlags(values),
    input: readSharedInputRules(values),
    health: readHealthSetting(values.health),
  }
}

/** The run begins anew each time: what an earlier one left keeps its labels under another name. */
async function setOldLabelsAside(out: string, { clock }: DevRoot): Promise<string | null> {
  const path = join(out, labelsViewName)
  if (!(await stat(path).catch(() => null))) return null
  const { name, ext } = parse(labelsViewName)
  const aside = join(out, `${name}-until-${clock().toISOString().replaceAll(':', '').slice(0, 17)}${ext}`)
  await rename(path, aside)
  return aside
}
