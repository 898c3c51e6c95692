// What a deployment has, made at once: buckets, a queue with dead letters, and a bucket's events on their way to it.
// It does not know who uses them.
import type { Clock } from '../dataset/queues/clock.ts'
import { testEvent } from './s3-events.ts'
import { findBucket, newBucket, type S3State } from './s3-state.ts'
import { accountId, type SqsState } from './sqs.ts'
import { addMessage, newQueue } from './sqs-queue.ts'

export type Deployment = {
  buckets: readonly string[]
  queue: string
  deadLetters: string
  /** Deliveries before a message goes to the dead letters. */
  maxReceives: number
  /** Whose new objects below `prefix` become messages of the queue. */
  events?: { bucket: string; prefix: string }
}

export type ProvisionedQueues = { queueUrl: string; deadLettersUrl: string }

type Place = { s3: { state: S3State }; sqs: SqsState; clock: Clock; endpoint: string }

/** Throws AwsError when the events are of a bucket that is not there. */
export function provision({ s3, sqs, clock, endpoint }: Place, wanted: Deployment): ProvisionedQueues {
  const nowMs = clock.nowMs()
  const arnOf = (name: string) => `arn:aws:sqs:${sqs.region}:${accountId}:${name}`
  const addQueue = (name: string, attributes: Record<string, string>) => {
    const queue = newQueue({ name, arn: arnOf(name), attributes, nowMs })
    sqs.queues.set(name, queue)
    return queue
  }
  for (const name of wanted.buckets) s3.state.buckets.set(name, newBucket(name, nowMs))
  addQueue(wanted.deadLetters, {})
  const queue = addQueue(wanted.queue, {
    RedrivePolicy: JSON.stringify({
      deadLetterTargetArn: arnOf(wanted.deadLetters),
      maxReceiveCount: wanted.maxReceives,
    }),
  })
  if (wanted.events !== undefined) {
    const { bucket: name, prefix } = wanted.events
    const bucket = findBucket(s3.state, name)
    bucket.rules = [
      { id: 'uploads', queueArn: queue.arn, events: ['s3:ObjectCreated:*'], prefix, suffix: '' },
    ]
    // S3 sends one whenever a rule is made.
    addMessage(queue, { body: testEvent(bucket, nowMs), delaySeconds: 0, nowMs })
  }
  const urlOf = (name: string) => `${endpoint}/${accountId}/${name}`
  return { queueUrl: urlOf(wanted.queue), deadLettersUrl: urlOf(wanted.deadLetters) }
}
