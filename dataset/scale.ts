// What the scaler knows from look to look: queue, runs and pools become the state that capacity is planned on, and a
// run that has spent its cap is paused. It does not know ECS, and changes no capacity itself.
import { wasAskedAgain } from './asked-again.ts'
import { readControl, controlRun } from './run-control.ts'
import { type CapacityPlan, type CapacityPolicy, type CapacityState, planCapacity } from './capacity.ts'
import { UserError } from '../schemas/errors.ts'
import { encodeEmf } from './emf.ts'
import { mapInParallel } from './in-parallel.ts'
import { listRuns, type Place } from './place.ts'
import type { QueueStats } from './queues/work-queue.ts'
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
  runs: Map<string, Watched>
  /** Runs that are done, with how often they had been asked for again by then; infinity for those that are cancelled. */
  done: Map<string, number>
  /** How far all runs with work were at the last look, and how long workers have been there without getting any further. */
  progress: { mark: string; workedMs: number; atMs: number; hadWorkers: boolean }
}

/** Runs that are asked about at once whether they were asked for again. */
const runsAskedAtOnce = 16

/**
 * When no run is any further after so long, none has anything in the queue: what they lack is among the dead letters or
 * lost. Longer than a message stays away (an hour, that of a run which was paused), and than it takes workers to give
 * back a million messages of paused runs.
 */
const stalledMs = 4 * 60 * 60_000

