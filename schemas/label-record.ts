// One label: what a task said about an image, with everything needed to trust, repeat or export it.
import { z } from 'zod'
import { Failure } from './failure.ts'
import { PromptTemplate } from './model-manifest.ts'
import { RunModel } from './run-config.ts'
import { Sampling } from './sampling.ts'
import { TaskOutput } from './task-output.ts'
import { TaskName } from './task-spec.ts'

export const labelRecordVersion = 1

export const RecordId = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .describe('first 128 bits of sha256 over run, spec, image content, key, task and ordinal')

export const RecordStatus = z
  .enum(['ok', 'filtered', 'failed'])
  .describe('filtered: the label exists but a check turned it down; failed: there is no label')
export type RecordStatus = z.infer<typeof RecordStatus>

/** Within one recordId the row of the highest rank is the label. */
export const statusRank: Readonly<Record<RecordStatus, number>> = { failed: 0, filtered: 1, ok: 2 }

const Milliseconds = z.number().nonnegative()

export const RecordSource = z.strictObject({
  uri: z.string().min(1).describe('where the bytes are'),
  key: z.string().min(1).describe('path below the source, with forward slashes'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable()
    .describe('of the bytes; null when they were never read'),
  unread: z
    .literal(true)
    .optional()
    .describe('the bytes were never read: the recordId follows from the URI and the version, ETag or size'),
  bytes: z.int().nonnegative().nullable().describe('size of the file; null when even that is unknown'),
  mime: z
    .string()
    .nullable()
    .describe('of what the bytes are, whatever the name says; null when undecodable'),
  versionId: z.string().optional().describe('of the object, in stores that have versions'),
  perceptualHash: z.string().optional().describe('hex; near-duplicates differ in few bits'),
})
export type RecordSource = z.infer<typeof RecordSource>

export const RecordImage = z.strictObject({
  width: z.int().positive().describe('pixels, upright'),
  height: z.int().positive().describe('pixels, upright'),
  storedWidth: z.int().positive().describe('pixels, before EXIF orientation'),
  storedHeight: z.int().positive().describe('pixels, before EXIF orientation'),
  orientation: z.int().min(1).max(8).describe('EXIF orientation that was applied; 1 is none'),
})
export type RecordImage = z.infer<typeof RecordImage>

export const RecordUsage = z.strictObject({
  promptTokens: z.int().nonnegative().describe('of all prompts of the record'),
  imageTokens: z.int().nonnegative().describe('rows that the image takes; shared by all prompts'),
  outputTokens: z.int().nonnegative().describe('of all answers of the record'),
})
export type RecordUsage = z.infer<typeof RecordUsage>

export const RecordCheck = z.strictObject({
  name: z.string().min(1),
  pass: z.boolean(),
  score: z.number().nullable().describe('what the gate measured, in its own unit'),
  evidence: z.string().describe('what it saw, for a person'),
})
export type RecordCheck = z.infer<typeof RecordCheck>

export const RecordTiming = z.strictObject({
  fetchMs: Milliseconds.describe('reading the bytes; of the image, shared by its records'),
  decodeMs: Milliseconds.describe('decoding and resizing; of the image, shared by its records'),
  prefillMs: Milliseconds.describe('running the image through the model; shared by its records'),
  generateMs: Milliseconds.describe('answering all prompts of the image together; shared by its records'),
})
export type RecordTiming = z.infer<typeof RecordTiming>

export const LabelRecord = z
  .strictObject({
    v: z.literal(labelRecordVersion),
    recordId: RecordId,
    runId: z.string().min(1),
    specHash: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .describe(
        'of the task with its prompts, the model, the sampling and the record version; differs for each task',
      ),
    task: TaskName,
    taskVersion: z.int().positive(),
    ordinal: z.int().nonnegative().describe('tells apart several records of one image and task'),
    attempt: z.int().positive().describe('how often the image was delivered; 1 is the first time'),
    source: RecordSource,
    image: RecordImage.nullable().describe('null when the image could not be decoded'),
    status: RecordStatus,
    output: TaskOutput.nullable().describe(
      'null when the record failed, and when the image was turned down before anything was asked',
    ),
    raw: z
      .string()
      .nullable()
      .describe(
        'what the model said, untouched; answers to several prompts joined by a line feed; null when it was never asked',
      ),
    repairs: z.array(z.string()).optional().describe('what had to be mended in the answer before it parsed'),
    samples: z
      .array(z.string())
      .optional()
      .describe('other answers to the same prompt, when several were drawn'),
    inputs: z.record(z.string(), z.json()).optional().describe('what the prompt took from elsewhere'),
    finishReason: z
      .enum(['stop', 'length'])
      .nullable()
      .describe('length: at least one answer hit its limit; null when the model never answered'),
    usage: RecordUsage,
    model: RunModel.extend({
      engine: z.string().describe('runtime and kernel class, for example onnxruntime-node/cpu/int8'),
      engineVersion: z.string(),
    }),
    prompt: z.strictObject({
      template: PromptTemplate,
      text: z
        .string()
        .describe(
          'as the model saw it; several joined by a line feed; the bare questions when it was never asked',
        ),
    }),
    sampling: Sampling,
    checks: z.array(RecordCheck),
    duplicateOf: z.string().optional().describe('key of the image this one repeats'),
    meta: z
      .record(z.string(), z.json())
      .optional()
      .describe("the source's own fields for the image, untouched"),
    error: Failure.nullable().describe('why there is no label; null unless failed'),
    timing: RecordTiming,
    createdAt: z.iso.datetime(),
  })
  .refine(
    ({ status, output }) => (status === 'filtered' ? true : (status === 'failed') === (output === null)),
    'a record has an output unless it failed or its image was turned down',
  )
  .refine(
    (record) => (record.status === 'failed') === (record.error !== null),
    'a record has an error exactly when it failed',
  )
export type LabelRecord = z.infer<typeof LabelRecord>
