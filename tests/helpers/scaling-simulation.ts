// A small discrete-event simulation of workers on instances: a controller looks once a minute, what it decides acts
// later, instances boot, and linger when their worker ends. One pool; time moves in seconds.
export type Decide = (look: {
  nowMs: number
  waiting: number
  held: number
  oldestAgeMs: number | null
  desired: number
  running: number
}) => number

export type Simulated = { gpuHours: number; worstAgeMinutes: number; labelled: number; changes: number }

export const simulated = {
  imagesPerSecond: 4,
  bootSeconds: 330,
  /** A worker on an instance that runs already. */
  warmSeconds: 30,
  lookEverySeconds: 60,
  actSeconds: 45,
  /** An instance without a worker ends then; the service's own alarm is that slow. */
  lingerSeconds: 900,
  maxInstances: 16,
}

type Instance = { startedAt: number; workerFrom: number | null; idleSince: number | null }

/** Runs until all arrivals (second -> images) are labelled and every instance has ended. */
export function simulate(
  arrivals: ReadonlyMap<number, number>,
  decide: Decide,
  { grants = () => true }: { grants?: (atSeconds: number) => boolean } = {},
): Simulated {
  const instances: Instance[] = []
  const waiting: { at: number; images: number }[] = []
  const decisions: { at: number; desired: number }[] = []
  const result: Simulated = { gpuHours: 0, worstAgeMinutes: 0, labelled: 0, changes: 0 }
  const lastArrival = Math.max(...arrivals.keys())
  let desired = 0
  const isReady = ({ workerFrom }: Instance, at: number) => workerFrom !== null && workerFrom <= at
  for (let at = 0; at <= lastArrival || waiting.length > 0 || instances.length > 0; at += 1) {
    if (at > 48 * 3600) throw new Error('the simulation does not end')
    const images = arrivals.get(at) ?? 0
    if (images > 0) waiting.push({ at, images })
    const backlog = waiting.reduce((sum, batch) => sum + batch.images, 0)
    if (at > 0 && at % simulated.lookEverySeconds === 0) {
      const running = instances.filter((instance) => isReady(instance, at)).length
      const oldest = waiting[0]
      const oldestAgeMs = oldest === undefined ? null : (at - oldest.at) * 1000
      const look = { nowMs: at * 1000, waiting: backlog, held: 0, oldestAgeMs, desired, running }
      decisions.push({ at: at + simulated.actSeconds, desired: decide(look) })
    }
    while ((decisions[0]?.at ?? Infinity) <= at) {
      const next = Math.min(simulated.maxInstances, decisions.shift()!.desired)
      if (next !== desired) result.changes += 1
      desired = next
    }
    if (grants(at)) place(instances, { desired, at })
    stopExcess(instances, { desired, at })
    work(waiting, {
      at,
      result,
      capacity: instances.filter((one) => isReady(one, at)).length * simulated.imagesPerSecond,
    })
    for (const instance of instances.filter(
      ({ idleSince }) => idleSince !== null && at - idleSince >= simulated.lingerSeconds,
    )) {
      instances.splice(instances.indexOf(instance), 1)
      result.gpuHours += (at - instance.startedAt) / 3600
    }
  }
  return result
}

/** Workers start on instances that linger, then on new ones. */
function place(instances: Instance[], { desired, at }: { desired: number; at: number }): void {
  let missing = desired - instances.filter(({ workerFrom }) => workerFrom !== null).length
  for (const instance of instances) {
    if (missing <= 0) return
    if (instance.workerFrom !== null) continue
    Object.assign(instance, { workerFrom: at + simulated.warmSeconds, idleSince: null })
    missing -= 1
  }
  for (; missing > 0; missing -= 1)
    instances.push({ startedAt: at, workerFrom: at + simulated.bootSeconds, idleSince: null })
}

function stopExcess(instances: readonly Instance[], { desired, at }: { desired: number; at: number }): void {
  const working = instances.filter(({ workerFrom }) => workerFrom !== null)
  for (const instance of working.slice(desired)) Object.assign(instance, { workerFrom: null, idleSince: at })
}

function work(
  waiting: { at: number; images: number }[],
  { at, capacity, result }: { at: number; capacity: number; result: Simulated },
): void {
  for (let left = capacity; left > 0;) {
    const [batch] = waiting
    if (batch === undefined) return
    const done = Math.min(left, batch.images)
    left -= done
    batch.images -= done
    result.labelled += done
    result.worstAgeMinutes = Math.max(result.worstAgeMinutes, (at - batch.at) / 60)
    if (batch.images === 0) waiting.shift()
  }
}

export const loads: Readonly<Record<string, ReadonlyMap<number, number>>> = {
  '100k at once': new Map([[1, 100_000]]),
  '1 a second for 2 h': new Map(Array.from({ length: 7200 }, (_, second) => [second + 1, 1])),
  'a single image': new Map([[1, 1]]),
  '20k each 30 min, four times': new Map([0, 1, 2, 3].map((n) => [n * 1800 + 1, 20_000])),
}
