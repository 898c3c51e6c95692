// What `coglabel dev` says: how to begin, what arrives, what is sealed, where the labels are. Pure text but for the
// times of arrivals, which it remembers.
import { join, relative } from 'node:path'
import { uploadSkipReason } from '../../dataset/events.ts'
import { labelsViewName, type LabelsView } from '../../dataset/labels-view.ts'
import type { Answered } from '../../emulator/emulator.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { formatDuration } from '../progress.ts'
import { counted, printable, shellPath } from '../words.ts'

export type Greeting = {
  images: string
  out: string
  model: string
  endpoint: string
  region: string
  credentials: { accessKeyId: string; secretAccessKey: string }
  bucket: string
  prefix: string
  runId: string
  labelsBucket: string
}

/** How to use it, ready to be copied into another terminal. */
export function greeting(about: Greeting): string {
  const { images, out, model, endpoint, region, credentials, bucket, prefix, runId, labelsBucket } = about
  const { accessKeyId, secretAccessKey } = credentials
  return `a cloud on this machine: S3 and SQS at ${endpoint}, a worker with ${model}, the sealer

copy images into
  ${shellPath(nearPath(images))}
or put them with any S3 client
  export AWS_ENDPOINT_URL=${endpoint} AWS_REGION=${region} AWS_DEFAULT_REGION=${region}
  export AWS_ACCESS_KEY_ID=${accessKeyId} AWS_SECRET_ACCESS_KEY=${secretAccessKey}
  aws s3 cp photo.jpg s3://${bucket}/${prefix}
  curl -T photo.jpg ${endpoint}/${bucket}/${prefix}photo.jpg --aws-sigv4 aws:amz:${region}:s3 \\
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
labels
  ${shellPath(nearPath(join(out, labelsViewName)))}
how it stands
  npx coglabel status ${runId} --place s3://${labelsBucket} --aws-endpoint ${endpoint}

Ctrl-C ends it; buckets and queues are gone then, the labels stay
`
}

export type Reporter = {
  /** A line about a request, or null when it brought nothing. */
  arrived(answered: Answered): string | null
  /** A line for each image of these records. */
  sealed(records: readonly LabelRecord[]): string[]
  /** A line about a run that its breaker has paused; `again` names it for whoever goes on with it. */
  paused(reason: string, again: string): string
  /** Images that have arrived and have no labels yet. */
  waiting(): number
}

/** Follows images from their arrival to their labels. */
export function startReport({
  bucket,
  prefix,
  clock,
}: Pick<Greeting, 'bucket' | 'prefix'> & { clock: () => Date }): Reporter {
  const arrivedAtMs = new Map<string, number>()
  const labelled = new Set<string>()
  const line = (key: string, text: string) =>
    `${clock().toTimeString().slice(0, 8)}  ${printable(key.startsWith(prefix) ? key.slice(prefix.length) : key)}  ${text}`
  return {
    arrived({ operation, name, key, status }) {
      const isUpload = operation === 'PutObject' || operation === 'CompleteMultipartUpload'
      if (!isUpload || name !== bucket || status !== 200) return null
      if (!key.startsWith(prefix)) return line(key, `is not below ${prefix}: this run does not label it`)
      const reason = uploadSkipReason(key.slice(prefix.length))
      if (reason !== null) return line(key, `is passed over: ${reason}`)
      arrivedAtMs.set(key, clock().getTime())
      return line(key, 'arrived')
    },
    paused: (reason, again) =>
      `${clock().toTimeString().slice(0, 8)}  paused: ${reason}; what arrives waits in the queue\n  npx coglabel resume ${again}`,
    // What comes again has its labels, and may get no others.
    waiting: () => [...arrivedAtMs.keys()].filter((key) => !labelled.has(key)).length,
    sealed(records) {
      return [...Map.groupBy(records, ({ source }) => source.key)].map(([key, own]) => {
        const sinceMs = clock().getTime() - (arrivedAtMs.get(key) ?? clock().getTime())
        arrivedAtMs.delete(key)
        labelled.add(key)
        return line(key, `${describeRecords(own)}, sealed after ${formatDuration(sinceMs)}`)
      })
    },
  }
}

function describeRecords(records: readonly LabelRecord[]): string {
  const error = records.find((record) => record.error !== null)?.error
  const said = records.find(({ status }) => status === 'ok')?.raw
  const text = error ? `failed: ${error.code}: ${printable(error.message)}` : `"${printable(said ?? '')}"`
  return `${text}  ${counted(records.length, 'record')}`
}

export function renderEnd({
  view,
  waiting,
  out,
}: {
  view: LabelsView
  waiting: number
  out: string
}): string {
  const failed = Object.values(view.byErrorCode).reduce((sum, count) => sum + count, 0)
  return [
    ...(waiting === 0
      ? []
      : [`${counted(waiting, 'image')} had arrived and ${waiting === 1 ? 'has' : 'have'} no labels`]),
    `labels: ${shellPath(nearPath(join(out, labelsViewName)))} (${counted(view.records, 'line')}, ${counted(view.images, 'image')}${failed === 0 ? '' : `, ${failed} failed`})`,
  ].join('\n')
}

/** A path as it would be typed from here. */
function nearPath(path: string): string {
  const near = relative(process.cwd(), path)
  return near.startsWith('..') || near === '' ? path : near
}
