// The scaler's environment, parsed. It opens nothing.
import { z } from 'zod'
import { type CapacityPolicy, defaultCapacityPolicy } from '../dataset/capacity.ts'
import type { EcsServices } from './ecs-services.ts'

const Count = z.coerce.number().int().nonnegative().max(1000)
const Environment = z.object({
  COGLABEL_FLEET: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe('sets its metric apart from those of others'),
  COGLABEL_CLUSTER: z.string().min(1),
  COGLABEL_SPOT_SERVICE: z.string().min(1),
  COGLABEL_ON_DEMAND_SERVICE: z.string().min(1).optional(),
  COGLABEL_IMAGES_PER_SECOND: z.coerce.number().positive().describe('of one worker, measured'),
  COGLABEL_OBJECTIVE_SECONDS: z.coerce.number().positive().optional().describe('from upload to label'),
  COGLABEL_MAX_SPOT: Count.default(defaultCapacityPolicy.maxSpot),
  COGLABEL_MAX_ON_DEMAND: Count.default(defaultCapacityPolicy.maxOnDemand),
})

/** Throws zod's error, which names every variable that is wrong. */
export function parseScalerSettings(
  environment: Readonly<Record<string, string | undefined>>,
): EcsServices & { fleet: string | undefined; policy: CapacityPolicy } {
  const values = Environment.parse(environment)
  const onDemand = values.COGLABEL_ON_DEMAND_SERVICE
  const objectiveSeconds = values.COGLABEL_OBJECTIVE_SECONDS
  return {
    fleet: values.COGLABEL_FLEET,
    cluster: values.COGLABEL_CLUSTER,
    spot: values.COGLABEL_SPOT_SERVICE,
    onDemand,
    policy: {
      ...defaultCapacityPolicy,
      imagesPerSecond: values.COGLABEL_IMAGES_PER_SECOND,
      ...(objectiveSeconds === undefined ? {} : { objectiveMs: objectiveSeconds * 1000 }),
      maxSpot: values.COGLABEL_MAX_SPOT,
      maxOnDemand: onDemand === undefined ? 0 : values.COGLABEL_MAX_ON_DEMAND,
    },
  }
}
