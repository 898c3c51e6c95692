// The engine's one loop: images are opened and sequences of all open images generated together, a step at a time.
// Finished sequences leave a step, new ones join it; what has no room in the cache waits. Deals in token ids only.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { planAdmission } from './cache-budget.ts'
import type { CacheNeeds } from './cache-budget.ts'
import type { Decoder, Lanes } from './decoder-contract.ts'
import type { PrefixRows, Suffix } from './kv-cache.ts'
import { planStep, stepMask } from './scheduler.ts'
import type { StepPlan } from './scheduler.ts'
import {
  acceptToken,
  areNumbers,
  extendAnswer,
  failNotNumbers,
  longestRows,
  startAgainAlone,
  startSequence,
  takesLikeliest,
  tokensLeft,
} from './sequence.ts'
import type { Prefix, Sequence, SequenceRequest, SequenceResult } from './sequence.ts'

export type OpenPrefix = { prefix: Prefix; close(): void }

export type Batch = {
  /** Makes a prefix of `bytes` when there is room for it; it counts until it is closed. */
  open(make: () => Promise<Prefix>, bytes: number, signal?: AbortSignal): Promise<OpenPrefix>
  /**
   * Generates sequences behind a prefix, beside whatever else runs. Each gets the tokens it would get alone.
   * Rejects with the signal's reason when it fires, and with what the runtime throws in one of its steps.
   */
  generate(
    prefix: Prefix,
    requests: readonly SequenceRequest[],
    signal?: AbortSignal,
  ): Promise<SequenceResult[]>
  /** Resolves when nothing is left to do. */
  idle(): Promise<void>
}

type Opening = {
  make: () => Promise<Prefix>
  bytes: number
  signal: AbortSignal | undefined
  resolve: (prefix: Prefix) => void
  reject: (error: unknown) => void
}

/** The sequences of one call. */
type Job = {
  sequences: Sequence[]
  signal: AbortSignal | undefined
  resolve: (results: SequenceResult[]) => void
  reject: (error: unknown) => void
}

type State = {
  decoder: Decoder
  needs: CacheNeeds
  suffix: Suffix
  openBytes: number
  openings: Opening[]
  jobs: Job[]
  waiting: Sequence[]
  running: Sequence[]
  /** Something came in since the loop last looked. */
  changed: boolean
}

/** A loop over one decoder, asleep while there is nothing to do. */
export function createBatch(decoder: Decoder, needs: CacheNeeds): Batch {
  const state: State = {
    decoder,
    needs,
    suffix: decoder.openSuffix(),
    openBytes: 0,
    openings: [],
    jobs: [],
    waiting: [],
    running: [],
    changed: false,
  }
  let loop: Promise<void> | undefined
  const wake = (): void => {
    state.changed = true
    loop ??= runLoop(state).finally(() => {
      loop = undefined
      if (state.changed && hasWork(state)) wake()
    })
  }
  const listen = (signal: AbortSignal | undefined): void =>
    signal?.addEventListener('abort', wake, { once: true })
  const images = numberPrefixes()
  let sequenceCount = 0
  return {
    open: async (make, bytes, signal) => {
      listen(signal)
      const prefix = await new Promise<Prefix>((resolve, reject) => {
        state.openings.push({ make, bytes, signal, resolve, reject })
        wake()
      })
      const close = (): void => {
        state.openBytes -= bytes
        decoder.freePrefix(prefix.rows)
        wake()
      }
      return { prefix, close }
    },
    generate: (prefix, requests, signal) => {
      listen(signal)
      return new Promise((resolve, reject) => {
        const sequences = requests.map((request) =>
          startSequence({ request, id: sequenceCount++, image: images(prefix), prefix }),
        )
        state.jobs.push({ sequences, signal, resolve, reject })
        state.waiting.push(...sequences.filter(({ finishReason }) => finishReason === undefined))
        wake()
      })
    },
    idle: async () => {
      while (loop !== undefined) await loop
    },
  }
}

