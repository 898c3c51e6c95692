// What a run is: its source, model, tasks and sampling. Written once as config.json and never changed.
import { z } from 'zod'
import { PromptTemplate } from './model-manifest.ts'
import { Sampling } from './sampling.ts'
import { TaskName, TaskSpec } from './task-spec.ts'

export const runConfigVersion = 1
export const runConfigKey = 'config.json'

export const RunModel = z.strictObject({
  name: z.string().min(1),
  digest: z.string().min(1).describe('sha256 that identifies the compiled model'),
  weights: z.string().min(1).describe('number format of the weights, for example int8'),
  licence: z.string().describe('of the weights, as far as the checkpoint says'),
})
export type RunModel = z.infer<typeof RunModel>

/** Sampling of the whole run; each record gets its own seed, derived from `seed` and its recordId. */
export const RunSampling = Sampling
export type RunSampling = z.infer<typeof RunSampling>

export const RunSource = z.strictObject({
  kind: z.enum(['folder', 'image', 'manifest']),
  uri: z.string().min(1).describe('where the images are; a file: URI on this machine'),
})
export type RunSource = z.infer<typeof RunSource>

export const RunConfig = z.strictObject({
  v: z.literal(runConfigVersion),
  runId: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)
    .describe('derived from everything below but createdAt, so the same command gives the same run'),
  source: RunSource,
  model: RunModel,
  template: PromptTemplate,
  tasks: z.array(TaskSpec).max(256).describe('one record for each of these and each image'),
  itemTasks: z
    .array(TaskName)
    .optional()
    .describe("tasks that ask an image its manifest line's own questions or phrases, where it has some"),
  sampling: RunSampling,
  createdAt: z.iso.datetime(),
})
export type RunConfig = z.infer<typeof RunConfig>
