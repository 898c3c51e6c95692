// One generation of sealed data: the rows of some parts become shards, ids and a manifest that is not yet in the chain.
// It does not know how parts are found or who races for the place.
import { UserError } from '../schemas/errors.ts'
import type { HealthTally } from '../schemas/health.ts'
import { type RecordStatus, statusRank } from '../schemas/label-record.ts'
import { RecordHead } from '../schemas/part.ts'
import {
  type SealedManifest,
  type SealedShard,
  sealedManifestVersion,
  type StatusCounts,
} from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { packIds } from './chain.ts'
import { mapInParallel } from './in-parallel.ts'
import { packLines, unpackLines } from './parts.ts'
import { type SealState, sealedRanks } from './seal-state.ts'
import { compareKeys, type ObjectStore } from './stores/object-store.ts'

const partsReadAtOnce = 16
const shardsWrittenAtOnce = 4

type Row = { head: RecordHead; line: string }

export type GenerationPlan = {
  runId: string
  state: SealState
  /** Keys, in the order in which their records are considered. */
  parts: readonly string[]
  partsFrom: number
  checkpoint: SealedManifest['checkpoint']
  maxShardBytes: number
  tally: ((lines: readonly string[]) => HealthTally) | undefined
  now: Date
}

export type Generation = { manifest: SealedManifest; ids: Uint8Array }

/** Why there is none: a part that is gone, or a file of the checkpoint that is missing or damaged. */
export type NoGeneration = { missingPart: string } | 'damaged-checkpoint'

/** Writes shards and ids; returns the manifest to commit. */
export async function writeGeneration(
  store: ObjectStore,
  plan: GenerationPlan,
): Promise<Generation | NoGeneration> {
  const { runId, state, parts, partsFrom, checkpoint, maxShardBytes, tally, now } = plan
  const generation = (state.last?.generation ?? 0) + 1
  const candidates = await readRows(store, parts)
  if ('missingPart' in candidates) return candidates
  const ranks = await sealedRanks(state, [...new Set(candidates.map((row) => row.head.recordId))])
  if (ranks === null) return 'damaged-checkpoint'
  const rows = chooseRows(candidates, ranks)
  const [shards, ids] = await Promise.all([
    writeShards(store, { generation, rows, maxShardBytes }),
    writeIds(store, { generation, rows }),
  ])
  const manifest: SealedManifest = {
    v: sealedManifestVersion,
    runId,
    generation,
    prevSha256: state.last?.sha256 ?? null,
    parts: [...parts],
    shards,
    ids: ids.named,
    superseded: rows
      .map((row) => row.head.recordId)
      .filter((id) => ranks.has(id))
      .toSorted(),
    duplicates: candidates.length - rows.length,
    totals: addTotals(state.totals, rows, ranks),
    partsFrom,
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...(tally === undefined ? {} : { health: tally(rows.map(({ line }) => line)) }),
    createdAt: now.toISOString(),
  }
  return { manifest, ids: ids.bytes }
}

async function readRows(
  store: ObjectStore,
  parts: readonly string[],
): Promise<Row[] | { missingPart: string }> {
  const rows = await mapInParallel(parts, { max: partsReadAtOnce }, async (key) => {
    const bytes = await store.get(key)
    const name = store.uri + key
    return bytes === null
      ? null
      : unpackLines(bytes, name).map((line) => ({ head: parseHead(line, name), line }))
  })
  const missing = parts[rows.indexOf(null)]
  return missing === undefined ? rows.flatMap((ofPart) => ofPart ?? []) : { missingPart: missing }
}

/** One row for each id at most: of the highest status, the first in order among equals, what is sealed before all. */
function chooseRows(candidates: readonly Row[], sealed: ReadonlyMap<string, number>): Row[] {
  const rows = new Map<string, Row>()
  for (const row of candidates) {
    const { recordId, status } = row.head
    const rival = rows.get(recordId)
    const standing = rival === undefined ? (sealed.get(recordId) ?? -1) : statusRank[rival.head.status]
    if (statusRank[status] > standing) rows.set(recordId, row)
  }
  return [...rows.values()]
}

function parseHead(line: string, name: string): RecordHead {
  try {
    return RecordHead.parse(JSON.parse(line))
  } catch (error) {
    throw new UserError(`a line of ${name} is not a record: ${line.slice(0, 120)}; restore the run folder`, {
      cause: error,
    })
  }
}

type WriteShards = { generation: number; rows: readonly Row[]; maxShardBytes: number }

async function writeShards(
  store: ObjectStore,
  { generation, rows, maxShardBytes }: WriteShards,
): Promise<SealedShard[]> {
  const byTask = Map.groupBy(rows, (row) => row.head.task)
  const shards = [...byTask.keys()].toSorted().flatMap((task) => {
    const sorted = (byTask.get(task) ?? []).toSorted(compareRows)
    return cutBySize(sorted, maxShardBytes).map((lines, n) => ({ task, lines, n }))
  })
  return await mapInParallel(shards, { max: shardsWrittenAtOnce }, async ({ task, lines, n }) => {
    const bytes = packLines(lines)
    const sha256 = sha256Hex(bytes)
    const key = `sealed/${sixDigits(generation)}-${task}-${n}-${sha256.slice(0, 16)}.jsonl.gz`
    await store.putIfAbsent(key, bytes)
    return { key, task, records: lines.length, bytes: bytes.length, sha256 }
  })
}

function compareRows(left: Row, right: Row): number {
  return (
    compareKeys(left.head.source.key, right.head.source.key) ||
    left.head.ordinal - right.head.ordinal ||
    compareKeys(left.head.recordId, right.head.recordId)
  )
}

function cutBySize(rows: readonly Row[], maxBytes: number): string[][] {
  const shards: string[][] = []
  let bytes = Infinity
  for (const { line } of rows) {
    if (bytes + line.length > maxBytes) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)?.push(line)
    bytes += line.length
  }
  return shards
}

async function writeIds(
  store: ObjectStore,
  { generation, rows }: { generation: number; rows: readonly Row[] },
): Promise<{ named: SealedManifest['ids']; bytes: Uint8Array }> {
  const byStatus: Record<RecordStatus, string[]> = { ok: [], filtered: [], failed: [] }
  for (const { head } of rows) byStatus[head.status].push(head.recordId)
  const bytes = packIds(byStatus)
  const sha256 = sha256Hex(bytes)
  // The hash in the name keeps a losing sealer's ids from taking the winner's place.
  const key = `ids/${sixDigits(generation)}-${sha256.slice(0, 16)}.bin`
  await store.putIfAbsent(key, bytes)
  const counts = {
    ok: byStatus.ok.length,
    filtered: byStatus.filtered.length,
    failed: byStatus.failed.length,
  }
  return { named: { key, sha256, counts }, bytes }
}

function addTotals(
  before: SealedManifest['totals'],
  rows: readonly Row[],
  ranks: ReadonlyMap<string, number>,
): SealedManifest['totals'] {
  const totals = structuredClone(before)
  const statusOfRank: readonly RecordStatus[] = ['failed', 'filtered', 'ok']
  for (const { head } of rows) {
    const counts: StatusCounts = (totals[head.task] ??= { ok: 0, filtered: 0, failed: 0 })
    counts[head.status] += 1
    const superseded = statusOfRank[ranks.get(head.recordId) ?? -1]
    if (superseded !== undefined) counts[superseded] -= 1
  }
  return totals
}

function sixDigits(generation: number): string {
  return String(generation).padStart(6, '0')
}