/** The same prefix has the same number, and is not kept for it. */
function numberPrefixes(): (prefix: Prefix) => number {
  const numbers = new WeakMap<Prefix, number>()
  let count = 0
  return (prefix) => {
    const number = numbers.get(prefix) ?? count++
    numbers.set(prefix, number)
    return number
  }
}

function hasWork({ jobs, openings }: State): boolean {
  return jobs.length > 0 || openings.length > 0
}

async function runLoop(state: State): Promise<void> {
  // Not in the caller's own turn, so that calls made together start together.
  await nextTurn()
  while (hasWork(state)) {
    state.changed = false
    dropCancelled(state)
    const isDone = settleJobs(state)
    const isBusy = await takeTurn(state)
    // Nobody can go on before an image is closed, which wakes the loop.
    if (!isDone && !isBusy && !state.changed) return
    settleJobs(state)
    await nextTurn()
  }
}

/** Opens an image or runs a step; false where there is room for neither. */
async function takeTurn(state: State): Promise<boolean> {
  const { needs, openings, waiting, running } = state
  const { opens, joins } = planAdmission(needs, {
    openBytes: state.openBytes,
    runningRows: runningRows(state),
    runningCount: running.length,
    opening: openings[0]?.bytes,
    waiting: waiting.map(longestRows),
  })
  if (opens) {
    await openFirst(state)
    return true
  }
  const [first] = [...running, ...waiting]
  running.push(...waiting.splice(0, first?.isAlone === true ? Math.min(joins, 1 - running.length) : joins))
  if (running.length === 0) return false
  try {
    await step(state)
  } catch (error) {
    dropJobs(state, (job) =>
      job.sequences.some((sequence) => running.includes(sequence)) ? { error } : undefined,
    )
  }
  return true
}

function runningRows({ running }: State): number {
  return running.reduce((sum, sequence) => sum + longestRows(sequence), 0)
}

async function openFirst(state: State): Promise<void> {
  const opening = state.openings.shift()
  if (opening === undefined) return
  state.openBytes += opening.bytes
  try {
    opening.resolve(await opening.make())
  } catch (error) {
    state.openBytes -= opening.bytes
    opening.reject(error)
  }
}

async function step(state: State): Promise<void> {
  const { decoder, suffix, running } = state
  const plan = planStep(
    running.map(({ id, image, pending, prefix }) => ({
      id,
      image,
      pending,
      prefixLength: prefix.rows.length,
    })),
    { maxSlots: decoder.slotCount },
  )
  const byId = new Map(running.map((sequence) => [sequence.id, sequence]))
  const owners = plan.rows.map(({ sequence }) => sequence)
  const inPlan = owners.flatMap((owner) => byId.get(owner) ?? [])
  const steps = stepsAhead(decoder, plan, inPlan)
  const { logits, newRows, ahead } = await decoder.run({
    visionRows: new Float32Array(0),
    embeddedRows: new Float32Array(0),
    tokenIds: plan.rows.map(({ tokenId }) => tokenId),
    positionIds: plan.rows.map(({ position }) => position),
    logitRows: plan.logitRows,
    slots: slotsOf(plan, running),
    suffix: suffix.rows,
    ...lanesOf(owners, suffix),
    mask: stepMask({ rows: plan.rows, suffixOwners: suffix.owners }),
    ...(steps === 0 ? {} : { ahead: steps }),
  })
  const made = Array.from({ length: 1 + steps }, () => owners).flat()
  suffix.append(newRows, made, runningRows(state))
  const vocabularySize = logits.length / Math.max(1, plan.logitRows.length)
  const scores = plan.logitRows.map((_, index) =>
    logits.subarray(index * vocabularySize, (index + 1) * vocabularySize),
  )
  const areSound = scores.every(areNumbers) && ahead?.sums.some(Number.isNaN) !== true
  if (running.length > 1 && !areSound) return partCompany(state)
  for (const owner of owners) byId.get(owner)?.pending.shift()
  for (const [index, row] of plan.logitRows.entries()) {
    const [sequence, ofRow] = [byId.get(owners[row] ?? -1), scores[index]]
    if (sequence !== undefined && ofRow !== undefined) extendAnswer(sequence, ofRow)
  }
  for (let index = 0; index < steps * inPlan.length; index++) {
    const sequence = inPlan[index % inPlan.length]
    // The token before it has its row now.
    sequence?.pending.shift()
    if (sequence === undefined) continue
    if (Number.isNaN(ahead?.sums[index])) failNotNumbers(sequence)
    else acceptToken(sequence, ahead?.tokens[index] ?? 0)
  }
  for (const { id, finishReason } of running) if (finishReason !== undefined) suffix.release(id)
  running.splice(0, running.length, ...running.filter(({ finishReason }) => finishReason === undefined))
}

