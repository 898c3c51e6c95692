// What the scaler knows from look to look: queue, runs and pools become the state that capacity is planned on, and a
// run that has spent its cap is paused. It does not know ECS, and changes no capacity itself.
import { readControl, controlRun } from './run-control.ts'
import { type CapacityPlan, type CapacityPolicy, type CapacityState, planCapacity } from './capacity.ts'
import { UserError } from '../schemas/errors.ts'
import { encodeEmf } from './emf.ts'
import { listRuns, type Place } from './place.ts'
import { readRun } from './run-folder.ts'
import { isAllSealed, openRunStatus, type RunStatus } from './run-status.ts'

export type PoolCounts = { desired: number; running: number }
export type Pools = { spot: PoolCounts; onDemand: PoolCounts }

export type ScalerOptions = {
  place: Place
  readPools: () => Promise<Pools>
  policy: CapacityPolicy
  /** A dimension of the metric, so that fleets do not add up; left out, there is but one. */
  fleet?: string | undefined
}

export type Scaler = { look(now: Date): Promise<CapacityPlan & { lines: string[] }> }

type Watched = { status: ReturnType<typeof openRunStatus>; costCapUsd: number | undefined }

/** What was seen before. A process that begins anew forgets it, and then waits a little longer with every decision. */
type Memory = {
  emptySinceMs: number | null
  backlogSinceMs: number | null
  pendingSinceMs: Record<keyof Pools, number | null>
  /** Null for a run that is done. */
  runs: Map<string, Watched | null>
}

/** A scaler that has seen nothing yet. */
export function openScaler({ place, readPools, policy, fleet }: ScalerOptions): Scaler {
  const memory: Memory = {
    emptySinceMs: null,
    backlogSinceMs: null,
    pendingSinceMs: { spot: null, onDemand: null },
    runs: new Map(),
  }
  return {
    async look(now) {
      const nowMs = now.getTime()
      const [queue, pools, runs] = await Promise.all([
        place.queue.stats(),
        readPools(),
        lookAtRuns(place, memory, now),
      ])
      const waiting = queue.visible + queue.delayed
      const isEmpty = waiting + queue.inFlight === 0
      memory.emptySinceMs = isEmpty ? (memory.emptySinceMs ?? nowMs) : null
      memory.backlogSinceMs = queue.visible === 0 ? null : (memory.backlogSinceMs ?? nowMs)
      const state: CapacityState = {
        waiting: waiting * runs.imagesPerMessage,
        held: queue.inFlight * runs.imagesPerMessage,
        // The service tells no age here. No message can wait longer than the queue has not been empty.
        oldestAgeMs: memory.backlogSinceMs === null ? null : nowMs - memory.backlogSinceMs,
        emptySinceMs: memory.emptySinceMs,
        spot: poolOf('spot', { pools, memory, nowMs }),
        onDemand: poolOf('onDemand', { pools, memory, nowMs }),
        restReason: runs.restReason,
      }
      const plan = planCapacity(state, nowMs, policy)
      return { ...plan, lines: [...writeMetrics(plan, { nowMs, fleet }), ...runs.unreadable] }
    },
  }
}

function poolOf(
  name: keyof Pools,
  { pools, memory, nowMs }: { pools: Pools; memory: Memory; nowMs: number },
): CapacityState['spot'] {
  const { desired, running } = pools[name]
  const pendingSinceMs = running < desired ? (memory.pendingSinceMs[name] ?? nowMs) : null
  memory.pendingSinceMs[name] = pendingSinceMs
  return { desired, running, pendingSinceMs }
}

type RunsLook = {
  imagesPerMessage: number
  restReason: CapacityState['restReason']
  /** A sentence for each run that cannot be read: it counts for nothing, and keeps nobody else's workers away. */
  unreadable: string[]
}

/** Runs with work left: how many images a message of theirs has, and whether any of them may be worked on. */
async function lookAtRuns(place: Place, memory: Memory, now: Date): Promise<RunsLook> {
  const standings: ('working' | 'paused' | 'capped')[] = []
  const planned = { images: 0, messages: 0 }
  const unreadable: string[] = []
  for await (const runId of listRuns(place)) {
    const store = place.runStoreOf(runId)
    const seen = await lookAtRun(place, memory, { runId, now }).catch((error: unknown) => {
      if (!(error instanceof UserError)) throw error
      unreadable.push(`run ${runId} is not counted: ${error.message}`)
      return null
    })
    if (seen === null) continue
    const { watched, state, found } = seen
    if (state === 'cancelled' || isAllSealed(found)) {
      memory.runs.set(runId, null)
      continue
    }
    planned.images += found.expected?.images ?? 0
    planned.messages += found.expected?.messages ?? 0
    const isOver = hasSpentCap(found, watched)
    // Workers give back what a paused run has in the queue, so that its messages wait for a decision of a person.
    if (isOver && state === 'running')
      await controlRun(store, { action: 'pause', cause: 'cost-cap', reason: capReason(found, watched), now })
    standings.push(isOver ? 'capped' : state === 'paused' ? 'paused' : 'working')
  }
  const rests = standings.length > 0 && !standings.includes('working')
  return {
    imagesPerMessage: planned.messages === 0 ? 1 : planned.images / planned.messages,
    restReason: !rests ? null : standings.includes('capped') ? 'cost-cap' : 'paused',
    unreadable,
  }
}

/** How a run stands; null for one that is done or not there yet. */
async function lookAtRun(place: Place, memory: Memory, { runId, now }: { runId: string; now: Date }) {
  const watched = await watch(place, memory, runId)
  if (watched === null) return null
  const { state } = await readControl(place.runStoreOf(runId))
  return { watched, state, found: await watched.status.look(now) }
}

async function watch(place: Place, { runs }: Memory, runId: string): Promise<Watched | null> {
  const known = runs.get(runId)
  if (known !== undefined) return known
  const config = await readRun(place.runStoreOf(runId))
  // Nothing is remembered of a run that is being written.
  if (config === null) return null
  const watched = { status: openRunStatus(place, config), costCapUsd: config.costCapUsd }
  runs.set(runId, watched)
  return watched
}

function hasSpentCap({ spend }: RunStatus, { costCapUsd }: Watched): boolean {
  return costCapUsd !== undefined && spend.usd !== null && spend.usd >= costCapUsd
}

function capReason({ spend }: RunStatus, { costCapUsd }: Watched): string {
  return `it has spent about ${spend.usd?.toFixed(2)} USD, and its cap is ${costCapUsd}`
}

/** One metric for each pool; the alarms that set capacity read them. */
function writeMetrics(
  { spot, onDemand, reason }: CapacityPlan,
  { nowMs, fleet }: { nowMs: number; fleet: string | undefined },
): string[] {
  const ofFleet = fleet === undefined ? {} : { fleet }
  return Object.entries({ spot, onDemand }).map(([pool, value]) =>
    encodeEmf({
      namespace: 'coglabel',
      timestampMs: nowMs,
      dimensions: { ...ofFleet, pool },
      dimensionSets: [[...Object.keys(ofFleet), 'pool']],
      metrics: [{ name: 'TasksNeeded', unit: 'Count', value }],
      properties: { reason },
    }),
  )
}
