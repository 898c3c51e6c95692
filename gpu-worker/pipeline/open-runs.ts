// The runs a worker labels for, opened when a message first names them. It does not know queues or messages.
import { type Claim, type ClaimLimits, defaultClaimLimits, takeClaim } from '../../dataset/claims.ts'
import { firstWithBytes, type NamedImage } from '../../dataset/seen-images.ts'
import { followIds, type IdFollower } from '../../dataset/sealed-ids.ts'
import type { Clock } from '../../dataset/queues/clock.ts'
import { readControl, type RunStanding, untouchedRun } from '../../dataset/run-control.ts'
import { readRun } from '../../dataset/run-folder.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import { RetryableError, UserError } from '../../schemas/errors.ts'
import { type LabelRecord, statusRank } from '../../schemas/label-record.ts'
import { modelOfRole, type RunConfig } from '../../schemas/run-config.ts'
import { TaskRole } from '../../schemas/task-spec.ts'
import { openRunTexts, type RunTexts } from './gates.ts'
import { type HashedSpec, hashSpecs } from './item-specs.ts'
import { type PartLimits, PartWriter, type Settled } from './part-writer.ts'

export type OpenRunLimits = PartLimits &
  ClaimLimits & {
    /** Runs whose settings and sealed ids are kept in memory. */
    openRuns: number
    /** Sealed ids of one run kept in memory, 34 bytes each; beyond, duplicates cost a second labelling, no more. */
    knownIds: number
    /** How old the known ids may be before the manifests are looked at again. */
    knownIdsAgeMs: number
    /** How long a run may go on after it was paused or cancelled: one small read for each such span and run. */
    controlAgeMs: number
    /** How often writing a part is tried while the store says that it may help. */
    writeAttempts: number
    writeRetryMs: number
  }

export const defaultOpenRunLimits: Omit<OpenRunLimits, keyof PartLimits> = {
  ...defaultClaimLimits,
  openRuns: 16,
  knownIds: 10_000_000,
  knownIdsAgeMs: 60_000,
  controlAgeMs: 30_000,
  writeAttempts: 5,
  writeRetryMs: 500,
}

export type OpenRun = {
  config: RunConfig
  specs: readonly HashedSpec[]
  /** What checks compare with other images. */
  texts: RunTexts
  /** Whether this worker's model answers the tasks of a role. */
  serves(role: TaskRole): boolean
  /** Claims the making of records; null in a run without claims. */
  claim: ((recordIds: readonly string[]) => Promise<Claim>) | null
  /** The image that stands for these bytes; null in a run that labels all. */
  firstWithBytes: ((sha256: string, image: NamedImage) => Promise<NamedImage>) | null
  /** Whether a record that is no failure is sealed, or was made durable by this worker. */
  isDone(recordId: string): boolean
  /** Takes one image's records into the run's next part. */
  keep(records: readonly LabelRecord[], settled: Settled): Promise<void>
  flush(): Promise<void>
}

/** Why a run cannot be labelled for, now or by this worker. */
export type RunProblem = {
  ok: false
  reason: 'no-run' | 'bad-run' | 'other-model' | 'paused' | 'cancelled'
  message: string
}

export type OpenRuns = {
  /** Throws what reading the store throws, but a run that is not as it should be is a value. */
  open(runId: string): Promise<{ ok: true; run: OpenRun } | RunProblem>
  /** Makes every record durable that was kept so far; who kept it is told. */
  flush(): Promise<void>
}

export type OpenRunsOptions = {
  storeOf: (runId: string) => ObjectStore
  modelDigest: string
  clock: Clock
  random: () => number
  limits: OpenRunLimits
  onPart: (part: { runId: string; key: string; records: number }) => void
}

type Entry = {
  opened: Promise<{ ok: true; run: OpenRun; ids: IdFollower; store: ObjectStore } | RunProblem>
  refreshedAtMs: number
  refreshing: Promise<void>
  controlReadAtMs: number
  control: Promise<RunStanding>
}

