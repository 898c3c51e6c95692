// What a run is: its source, model, tasks and sampling. Written once as config.json and never changed.
import { z } from 'zod'
import { CheckSetting } from './check-setting.ts'
import { HealthSetting } from './health.ts'
import { InputRules } from './input-rules.ts'
import { PromptTemplate } from './model-manifest.ts'
import { Sampling } from './sampling.ts'
import { graphProblem } from './task-graph.ts'
import { TaskName, type TaskRole, TaskSpec } from './task-spec.ts'
import { BucketName, ObjectKey, RunId } from './work-message.ts'

export const runConfigVersion = 2
/** Read too: the same without buckets, standing runs, a second model, `claims` and `costCapUsd`. */
const olderRunConfigVersion = 1
export const runConfigKey = 'config.json'

export const RunModel = z.strictObject({
  name: z.string().min(1),
  digest: z.string().min(1).describe('sha256 that identifies the compiled model'),
  weights: z.string().min(1).describe('number format of the weights, for example int8'),
  licence: z.string().describe('of the weights, as far as the checkpoint says'),
  host: z
    .string()
    .min(1)
    .optional()
    .describe(
      'where images are sent, of a model that another server runs; its weights are known by name only',
    ),
})
export type RunModel = z.infer<typeof RunModel>

const SourceUri = z.string().min(1).describe('where the images are; a file: URI on this machine')

export const RunSource = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.enum(['folder', 'image', 'manifest']), uri: SourceUri }),
  z.strictObject({
    kind: z.literal('bucket').describe('images that are in a bucket already, whoever made it'),
    uri: SourceUri,
    bucket: BucketName,
    prefix: z.string().max(1024).describe('of the keys; empty for the whole bucket'),
  }),
  z.strictObject({
    kind: z
      .literal('list')
      .describe('images that a list in a bucket names: JSON lines, CSV or an S3 Inventory'),
    uri: SourceUri.describe('of the list'),
    bucket: BucketName,
    key: ObjectKey.describe('of the list'),
  }),
  z.strictObject({
    kind: z
      .literal('standing')
      .describe(
        'whatever image arrives in the bucket under incoming/<runId>/; other files there are passed over',
      ),
    uri: SourceUri,
    bucket: BucketName,
  }),
])
export type RunSource = z.infer<typeof RunSource>

export const ItemAsk = z.strictObject({
  isConstrained: z.boolean().describe('whether answers are held to the form of their task'),
  prefix: TaskSpec.shape.prefix.describe('before what tasks of the role grounding ask'),
  samples: TaskSpec.shape.samples,
  hasShortAnswers: z
    .literal(true)
    .optional()
    .describe('questions with short answers are put in the vqa template'),
})
export type ItemAsk = z.infer<typeof ItemAsk>

export const RunConfig = z
  .strictObject({
    v: z.literal([runConfigVersion, olderRunConfigVersion]),
    runId: RunId,
    source: RunSource,
    model: RunModel.describe('answers every task that names no other role'),
    grounding: RunModel.optional().describe(
      'answers the tasks of the role grounding; when left out, `model` does',
    ),
    template: PromptTemplate,
    groundingTemplate: PromptTemplate.optional().describe(
      "of the grounding model, for what images' own phrases ask it; `template` when left out",
    ),
    tasks: z.array(TaskSpec).max(256).describe('one record for each of these and each image'),
    itemTasks: z
      .array(TaskName)
      .optional()
      .describe("tasks that ask an image its manifest line's own questions or phrases, where it has some"),
    itemAsk: ItemAsk.optional().describe('how those are asked; runs of earlier builds say nothing of it'),
    sampling: Sampling.describe(
      'of the whole run; each record gets a seed of its own, made of this one and its id',
    ),
    input: InputRules.optional().describe('images that are not asked about'),
    checks: z
      .array(CheckSetting)
      .max(64)
      .optional()
      .describe('quality gates of every record, in this order; none when left out'),
    health: HealthSetting.optional().describe(
      'when what the checks find pauses a run of a place; limits of ours when left out',
    ),
    claims: z
      .enum(['on', 'off'])
      .optional()
      .describe(
        'on: workers claim an image before they label it, so that an event that comes twice is cheap',
      ),
    costCapUsd: z.number().positive().optional().describe('no more capacity is asked for beyond this spend'),
    createdAt: z.iso.datetime(),
  })
  .superRefine(({ tasks }, context) => {
    const problem = graphProblem(tasks)
    if (problem !== null) context.addIssue({ code: 'custom', message: problem, path: ['tasks'] })
  })
export type RunConfig = z.infer<typeof RunConfig>

/** The model that answers the tasks of a role. */
export function modelOfRole({ model, grounding }: RunConfig, role: TaskRole = 'chat'): RunModel {
  return role === 'grounding' ? (grounding ?? model) : model
}
