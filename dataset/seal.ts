// Sealing: parts that no manifest names become shards and one more generation of the chain. Any number of
// sealers may race; the one that creates the next manifest wins. It does not know tasks or where records came from.
import { UserError } from '../schemas/errors.ts'
import { type RecordStatus, statusRank } from '../schemas/label-record.ts'
import { partsPrefix, PartKey, RecordHead } from '../schemas/part.ts'
import {
  type SealedManifest,
  type SealedShard,
  sealedManifestVersion,
  type StatusCounts,
} from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { addIds, manifestKey, packIds, readChain } from './chain.ts'
import { IdIndex } from './id-index.ts'
import { packLines, readLines } from './parts.ts'
import { compareKeys, listAll, type ObjectHead, type ObjectStore } from './stores/object-store.ts'

export type SealLimits = {
  /** Parts of one generation, by count and by compressed bytes: all their records are in memory at once. */
  maxParts: number
  maxPartBytes: number
  /** Records text of one shard before compression. */
  maxShardBytes: number
}

export const defaultSealLimits: SealLimits = {
  maxParts: 4096,
  maxPartBytes: 4 * 1024 * 1024,
  maxShardBytes: 128 * 1024 * 1024,
}

export type SealSummary = { generations: number; totals: SealedManifest['totals'] }

type Row = { head: RecordHead; line: string }
type ChainState = {
  last: { generation: number; sha256: string } | null
  parts: Set<string>
  ids: IdIndex
  totals: SealedManifest['totals']
}
type SealOptions = { store: ObjectStore; runId: string; clock: () => Date; limits?: SealLimits }

/** Seals until no part is left unsealed; returns how many generations it added and the rows by task and status. */
export async function sealRun({
  store,
  runId,
  clock,
  limits = defaultSealLimits,
}: SealOptions): Promise<SealSummary> {
  let state = await loadState(store)
  for (let generations = 0; ;) {
    const parts = await unsealedParts(store, { sealed: state.parts, limits })
    if (parts.length === 0) return { generations, totals: state.totals }
    const manifest = await writeGeneration({ store, runId, clock, limits, state, parts })
    const bytes = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`)
    if ((await store.putIfAbsent(manifestKey(manifest.generation), bytes)) === 'exists') {
      // Another sealer was first: its generation stands, ours leaves only shards that nothing names.
      state = await loadState(store)
      continue
    }
    generations += 1
    await applyManifest(store, state, { manifest, sha256: sha256Hex(bytes) })
  }
}

async function loadState(store: ObjectStore): Promise<ChainState> {
  const state: ChainState = { last: null, parts: new Set(), ids: new IdIndex(), totals: {} }
  for await (const link of readChain(store)) await applyManifest(store, state, link)
  return state
}

async function applyManifest(
  store: ObjectStore,
  state: ChainState,
  { manifest, sha256 }: { manifest: SealedManifest; sha256: string },
): Promise<void> {
  state.last = { generation: manifest.generation, sha256 }
  state.totals = manifest.totals
  for (const part of manifest.parts) state.parts.add(part)
  await addIds(store, manifest, state.ids)
}

async function unsealedParts(
  store: ObjectStore,
  { sealed, limits }: { sealed: ReadonlySet<string>; limits: SealLimits },
): Promise<ObjectHead[]> {
  const parts: ObjectHead[] = []
  let bytes = 0
  for await (const part of listAll(store, { prefix: partsPrefix })) {
    if (sealed.has(part.key) || !PartKey.safeParse(part.key).success) continue
    if (parts.length > 0 && (parts.length >= limits.maxParts || bytes + part.sizeBytes > limits.maxPartBytes))
      break
    parts.push(part)
    bytes += part.sizeBytes
  }
  return parts
}

type Generation = Required<SealOptions> & { state: ChainState; parts: readonly ObjectHead[] }

async function writeGeneration({
  store,
  runId,
  clock,
  limits,
  state,
  parts,
}: Generation): Promise<SealedManifest> {
  const generation = (state.last?.generation ?? 0) + 1
  const { rows, duplicates } = await chooseRows(store, { parts, sealed: state.ids })
  const superseded = [...rows.keys()].filter((id) => state.ids.has(id)).toSorted()
  const shards = await writeShards(store, {
    generation,
    rows: [...rows.values()],
    maxShardBytes: limits.maxShardBytes,
  })
  const ids = await writeIds(store, { generation, rows: [...rows.values()] })
  return {
    v: sealedManifestVersion,
    runId,
    generation,
    prevSha256: state.last?.sha256 ?? null,
    parts: parts.map((part) => part.key),
    shards,
    ids,
    superseded,
    duplicates,
    totals: addTotals(state, rows),
    createdAt: clock().toISOString(),
  }
}

/** Of the records of one id the highest status wins, the first in canonical order among equals. */
async function chooseRows(
  store: ObjectStore,
  { parts, sealed }: { parts: readonly ObjectHead[]; sealed: IdIndex },
): Promise<{ rows: Map<string, Row>; duplicates: number }> {
  const rows = new Map<string, Row>()
  let duplicates = 0
  for (const part of parts) {
    for (const line of await readLines(store, part.key)) {
      const head = parseHead(line, store.uri + part.key)
      const standing = Math.max(sealed.rankOf(head.recordId) ?? -1, rankOf(rows.get(head.recordId)))
      if (statusRank[head.status] <= standing) {
        duplicates += 1
        continue
      }
      if (rows.has(head.recordId)) duplicates += 1
      rows.set(head.recordId, { head, line })
    }
  }
  return { rows, duplicates }
}

function rankOf(row: Row | undefined): number {
  return row === undefined ? -1 : statusRank[row.head.status]
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
  const shards: SealedShard[] = []
  const byTask = Map.groupBy(rows, (row) => row.head.task)
  for (const task of [...byTask.keys()].toSorted()) {
    const sorted = (byTask.get(task) ?? []).toSorted(compareRows)
    for (const [n, lines] of cutBySize(sorted, maxShardBytes).entries()) {
      const bytes = packLines(lines)
      const sha256 = sha256Hex(bytes)
      const key = `sealed/${sixDigits(generation)}-${task}-${n}-${sha256.slice(0, 16)}.jsonl.gz`
      await store.putIfAbsent(key, bytes)
      shards.push({ key, task, records: lines.length, bytes: bytes.length, sha256 })
    }
  }
  return shards
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
): Promise<SealedManifest['ids']> {
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
  return { key, sha256, counts }
}

function addTotals(state: ChainState, rows: ReadonlyMap<string, Row>): SealedManifest['totals'] {
  const totals = structuredClone(state.totals)
  const statusOfRank: readonly RecordStatus[] = ['failed', 'filtered', 'ok']
  for (const [id, { head }] of rows) {
    const counts: StatusCounts = (totals[head.task] ??= { ok: 0, filtered: 0, failed: 0 })
    counts[head.status] += 1
    const before = statusOfRank[state.ids.rankOf(id) ?? -1]
    if (before !== undefined) counts[before] -= 1
  }
  return totals
}

function sixDigits(generation: number): string {
  return String(generation).padStart(6, '0')
}