/** A scaler that has seen nothing yet. */
export function openScaler({ place, readPools, policy, fleet }: ScalerOptions): Scaler {
  const memory: Memory = {
    emptySinceMs: null,
    backlogSinceMs: null,
    pendingSinceMs: { spot: null, onDemand: null },
    runs: new Map(),
    done: new Map(),
    progress: { mark: '', workedMs: 0, atMs: 0, hadWorkers: false },
  }
  return {
    async look(now) {
      const nowMs = now.getTime()
      const [queue, pools] = await Promise.all([place.queue.stats(), readPools()])
      const hasWorkers = pools.spot.running + pools.onDemand.running > 0
      const runs = await lookAtRuns(place, memory, { now, hasMessages: countAll(queue) > 0, hasWorkers })
      const isEmpty = countAll(queue) === 0
      memory.emptySinceMs = isEmpty ? (memory.emptySinceMs ?? nowMs) : null
      memory.backlogSinceMs = queue.visible === 0 ? null : (memory.backlogSinceMs ?? nowMs)
      const state: CapacityState = {
        ...imagesIn(queue, runs),
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

function countAll({ visible, delayed, inFlight }: QueueStats): number {
  return visible + delayed + inFlight
}

/** Images of all messages: of those that wait and of those that workers hold. */
function imagesIn(queue: QueueStats, runs: RunsLook): Pick<CapacityState, 'waiting' | 'held'> {
  // A bucket tells of uploads as well, in a message for each: with those no more is asked for than what plans lack.
  const perMessage = Math.min(runs.imagesPerMessage, 1 + runs.imagesLeft / Math.max(1, countAll(queue)))
  const held = Math.min(queue.inFlight * perMessage, runs.mostImages)
  return { held, waiting: Math.min((queue.visible + queue.delayed) * perMessage, runs.mostImages - held) }
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
  /** Of a plan's messages. */
  imagesPerMessage: number
  /** Of all plans: without their records. */
  imagesLeft: number
  /** As many may be worked on, whatever is in the queue: messages of paused runs are there too. */
  mostImages: number
  restReason: CapacityState['restReason']
  /** A sentence for each run that cannot be read: it counts for nothing, and keeps nobody else's workers away. */
  unreadable: string[]
}

type Standing = { is: 'working' | 'paused' | 'capped'; found: RunStatus }

/** Runs with work left: how many images a message of theirs has, and whether any of them may be worked on. */
async function lookAtRuns(
  place: Place,
  memory: Memory,
  { now, hasMessages, hasWorkers }: { now: Date; hasMessages: boolean; hasWorkers: boolean },
): Promise<RunsLook> {
  const standings: Standing[] = []
  const unreadable: string[] = []
  const look = async (runId: string) => {
    try {
      const standing = await lookAtRun(place, memory, { runId, now })
      if (standing !== null) standings.push(standing)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      unreadable.push(`run ${runId} is not counted: ${error.message}`)
    }
  }
  for await (const runId of listRuns(place)) if (!memory.done.has(runId)) await look(runId)
  // Among the messages of paused runs there may be some of a run that was done and is asked for again.
  if (standings.some(isHeldBack) && hasMessages)
    for (const runId of await findAskedAgain(place, memory)) await look(runId)
  const isStalled = noteProgress(memory, standings, { nowMs: now.getTime(), hasWorkers })
  return { ...sumRuns(standings, isStalled), unreadable }
}

/** Whether workers have been there for long and no run with work is any further, nor is there anything new to do. */
function noteProgress(
  memory: Memory,
  standings: readonly Standing[],
  { nowMs, hasWorkers }: { nowMs: number; hasWorkers: boolean },
): boolean {
  const { progress } = memory
  // Parts are labels, the same ones made again too; the rest is planning, reconciling, redriving, and a person's word.
  const marks = standings.map(({ is, found }) => {
    const { runId, parts, expected, askedAgain, deadLetters } = found
    return is === 'working' ? [runId, parts, expected, askedAgain, deadLetters] : [runId, is]
  })
  const mark = JSON.stringify(marks)
  // Without workers nothing can go on, and what was stalled before is stalled still.
  const passedMs = hasWorkers && progress.hadWorkers ? nowMs - progress.atMs : 0
  const workedMs = mark === progress.mark ? progress.workedMs + passedMs : 0
  memory.progress = { mark, workedMs, atMs: nowMs, hadWorkers: hasWorkers }
  return workedMs >= stalledMs
}

/** Of the runs that were done: those that were reconciled since, and had something to ask for. */
async function findAskedAgain(place: Place, { done }: Memory): Promise<string[]> {
  const found = await mapInParallel([...done], { max: runsAskedAtOnce }, async ([runId, times]) => {
    const isOver = times === Infinity || !(await wasAskedAgain(place.runStoreOf(runId), times))
    return isOver ? [] : [runId]
  })
  return found.flat()
}

function sumRuns(standings: readonly Standing[], isStalled: boolean): Omit<RunsLook, 'unreadable'> {
  const sum = (of: readonly Standing[], count: (found: RunStatus) => number) =>
    of.reduce((total, { found }) => total + count(found), 0)
  const working = standings.filter(({ is }) => is === 'working')
  const messages = sum(standings, ({ expected }) => expected?.messages ?? 0)
  // Beside messages that wait for a person: else the queue says how much there is to do, and that there is nothing.
  const isKnown = standings.some(isHeldBack) && working.every(({ found }) => hasWholePlan(found))
  return {
    imagesPerMessage: messages === 0 ? 1 : sum(standings, ({ expected }) => expected?.images ?? 0) / messages,
    imagesLeft: sum(standings, imagesLeft),
    mostImages: isKnown ? sum(working, imagesLeft) : Infinity,
    restReason: isKnown ? restReasonOf(standings, isStalled) : null,
  }
}

function restReasonOf(standings: readonly Standing[], isStalled: boolean): CapacityState['restReason'] {
  const has = (kind: Standing['is']) => standings.some(({ is }) => is === kind)
  if (has('working')) return isStalled ? 'stalled' : null
  return has('capped') ? 'cost-cap' : 'paused'
}

/** Whether a person has to say how it goes on. */
function isHeldBack({ is }: Standing): boolean {
  return is !== 'working'
}

function hasWholePlan({ expected }: RunStatus): boolean {
  return expected?.isComplete === true
}

/** Images of a run that lack records; 0 where nothing is planned. Records that are not sealed may be there twice. */
function imagesLeft({ expected, committed, askedAgain }: RunStatus): number {
  if (expected === null || expected.records === 0) return askedAgain.images
  const lacking = Math.max(0, 1 - committed.records / expected.records) * expected.images
  return Math.max(lacking, askedAgain.images)
}

/** How a run stands that has work left, paused now if it has spent its cap; null for one that is done or not there yet. */
async function lookAtRun(
  place: Place,
  memory: Memory,
  { runId, now }: { runId: string; now: Date },
): Promise<Standing | null> {
  const watched = await watch(place, memory, runId)
  if (watched === null) return null
  const store = place.runStoreOf(runId)
  const { state } = await readControl(store)
  const found = await watched.status.look(now)
  if (state === 'cancelled' || isAllSealed(found)) {
    memory.runs.delete(runId)
    memory.done.set(runId, state === 'cancelled' ? Infinity : found.askedAgain.times)
    return null
  }
  memory.done.delete(runId)
  const isOver = hasSpentCap(found, watched)
  // Workers give back what a paused run has in the queue, so that its messages wait for a decision of a person.
  if (isOver && state === 'running')
    await controlRun(store, { action: 'pause', cause: 'cost-cap', reason: capReason(found, watched), now })
  return { is: isOver ? 'capped' : state === 'paused' ? 'paused' : 'working', found }
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