/**
 * A row that looks past others' still adds nothing times their values, and nothing times NaN is NaN: one sequence spoils
 * the scores of all. So each goes on by itself, from its prompt on, and only the one whose scores are no numbers then fails.
 */
function partCompany({ running, waiting, suffix }: State): void {
  for (const sequence of running) {
    suffix.release(sequence.id)
    startAgainAlone(sequence)
  }
  waiting.unshift(...running.splice(0))
}

function lanesOf(owners: readonly number[], { lanes }: Suffix): { lanes?: Lanes } {
  const rows = new Map(owners.map((owner, row) => [owner, row]))
  if (lanes === undefined || rows.size < owners.length) return {}
  const rowOf = (owner: number | undefined): number | undefined =>
    owner === undefined ? undefined : rows.get(owner)
  return { lanes: { size: lanes.size, rows: lanes.owners.map(rowOf) } }
}

/** How many tokens the decoder may choose by itself: as many as all of the rows' sequences can take. */
function stepsAhead(
  { maxAhead }: Decoder,
  { rows, logitRows }: StepPlan,
  sequences: readonly Sequence[],
): number {
  const isDecoding = rows.length > 0 && logitRows.length === rows.length
  if (!isDecoding || !sequences.every(takesLikeliest)) return 0
  return Math.max(0, Math.min(maxAhead, ...sequences.map((sequence) => tokensLeft(sequence) - 1)))
}

function slotsOf(plan: StepPlan, running: readonly Sequence[]): { prefix: PrefixRows; rowCount: number }[] {
  return plan.slots.flatMap(({ image, rowCount }) => {
    const found = running.find((sequence) => sequence.image === image)
    return found === undefined ? [] : [{ prefix: found.prefix.rows, rowCount }]
  })
}

/** Takes finished jobs out; true where there was one. */
function settleJobs(state: State): boolean {
  const isDone = ({ sequences }: Job): boolean =>
    sequences.every(({ finishReason }) => finishReason !== undefined)
  const done = state.jobs.filter(isDone)
  state.jobs = state.jobs.filter((job) => !isDone(job))
  for (const { sequences, resolve } of done) {
    resolve(
      sequences.map(({ answer, finishReason, failure }) => ({
        tokenIds: answer,
        finishReason: finishReason ?? 'length',
        ...(failure === undefined ? {} : { failure }),
      })),
    )
  }
  return done.length > 0
}

function dropCancelled(state: State): void {
  const cancelled = state.openings.filter(({ signal }) => signal?.aborted === true)
  state.openings = state.openings.filter((opening) => !cancelled.includes(opening))
  for (const { reject, signal } of cancelled) reject(signal?.reason)
  dropJobs(state, ({ signal }) => (signal?.aborted === true ? { error: signal.reason } : undefined))
}

/** Ends the jobs for which there is an error, and frees what their sequences hold. */
function dropJobs(state: State, errorOf: (job: Job) => { error: unknown } | undefined): void {
  for (const job of state.jobs) {
    const found = errorOf(job)
    if (found === undefined) continue
    const isOther = (sequence: Sequence): boolean => !job.sequences.includes(sequence)
    state.jobs = state.jobs.filter((one) => one !== job)
    state.running = state.running.filter(isOther)
    state.waiting = state.waiting.filter(isOther)
    for (const { id } of job.sequences) state.suffix.release(id)
    job.reject(found.error)
  }
}
