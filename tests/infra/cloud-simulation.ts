// A deployment over hours, second by second: images arrive, the project's own scaler looks each minute, the synthesized
// alarms and policies act on what it prints, instances boot, work, are taken away, and linger.
import { openPlace } from '../../dataset/place.ts'
import { openScaler } from '../../dataset/scale.ts'
import { parseScalerSettings } from '../../functions/scaler-settings.ts'
import { simulated } from '../helpers/scaling-simulation.ts'
import { tempFolder } from '../helpers/temp-folder.ts'
import { resolved, resourcesOf, type Synthesized } from './synthesized.ts'
import { type PoolScaling, scalingOf } from './synthesized-scaling.ts'

export type Weather = {
  /** Images by second. */
  arrivals: ReadonlyMap<number, number>
  /** Whether spot instances are to be had. */
  spotComes?: (atSeconds: number) => boolean
  /** Seconds at which all spot instances are taken away. */
  spotGoes?: readonly number[]
  /** Whether the scaler says nothing. */
  isSilent?: (atSeconds: number) => boolean
}

export type Outcome = {
  labelled: number
  gpuHours: number
  onDemandHours: number
  worstAgeMinutes: number
  /** What each pool was set to, in order. */
  changes: { atSeconds: number; pool: PoolName; to: number }[]
}

type PoolName = 'spot' | 'onDemand'
type Instance = { startedAt: number; workerFrom: number | null; idleSince: number | null }
type Pool = { name: PoolName; desired: number; instances: Instance[]; scaling: PoolScaling }

/** Images that a worker has received and not yet labelled, at most. */
const heldByWorker = 64
const longestSeconds = 48 * 3600

export async function simulateCloud(synthesized: Synthesized, weather: Weather): Promise<Outcome> {
  const { arrivals, isSilent = () => false, spotGoes = [] } = weather
  const pools = openPools(synthesized)
  const backlog: { at: number; images: number }[] = []
  const outcome: Outcome = { labelled: 0, gpuHours: 0, onDemandHours: 0, worstAgeMinutes: 0, changes: [] }
  const waitingNow = () => backlog.reduce((sum, { images }) => sum + images, 0)
  let now = 0
  const scaler = await openTestScaler(synthesized, {
    stats: () => {
      const workers = pools.reduce((sum, pool) => sum + workersOf(pool, now).length, 0)
      const inFlight = Math.min(waitingNow(), workers * heldByWorker)
      return { visible: waitingNow() - inFlight, inFlight, delayed: 0 }
    },
    pools: () => ({ spot: countsOf(pools[0]!, now), onDemand: countsOf(pools[1]!, now) }),
  })
  const lastArrival = Math.max(...arrivals.keys())
  const isOver = () =>
    now > lastArrival && backlog.length === 0 && pools.every(({ instances }) => instances.length === 0)
  for (; !isOver(); now += 1) {
    if (now > longestSeconds) throw new Error('the simulation does not end')
    const images = arrivals.get(now) ?? 0
    if (images > 0) backlog.push({ at: now, images })
    if (now > 0 && now % simulated.lookEverySeconds === 0 && !isSilent(now)) {
      const { lines } = await scaler.look(new Date(now * 1000))
      for (const line of lines) for (const { scaling } of pools) scaling.hear(line, now)
    }
    if (now % simulated.lookEverySeconds === simulated.actSeconds)
      for (const pool of pools) set(pool, { now, outcome })
    if (spotGoes.includes(now)) takeAway(pools[0]!, { now, outcome })
    for (const pool of pools) live(pool, { now, outcome, weather })
    const workers = pools.reduce((sum, pool) => sum + workersOf(pool, now).length, 0)
    label(backlog, { now, outcome, capacity: workers * simulated.imagesPerSecond })
  }
  return outcome
}

