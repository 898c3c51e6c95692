// What every function shares: its place from the environment, its event, and the time it has. Opened once a process.
import { z } from 'zod'
import { openPlace, type Place } from '../dataset/place.ts'
import { RunId } from '../schemas/work-message.ts'

const Environment = z.object({
  COGLABEL_PLACE: z.string().min(1).describe('s3://bucket with the labels of the deployment'),
  COGLABEL_QUEUE_URL: z.url().optional().describe('of its fleet; left out, that of the deployment'),
  COGLABEL_DEAD_LETTER_QUEUE_URL: z
    .url()
    .optional()
    .describe('of its fleet; left out, that of the deployment'),
  COGLABEL_AWS_ENDPOINT: z.url().optional().describe('another server that speaks S3 and SQS'),
  AWS_REGION: z.string().min(1).optional(),
})

/** A schedule sends whatever it likes; ours may name runs. */
export const RunsEvent = z.object({ runIds: z.array(RunId).max(1000).optional() }).catch({})

/** As much of Lambda's context as is used. */
export type FunctionContext = { getRemainingTimeInMillis(): number }

/** Kept for the end: a page or a generation that is under way is finished. */
const marginMs = 60_000

let opened: Promise<Place> | undefined

/** The place of this process. A failure is not kept, so that the next call tries again. */
export async function functionPlace(): Promise<Place> {
  opened ??= openFromEnvironment()
  return await opened.catch((error: unknown) => {
    opened = undefined
    throw error
  })
}

async function openFromEnvironment(): Promise<Place> {
  const values = Environment.parse(process.env)
  return await openPlace(values.COGLABEL_PLACE, {
    endpoint: values.COGLABEL_AWS_ENDPOINT,
    region: values.AWS_REGION,
    queueUrl: values.COGLABEL_QUEUE_URL,
    deadLetterQueueUrl: values.COGLABEL_DEAD_LETTER_QUEUE_URL,
  })
}

/** Fires a margin before the function's time is up. */
export function untilTimeIsShort(context: FunctionContext | undefined): AbortSignal {
  const leftMs = context?.getRemainingTimeInMillis() ?? Infinity
  return Number.isFinite(leftMs)
    ? AbortSignal.timeout(Math.max(1000, leftMs - marginMs))
    : new AbortController().signal
}