/** Starts with no run open. */
export function openRuns(options: OpenRunsOptions): OpenRuns {
  const { clock, limits } = options
  /** In order of last use. */
  const entries = new Map<string, Entry>()
  const flushEntry = async ({ opened }: Entry) => {
    const result = await opened.catch(() => null)
    if (result?.ok === true) await result.run.flush()
  }
  const use = (runId: string): Entry => {
    const entry = entries.get(runId) ?? {
      opened: openRun(runId, options),
      refreshedAtMs: -Infinity,
      refreshing: Promise.resolve(),
      controlReadAtMs: -Infinity,
      control: Promise.resolve(untouchedRun),
    }
    entries.delete(runId)
    entries.set(runId, entry)
    for (const [oldest, old] of entries) {
      if (entries.size <= limits.openRuns) break
      entries.delete(oldest)
      // Images of it that are under way keep its writer alive, which then writes by age.
      void flushEntry(old)
    }
    return entry
  }
  return {
    async open(runId) {
      const entry = use(runId)
      try {
        const result = await entry.opened
        if (!result.ok) {
          // Nothing stays cached of a run that is not there: it may be opened a moment later.
          entries.delete(runId)
          return result
        }
        if (clock.nowMs() - entry.refreshedAtMs >= limits.knownIdsAgeMs) {
          entry.refreshedAtMs = clock.nowMs()
          entry.refreshing = result.ids.refresh()
        }
        if (clock.nowMs() - entry.controlReadAtMs >= limits.controlAgeMs) {
          entry.controlReadAtMs = clock.nowMs()
          entry.control = entry.control.then(async (known) => await readControl(result.store, known))
        }
        const [{ state }] = await Promise.all([entry.control, entry.refreshing])
        if (state !== 'running') return { ok: false, reason: state, message: `the run ${runId} is ${state}` }
        return { ok: true, run: result.run }
      } catch (error) {
        entries.delete(runId)
        if (!(error instanceof UserError)) throw error
        return { ok: false, reason: 'bad-run', message: error.message }
      }
    },
    async flush() {
      await Promise.all([...entries.values()].map(flushEntry))
    },
  }
}

async function openRun(runId: string, options: OpenRunsOptions): Promise<Awaited<Entry['opened']>> {
  const { storeOf, modelDigest, clock, limits, onPart } = options
  const store = retryWrites(storeOf(runId), options)
  const config = await readRun(store)
  if (config === null)
    return { ok: false, reason: 'no-run', message: `there is no run ${runId}; submit it first` }
  const serves = (role: TaskRole) => modelOfRole(config, role).digest === modelDigest
  if (!TaskRole.options.some(serves)) return otherModel(config, { role: 'chat', modelDigest })
  const ids = followIds(store, { maxIds: limits.knownIds })
  const writer = new PartWriter({ store, limits, clock, onPart: (part) => onPart({ runId, ...part }) })
  const run: OpenRun = {
    config,
    specs: hashSpecs(config.tasks, config),
    texts: openRunTexts(),
    serves,
    claim: config.claims === 'on' ? async (ids) => await takeClaim(ids, { store, clock, limits }) : null,
    firstWithBytes:
      config.input?.dedupe === undefined
        ? null
        : async (sha256, image) => await firstWithBytes(store, { sha256, image }),
    // A message is a request: what failed before is tried again, and only an ok row can then take its place.
    isDone: (recordId) => (ids.index.rankOf(recordId) ?? statusRank.failed) > statusRank.failed,
    async keep(records, settled) {
      await writer.add(records, (error) => {
        if (error === null)
          for (const { recordId, status } of records) ids.index.set(recordId, statusRank[status])
        settled(error)
      })
    },
    flush: async () => await writer.flush(),
  }
  return { ok: true, run, ids, store }
}

/** The problem of a worker that holds another model than a role of the run asks for. */
export function otherModel(
  config: RunConfig,
  { role, modelDigest }: { role: TaskRole; modelDigest: string },
): RunProblem & { reason: 'other-model' } {
  const { name, digest } = modelOfRole(config, role)
  const message = `in the run ${config.runId} the tasks of the role ${role} are for the model ${name} ${digest}, this worker has ${modelDigest}`
  return { ok: false, reason: 'other-model', message }
}

/** The same store, whose writes are tried again: what a part holds cost more than the wait. */
function retryWrites(store: ObjectStore, { clock, random, limits }: OpenRunsOptions): ObjectStore {
  return {
    ...store,
    async putIfAbsent(key, bytes) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await store.putIfAbsent(key, bytes)
        } catch (error) {
          if (!(error instanceof RetryableError) || attempt >= limits.writeAttempts) throw error
          await clock.sleep(limits.writeRetryMs * 2 ** (attempt - 1) * (0.5 + random() / 2))
        }
      }
    },
  }
}
