// What is held of an image and its records while a run is reviewed. Pure; it does not know where records come from.
import { z } from 'zod'
import { canonicalJson, sha256Hex } from '../dataset/canonical-json.ts'
import { contentOfRecord, questionOf } from '../dataset/exports/core/content.ts'
import { readContent } from '../dataset/sorted-rows.ts'
import { type LabelRecord, RecordStatus } from '../schemas/label-record.ts'
import { linesOf } from './page/text.js'

/** Characters of a record that the plain text filter looks at: as many as the page shows at once. */
const searchedChars = 6000

const IndexedRecord = z.object({
  recordId: z.string(),
  task: z.string(),
  ordinal: z.number(),
  status: RecordStatus,
  code: z.string().nullable().describe('of the failure'),
  checks: z.array(z.object({ name: z.string(), pass: z.boolean(), score: z.number().nullable() })),
  text: z.string().describe('every text that a person sees of it, in lower case, cut'),
  chars: z.number().describe('of what the label says, whole'),
  boxes: z.number(),
  digest: z.string().describe('of status and output; equal ones say the same'),
  at: z.number().describe('byte where its line begins'),
  bytes: z.number().describe('of its line, without the line feed'),
})
export type IndexedRecord = z.infer<typeof IndexedRecord>

export const IndexLine = z.object({
  key: z.string(),
  uri: z.string(),
  sha256: z.string().nullable(),
  mime: z.string().nullable(),
  perceptualHash: z.string().nullable(),
  width: z.number().nullable().describe('pixels, upright'),
  height: z.number().nullable().describe('pixels, upright'),
  orientation: z.number(),
  records: z.array(IndexedRecord).min(1),
  group: z.number().describe('first image that looks like this one; itself where it stands alone'),
  groupSize: z.number(),
})
export type IndexedImage = z.infer<typeof IndexLine>

type Line = { record: LabelRecord; at: number; bytes: number }

/** The entry of an image; what was said where its bytes could not be read does not count beside what was read. */
export function imageEntry(group: readonly [Line, ...Line[]]): IndexedImage {
  const current = readContent(group, ({ record }) => record)
  const decoded = current.find(({ record }) => record.image !== null)?.record.image ?? null
  const { key, uri, sha256, mime, perceptualHash } = (current[0] ?? group[0]).record.source
  return {
    key,
    uri,
    sha256,
    mime,
    perceptualHash: perceptualHash ?? null,
    width: decoded?.width ?? null,
    height: decoded?.height ?? null,
    orientation: decoded?.orientation ?? 1,
    records: current.map(({ record, at, bytes }) => ({ ...recordEntry(record), at, bytes })),
    group: 0,
    groupSize: 1,
  }
}

/** Tells whether a place in the list still means the same image. */
export function versionOf({ sha256, key }: Pick<IndexedImage, 'sha256' | 'key'>): string {
  return sha256Hex(`${sha256 ?? ''} ${key}`).slice(0, 12)
}

function recordEntry(record: LabelRecord): Omit<IndexedRecord, 'at' | 'bytes'> {
  const { recordId, task, ordinal, status, error, checks, output } = record
  const said = output === null ? '' : linesOf(output).join('\n')
  return {
    recordId,
    task,
    ordinal,
    status,
    code: error?.code ?? null,
    checks: checks.map(({ name, pass, score }) => ({ name, pass, score })),
    text: searchText(record, said).slice(0, searchedChars).toLowerCase(),
    chars: said.length,
    boxes: contentOfRecord(record).regions.reduce((sum, { boxes }) => sum + boxes.length, 0),
    digest: sha256Hex(canonicalJson({ status, output })).slice(0, 16),
  }
}

/** What the label says first, so that a long question does not push it out. */
function searchText(record: LabelRecord, said: string): string {
  const { error, checks, raw, output } = record
  return [
    said,
    // Of a label the raw answer says the same again.
    ...(output === null ? [error?.code ?? '', error?.message ?? '', raw ?? ''] : []),
    ...checks.filter(({ evidence }) => evidence !== '').map(({ name, evidence }) => `${name} ${evidence}`),
    questionOf(record),
  ].join('\n')
}
