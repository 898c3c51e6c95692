// A run while it is reviewed: its index, its verdicts, and the run it is compared with. It does not know HTTP.
import { parseWhere } from '../dataset/exports/core/where.ts'
import { readRun } from '../dataset/run-folder.ts'
import type { ObjectStore } from '../dataset/stores/object-store.ts'
import { openVerdictLog, type VerdictLog } from '../dataset/verdicts.ts'
import { UserError } from '../schemas/errors.ts'
import type { LabelRecord } from '../schemas/label-record.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { TaskOutput } from '../schemas/task-output.ts'
import { type Verdict, verdictVersion } from '../schemas/verdict.ts'
import type { IndexedImage } from './index-entry.ts'
import { checkEdit } from './judge.ts'
import { labelForm } from './label-form.ts'
import { countRun, type RunCounts } from './run-counts.ts'
import { openRunIndex, type RunIndex } from './run-index.ts'
import { makeView, type View, ViewQuery } from './view.ts'

export type ReviewedRun = {
  config: RunConfig
  index: RunIndex
  counts: RunCounts
  verdicts: VerdictLog
  against: { config: RunConfig; index: RunIndex; differing: ReadonlySet<string> } | null
  /** The walk of a query. One name gives the same walk until many others were asked for, whatever is judged meanwhile. */
  view(query: ViewQuery, name: string): Promise<View>
  /** The other run's records about the same picture. */
  counterparts(image: IndexedImage): Promise<LabelRecord[]>
  /** Throws UserError, which says what to mend, for what cannot stand in the record's place; writes nothing. */
  check(recordId: string, output: TaskOutput): Promise<void>
  judge(judgement: Judgement): Promise<Verdict>
  close(): Promise<void>
}

export type Judgement = {
  recordId: string
  verdict: Verdict['verdict']
  output?: TaskOutput | undefined
  comment?: string | undefined
  who: string
}

/** Walks kept by name; one of 100 thousand images takes about 10 MB. */
const maxViews = 12

/** Other people's verdicts are looked for this often at most. */
const refreshMs = 5000

export type OpenRun = {
  store: ObjectStore
  against: ObjectStore | null
  /** For the index; may be deleted whenever nobody reviews. */
  cacheFolder: string
  clock: () => Date
}

/** Throws UserError where there is no run. */
export async function openReviewedRun({ store, against, cacheFolder, clock }: OpenRun): Promise<ReviewedRun> {
  const config = await needRun(store)
  const index = await openRunIndex(store, cacheFolder)
  const verdicts = openVerdictLog(store)
  await verdicts.refresh()
  const other = against === null ? null : await openOther(against, { cacheFolder, images: index.images })
  let refreshedMs = clock().getTime()
  const views = new Map<string, Promise<View>>()
  // What everybody sees first depends on nobody's verdicts, so it is ready before anybody asks.
  const whole = JSON.stringify(ViewQuery.parse({}))
  const everything = makeView(ViewQuery.parse({}), {
    images: index.images,
    verdicts: verdicts.newest,
    wanted: null,
    differing: null,
  })
  const make = async (query: ViewQuery): Promise<View> => {
    if (clock().getTime() - refreshedMs > refreshMs) {
      refreshedMs = clock().getTime()
      await verdicts.refresh()
    }
    if (JSON.stringify(query) === whole) return everything
    return makeView(query, {
      images: index.images,
      verdicts: verdicts.newest,
      wanted: query.where === undefined ? null : await recordsWhere(index, query.where),
      differing: other?.differing ?? null,
    })
  }
  return {
    config,
    index,
    counts: countRun(index.images),
    verdicts,
    against: other,
    async view(query, name) {
      const id = `${name} ${JSON.stringify(query)}`
      const view = views.get(id) ?? make(query)
      views.delete(id)
      views.set(id, view)
      const [oldest] = views.keys()
      if (views.size > maxViews && oldest !== undefined) views.delete(oldest)
      return await view.catch((error: unknown) => {
        views.delete(id)
        throw error
      })
    },
    counterparts: async (image) => await (other?.counterparts(image) ?? []),
    async check(recordId, output) {
      const record = await findRecord(index, recordId)
      checkEdit(record, output, labelForm(record, config))
    },
    judge: async (judgement) => await judge(judgement, { index, verdicts, config, clock }),
    async close() {
      await index.close()
      await other?.index.close()
    },
  }
}

async function needRun(store: ObjectStore): Promise<RunConfig> {
  const config = await readRun(store)
  if (config !== null) return config
  throw new UserError(`${store.uri} holds no run; expected a folder that coglabel label --out made`)
}

/** The other run, and which of these records it answers otherwise or not at all. Pictures meet by bytes, or else by key. */
async function openOther(
  store: ObjectStore,
  { cacheFolder, images }: { cacheFolder: string; images: readonly IndexedImage[] },
) {
  const config = await needRun(store)
  const index = await openRunIndex(store, `${cacheFolder}-against`)
  const byBytes = new Map(index.images.map((image) => [image.sha256 ?? '', image]))
  const byKey = new Map(index.images.map((image) => [image.key, image]))
  const meet = ({ sha256, key }: IndexedImage) => {
    const namesake = byKey.get(key)
    if (namesake?.sha256 === sha256) return namesake
    return (sha256 === null ? undefined : byBytes.get(sha256)) ?? namesake
  }
  const differing = new Set<string>()
  for (const image of images) {
    const theirs = meet(image)?.records ?? []
    for (const { recordId, task, ordinal, digest } of image.records)
      if (!theirs.some((one) => one.task === task && one.ordinal === ordinal && one.digest === digest))
        differing.add(recordId)
  }
  const counterparts = async (image: IndexedImage) => {
    const found = meet(image)
    return found === undefined ? [] : await index.readRecords(found)
  }
  return { config, index, differing, counterparts }
}

/** Conditions see the record as the model left it. */
async function recordsWhere(index: RunIndex, condition: string): Promise<ReadonlySet<string>> {
  const takes = parseWhere(condition)
  const wanted = new Set<string>()
  for await (const { records } of index.readAll())
    for (const record of records) if (takes(record)) wanted.add(record.recordId)
  return wanted
}

async function findRecord(index: RunIndex, recordId: string): Promise<LabelRecord> {
  const place = index.find(recordId)
  const image = place === null ? undefined : index.images[place.image]
  const record = image === undefined ? undefined : (await index.readRecords(image))[place?.record ?? 0]
  if (record !== undefined) return record
  throw new UserError(`there is no record ${recordId} in this run; load the page again`)
}

async function judge(
  { recordId, verdict, output, comment, who }: Judgement,
  {
    index,
    verdicts,
    config,
    clock,
  }: Pick<ReviewedRun, 'index' | 'verdicts' | 'config'> & Pick<OpenRun, 'clock'>,
): Promise<Verdict> {
  const record = await findRecord(index, recordId)
  if (output !== undefined) checkEdit(record, output, labelForm(record, config))
  // The newest counts, so a clock that was set back, or another reviewer's that goes ahead, must not lose this one to
  // a judgement that was there before.
  await verdicts.refresh(recordId)
  const before = verdicts.newest.get(recordId)
  const atMs = Math.max(clock().getTime(), before === undefined ? 0 : Date.parse(before.at) + 1)
  const given: Verdict = {
    v: verdictVersion,
    recordId,
    verdict,
    ...(output === undefined ? {} : { output }),
    who,
    at: new Date(atMs).toISOString(),
    ...(comment === undefined || comment === '' ? {} : { comment }),
  }
  await verdicts.add(given)
  return given
}
