// What the page is told about a run, an item of a list and an image. It does not know HTTP.
import type { LabelRecord } from '../schemas/label-record.ts'
import type { RunConfig } from '../schemas/run-config.ts'
import type { Verdict } from '../schemas/verdict.ts'
import { questionOf } from '../dataset/exports/core/content.ts'
import { type IndexedImage, versionOf } from './index-entry.ts'
import { draftOf, labelForm } from './label-form.ts'
import type { ReviewedRun } from './reviewed-run.ts'
import type { ViewItem } from './view.ts'

/** Others that look like an image, named to a reviewer. */
const maxNear = 24

/** Of a text that a page shows or edits; a model may say a megabyte. */
const maxRawChars = 20_000

export function describeRun(run: ReviewedRun, who: string) {
  const { config, index, verdicts, against, counts } = run
  const judged = [...verdicts.newest.values()].filter(
    ({ verdict, recordId }) => verdict !== 'withdraw' && index.find(recordId) !== null,
  )
  return {
    runId: config.runId,
    model: config.model.name,
    source: config.source.uri,
    who,
    images: index.images.length,
    records: index.recordCount,
    ...counts,
    index: { how: index.how, tookMs: index.tookMs },
    judged: judged.length,
    lastJudged: newestOf(judged.filter((one) => one.who === who))?.recordId ?? null,
    against:
      against === null
        ? null
        : {
            runId: against.config.runId,
            model: against.config.model.name,
            differing: against.differing.size,
          },
  }
}

function newestOf(verdicts: readonly Verdict[]): Verdict | null {
  return verdicts.reduce<Verdict | null>(
    (newest, one) => (newest === null || one.at > newest.at ? one : newest),
    null,
  )
}

/** One line of the list. */
export function describeItem({ index, verdicts }: ReviewedRun, { image, records }: ViewItem) {
  const entry = index.images[image]
  return {
    image,
    key: entry?.key ?? '',
    version: entry === undefined ? '' : versionOf(entry),
    width: entry?.width ?? null,
    height: entry?.height ?? null,
    near: (entry?.groupSize ?? 1) - 1,
    records: (entry?.records ?? []).map(({ recordId, task, status }, at) => ({
      recordId,
      task,
      status,
      verdict: verdicts.newest.get(recordId)?.verdict ?? null,
      isStop: records.includes(at),
    })),
  }
}

/** Everything about one image: each record whole, what people said, and what the other run says. */
export async function describeImage(run: ReviewedRun, image: IndexedImage) {
  const { index, verdicts, config } = run
  const records = await index.readRecords(image)
  const others = await run.counterparts(image)
  return {
    key: image.key,
    uri: image.uri,
    width: image.width,
    height: image.height,
    bytes: records[0]?.source.bytes ?? null,
    mime: image.mime,
    near: nearOf(run, image),
    records: records.map((record) => {
      const other = others.find(({ task, ordinal }) => task === record.task && ordinal === record.ordinal)
      return {
        ...describeRecord(record),
        ...describeForm(record, config),
        verdict: verdicts.newest.get(record.recordId) ?? null,
        other: other === undefined ? null : describeRecord(other),
      }
    }),
  }
}

/** How the record's label can be written by hand; without a form it cannot. */
function describeForm(record: LabelRecord, config: RunConfig) {
  const form = labelForm(record, config)
  const { answer, boxes, shape } = form
  const canWrite = record.image !== null && shape !== null
  return {
    form: canWrite ? { answer, boxes } : null,
    draft: canWrite && record.output === null ? draftOf(record, form) : null,
  }
}

function describeRecord(record: LabelRecord) {
  const { recordId, task, ordinal, status, output, raw, checks, error, repairs, finishReason } = record
  return {
    recordId,
    task,
    ordinal,
    status,
    output,
    raw: raw?.slice(0, maxRawChars) ?? null,
    checks,
    error,
    repairs: repairs ?? [],
    finishReason,
    question: questionOf(record).slice(0, maxRawChars),
    model: record.model.name,
    digest: record.model.digest.slice(0, 12),
    createdAt: record.createdAt,
  }
}

function nearOf({ index }: ReviewedRun, image: IndexedImage) {
  if (image.groupSize < 2) return []
  const found: { image: number; key: string; version: string }[] = []
  for (const [at, other] of index.images.entries()) {
    if (other.group !== image.group || other === image) continue
    found.push({ image: at, key: other.key, version: versionOf(other) })
    if (found.length === maxNear) break
  }
  return found
}
