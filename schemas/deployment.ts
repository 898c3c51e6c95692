// Where a deployment's pieces are: its queues, buckets and functions. One object, `_deployment.json` in the labels
// bucket, tells every verb. It does not know who deployed it.
import { z } from 'zod'
import { BucketName } from './work-message.ts'

export const deploymentVersion = 1

/** Key in the labels bucket, beside `runs/`. */
export const deploymentKey = '_deployment.json'

const FunctionName = z.string().min(1).max(200).describe('name or ARN')

export const Deployment = z.strictObject({
  v: z.literal(deploymentVersion),
  name: z.string().min(1).max(100).describe('what people call it, for messages'),
  region: z.string().min(1).max(40).describe('where the queues and buckets are'),
  queueUrl: z.url().describe('of the work queue'),
  deadLetterQueueUrl: z.url().describe('where messages go that were delivered too often'),
  labelsBucket: BucketName.describe('holds this object and runs/<run>/'),
  imageBuckets: z
    .array(BucketName)
    .min(1)
    .max(100)
    .describe('buckets that workers may read images from; uploads go to the first'),
  weightsBucket: BucketName.describe('holds weights/<digest>/'),
  functions: z
    .strictObject({
      planner: FunctionName.optional(),
      sealer: FunctionName.optional(),
      scaler: FunctionName.optional(),
      redriver: FunctionName.optional(),
      exporter: FunctionName.optional(),
    })
    .default({})
    .describe('those that are deployed'),
  workerHourUsd: z
    .number()
    .positive()
    .optional()
    .describe('what an hour of one worker costs, for estimates and for the cost cap of a run'),
  endpoints: z
    .strictObject({
      s3: z.url().optional(),
      sqs: z.url().optional(),
      pathStyle: z.boolean().default(false).describe('the bucket stands in the path, not in the host name'),
    })
    .optional()
    .describe('other servers that speak S3 and SQS; left out, those of AWS'),
})
export type Deployment = z.infer<typeof Deployment>
