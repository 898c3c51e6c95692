// A message that asks for labels: our own envelope. It does not know queues, nor the events that S3 sends instead.
import { z } from 'zod'
import { TaskOutput } from './task-output.ts'
import { maxStages } from './task-graph.ts'
import { TaskName, TaskRole } from './task-spec.ts'
import { type OwnFields, WorkItem } from './work-item.ts'

export const workMessageSchema = 'coglabel.work.v3'
/** Read too: v2 without an image's own questions, phrases and meta, and v1 besides without `role` and `upstream`. */
export const olderWorkMessageSchemas = ['coglabel.work.v2', 'coglabel.work.v1'] as const

/** One chunk of SQS billing, and room beside the service's own limit. */
export const maxWorkMessageBytes = 64 * 1024
export const maxImagesPerMessage = 25

/** Of one output that a message carries on to a later stage, as JSON. */
export const maxUpstreamChars = 8000
/** Of all outputs that one message carries on for an image, in whatever script they are. */
export const maxUpstreamBytes = 24_100

/**
 * Of an image's own questions, phrases and meta in a message. With the longest key, version and outputs of an earlier
 * stage they still fit, so an image that can be asked for can be sent on as well.
 */
export const maxOwnBytes = 20 * 1024

/** Keys of S3 end here; also those of every ObjectStore. */
const maxKeyBytes = 1024

export const RunId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)
  .describe(
    'chosen, or derived from the source, models, tasks and sampling, so the same command gives the same run',
  )

export const BucketName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,253}[A-Za-z0-9]$/)
  .describe('name of a bucket, or of a folder that stands for one; never a path')

export const ObjectKey = z
  .string()
  .min(1)
  .refine((key) => key.isWellFormed(), 'a key is well-formed Unicode')
  .refine((key) => utf8Bytes(key) <= maxKeyBytes, `a key has at most ${maxKeyBytes} bytes of UTF-8`)
  .describe('the object, decoded')

/** Outputs that one message carries on for an image, by number: their bytes have a limit besides. */
export const maxUpstreamOutputs = 64

/**
 * The outputs themselves travel, not the name of the part that holds them: a worker then needs no right to read
 * parts, and nothing has to be sealed or found again before the next stage can begin.
 */
export const Upstream = z
  .record(TaskName, TaskOutput)
  .refine(
    (outputs) => Object.keys(outputs).length <= maxUpstreamOutputs,
    `at most ${maxUpstreamOutputs} outputs`,
  )
  .refine(
    (outputs) => Object.values(outputs).every((output) => JSON.stringify(output).length <= maxUpstreamChars),
    `an output has at most ${maxUpstreamChars} characters of JSON`,
  )
  .describe('by task: what an earlier stage said of this image')
export type Upstream = z.infer<typeof Upstream>

const AnyWorkImage = z.strictObject({
  bucket: BucketName,
  key: ObjectKey,
  versionId: z.string().min(1).max(1024).optional().describe('of the object, in buckets that have versions'),
  etag: z.string().min(1).max(256).optional().describe("the service's own name for the object's content"),
  sizeBytes: z.int().nonnegative().optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional()
    .describe('of the bytes, when whoever asked has read them'),
  upstream: Upstream.optional(),
  questions: WorkItem.shape.questions,
  phrases: WorkItem.shape.phrases,
  meta: WorkItem.shape.meta,
})
export const WorkImage = AnyWorkImage.refine((image) => ownBytes(image) <= maxOwnBytes, {
  message: `questions, phrases and meta have at most ${maxOwnBytes} bytes together`,
})
export type WorkImage = z.infer<typeof WorkImage>

export const WorkMessage = z.strictObject({
  schema: z.enum([workMessageSchema, ...olderWorkMessageSchemas]),
  runId: RunId,
  items: z.array(WorkImage).min(1).max(maxImagesPerMessage),
  tasks: z
    .array(TaskName)
    .min(1)
    .max(64)
    .optional()
    .describe("only these of the run's tasks; all of them when left out"),
  role: TaskRole.optional().describe(
    'only the tasks of this role: sent by whoever committed what they come after',
  ),
  stage: z
    .int()
    .min(2)
    .max(maxStages)
    .optional()
    .describe(
      'of a role, how often an image has changed models before; 1, or 0 of the role chat, when left out',
    ),
  planShard: z.string().min(1).max(200).optional().describe('the piece of the plan that sent it'),
})
export type WorkMessage = z.infer<typeof WorkMessage>

/** How often an image has changed models when this message asks for it. */
export function stageOfMessage({ role = 'chat', stage }: Pick<WorkMessage, 'role' | 'stage'>): number {
  return stage ?? (role === 'chat' ? 0 : 1)
}

/** What an image's own fields take up in a message. */
export function ownBytes({ questions, phrases, meta }: OwnFields): number {
  return utf8Bytes(messageText({ questions, phrases, meta }))
}

/** JSON without the two characters that queues refuse and JSON does not escape. */
export function messageText(value: object): string {
  return JSON.stringify(value).replaceAll(/[\ufffe\uffff]/g, (character) =>
    character === '\ufffe' ? String.raw`\ufffe` : String.raw`\uffff`,
  )
}

/** UTF-8 length of well-formed text, without what a browser or Node would have to lend. */
export function utf8Bytes(text: string): number {
  let bytes = 0
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0
    bytes += codePoint < 0x80 ? 1 : codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4
  }
  return bytes
}