function openPools(synthesized: Synthesized): Pool[] {
  const names = [
    ['spot', 'ChatSpotService'],
    ['onDemand', 'ChatOnDemandService'],
  ] as const
  return names.map(([name, service]) => ({
    name,
    desired: 0,
    instances: [],
    scaling: scalingOf(synthesized, `Compute/${service}/`),
  }))
}

type World = Parameters<typeof openScaler>[0]['readPools'] extends () => Promise<infer Pools>
  ? { stats: () => { visible: number; inFlight: number; delayed: number }; pools: () => Pools }
  : never

/** The scaler as its function opens it, over a place whose queue and workers are the simulation's. */
async function openTestScaler(synthesized: Synthesized, { stats, pools }: World) {
  const [found] = resourcesOf(synthesized, 'AWS::Lambda::Function').filter(({ path }) =>
    path.startsWith('Pipeline/Scaler'),
  )
  const { Environment } = resolved(found!.resource.Properties) as {
    Environment: { Variables: Record<string, string> }
  }
  const { policy, fleet } = parseScalerSettings(Environment.Variables)
  const folder = await openPlace(await tempFolder())
  const place = { ...folder, queue: { ...folder.queue, stats: async () => stats() } }
  return openScaler({ place, readPools: async () => pools(), policy, fleet })
}

function countsOf(pool: Pool, now: number) {
  return { desired: pool.desired, running: workersOf(pool, now).length }
}

function workersOf({ instances }: Pool, now: number): Instance[] {
  return instances.filter(({ workerFrom }) => workerFrom !== null && workerFrom <= now)
}

function set(pool: Pool, { now, outcome }: { now: number; outcome: Outcome }): void {
  const to = pool.scaling.act(pool.desired, now)
  if (to === pool.desired) return
  pool.desired = to
  outcome.changes.push({ atSeconds: now, pool: pool.name, to })
}

function takeAway(pool: Pool, { now, outcome }: { now: number; outcome: Outcome }): void {
  for (const { startedAt } of pool.instances) outcome.gpuHours += (now - startedAt) / 3600
  pool.instances = []
}

/** Workers start on instances that linger, then on new ones; those too many end, and their instances after a while. */
function live(
  pool: Pool,
  { now, outcome, weather }: { now: number; outcome: Outcome; weather: Weather },
): void {
  const isGranted = pool.name === 'onDemand' || (weather.spotComes?.(now) ?? true)
  let missing = pool.desired - pool.instances.filter(({ workerFrom }) => workerFrom !== null).length
  for (const instance of pool.instances) {
    if (missing <= 0) break
    if (instance.workerFrom !== null) continue
    Object.assign(instance, { workerFrom: now + simulated.warmSeconds, idleSince: null })
    missing -= 1
  }
  for (; isGranted && missing > 0; missing -= 1)
    pool.instances.push({ startedAt: now, workerFrom: now + simulated.bootSeconds, idleSince: null })
  const placed = pool.instances.filter(({ workerFrom }) => workerFrom !== null)
  for (const instance of placed.slice(pool.desired))
    Object.assign(instance, { workerFrom: null, idleSince: now })
  const isOver = ({ idleSince }: Instance) => idleSince !== null && now - idleSince >= simulated.lingerSeconds
  for (const { startedAt } of pool.instances.filter(isOver)) {
    outcome.gpuHours += (now - startedAt) / 3600
    if (pool.name === 'onDemand') outcome.onDemandHours += (now - startedAt) / 3600
  }
  pool.instances = pool.instances.filter((instance) => !isOver(instance))
}

function label(
  backlog: { at: number; images: number }[],
  { now, capacity, outcome }: { now: number; capacity: number; outcome: Outcome },
): void {
  for (let left = capacity; left > 0;) {
    const [batch] = backlog
    if (batch === undefined) return
    const done = Math.min(left, batch.images)
    left -= done
    batch.images -= done
    outcome.labelled += done
    outcome.worstAgeMinutes = Math.max(outcome.worstAgeMinutes, (now - batch.at) / 60)
    if (batch.images === 0) backlog.shift()
  }
}
