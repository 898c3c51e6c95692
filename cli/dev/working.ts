// Keeps one worker process at work until it is told to stop. It does not know what the worker does.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import type { Deployment } from '../../schemas/deployment.ts'
import { UserError } from '../../schemas/errors.ts'
import type { VerbRoot } from '../verb-root.ts'

export type Working = {
  workerPath: string
  modelFolder: string
  deployment: Deployment
  credentials: { accessKeyId: string; secretAccessKey: string }
  root: Pick<VerbRoot, 'tell' | 'sleep'>
  stop: AbortSignal
}

/** A worker that ends so soon after it was ready would only do so again. */
const maxQuickEnds = 3
const quickMs = 5000
const restartMs = 500

/** Parts are written this often, so that labels come within seconds. */
const partSeconds = '0.5'

/** Resolves when `stop` has fired and the worker has ended. Throws UserError when it cannot work at all. */
export async function keepWorking({ stop, ...working }: Working): Promise<void> {
  for (let quickEnds = 0; !stop.aborted;) {
    const startMs = performance.now()
    const { code, lastWords } = await runOnce({ stop, ...working })
    if (stop.aborted) return
    if (code === 2 || code === 3) throw new UserError(`the worker cannot start: ${lastWords}`)
    quickEnds = performance.now() - startMs < quickMs ? quickEnds + 1 : 0
    if (quickEnds >= maxQuickEnds)
      throw new UserError(`the worker ended ${quickEnds} times in a row: ${lastWords}`)
    working.root.tell(`the worker ended with ${code}: ${lastWords}; it is started again`)
    await working.root.sleep(restartMs, stop)
  }
}

/** What this verb reads of a worker's log; other lines and fields are none of its business. */
const LogLine = z.object({ event: z.string(), reason: z.string().optional(), error: z.unknown().optional() })

async function runOnce({ workerPath, modelFolder, deployment, credentials, root, stop }: Working) {
  const child = spawn(process.execPath, [workerPath], {
    env: { ...ordinaryEnvironment(), ...workerEnvironment({ modelFolder, deployment, credentials }) },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => {})
  let lastWords = ''
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = parseLine(text)
    if (line?.event === 'ready') root.tell('the worker is ready')
    if (line?.event === 'failed') lastWords = String(line.error)
    if (line?.event === 'released' && line.reason !== 'stopping' && line.reason !== undefined)
      root.tell(`a message was given back: ${line.reason}`)
  })
  child.stderr.on('data', (data: Buffer) => (lastWords = data.toString().trim() || lastWords))
  const askToEnd = () => child.kill('SIGTERM')
  stop.addEventListener('abort', askToEnd, { once: true })
  if (stop.aborted) askToEnd()
  const ended = Promise.withResolvers<number | string>()
  child.once('error', ended.reject)
  child.once('close', (code, signal) => ended.resolve(code ?? signal ?? 0))
  try {
    return { code: await ended.promise, lastWords }
  } finally {
    stop.removeEventListener('abort', askToEnd)
  }
}

function parseLine(text: string): z.infer<typeof LogLine> | undefined {
  try {
    return LogLine.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/** This process's environment without settings of ours and without whatever account the user has at AWS. */
function ordinaryEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('COGLABEL_') && !name.startsWith('AWS_')),
  )
}

function workerEnvironment({
  modelFolder,
  deployment,
  credentials,
}: Pick<Working, 'modelFolder' | 'deployment' | 'credentials'>): Record<string, string> {
  return {
    COGLABEL_BACKEND: 'aws',
    COGLABEL_MODEL: modelFolder,
    COGLABEL_QUEUE_URL: deployment.queueUrl,
    COGLABEL_LABELS_BUCKET: deployment.labelsBucket,
    COGLABEL_SOURCE_BUCKETS: deployment.imageBuckets.join(','),
    COGLABEL_S3_ENDPOINT: deployment.endpoints?.s3 ?? '',
    COGLABEL_SQS_ENDPOINT: deployment.endpoints?.sqs ?? '',
    COGLABEL_S3_PATH_STYLE: 'true',
    COGLABEL_PART_SECONDS: partSeconds,
    COGLABEL_STOP_SECONDS: '20',
    AWS_REGION: deployment.region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_EC2_METADATA_DISABLED: 'true',
  }
}
