// Lambda root, once a minute: prints how many workers each pool needs, as a metric that alarms set capacity by.
import type { CapacityPlan } from '../dataset/capacity.ts'
import { openScaler, type Scaler } from '../dataset/scale.ts'
import { openEcsServices } from './ecs-services.ts'
import { parseScalerSettings } from './scaler-settings.ts'
import { functionPlace } from './settings.ts'

let opened: Scaler | undefined

/** Returns the plan that it prints. Throws what reading the queue, the runs or ECS throws: capacity then stays. */
export async function handler(): Promise<CapacityPlan> {
  opened ??= await open()
  const { lines, ...plan } = await opened.look(new Date())
  for (const line of lines) console.log(line)
  return plan
}

async function open(): Promise<Scaler> {
  const { policy, fleet, ...services } = parseScalerSettings(process.env)
  return openScaler({ place: await functionPlace(), readPools: openEcsServices(services), policy, fleet })
}
