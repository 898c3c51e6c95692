// A run in memory whose stores can be slow, crash and freeze, and the slow, obvious model of what its chain must hold.
import { setImmediate as nextTick } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { readChain } from '../../dataset/chain.ts'
import { openMemoryPlace } from '../../dataset/stores/memory.ts'
import type { ObjectStore } from '../../dataset/stores/object-store.ts'
import type { LabelRecord } from '../../schemas/label-record.ts'
import { statusRank } from '../../schemas/label-record.ts'
import type { SealedManifest } from '../../schemas/sealed-manifest.ts'

export class Crash extends Error {}

type Row = Pick<LabelRecord, 'recordId' | 'status' | 'raw' | 'task'>

export function openSealWorld() {
  const clock = { nowMs: Date.parse('2026-01-01') }
  const { store: memory, sweeper } = openMemoryPlace({ nowMs: () => clock.nowMs })
  /** What every part held, also after gc took it. */
  const parts = new Map<string, Row[]>()
  const store: ObjectStore = {
    ...memory,
    async putIfAbsent(key, bytes) {
      // Our own part writer packed it.
      const read = () =>
        gunzipSync(bytes)
          .toString()
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as Row)
      if (key.startsWith('parts/')) parts.set(key, read())
      return await memory.putIfAbsent(key, bytes)
    },
  }
  return {
    store,
    sweeper,
    clock,
    parts,
    async replace(key: string, bytes: Uint8Array | null) {
      await sweeper.remove([key])
      if (bytes !== null) await memory.putIfAbsent(key, bytes)
    },
  }
}

/** The same store where each call takes a random while. */
export function slowed(store: ObjectStore, random: () => number): ObjectStore {
  return around(store, async (act) => {
    for (let ticks = Math.floor(random() * 4); ticks > 0; ticks -= 1) await nextTick()
    return await act()
  })
}

/** The same store, which throws Crash for ever from its n-th call on, that call done or not. */
export function crashing(
  store: ObjectStore,
  { calls, isDone }: { calls: number; isDone: boolean },
): ObjectStore {
  let left = calls
  return around(store, async (act) => {
    left -= 1
    if (left < 0 || (left === 0 && !isDone)) throw new Crash('before the call')
    const result = await act()
    if (left === 0) throw new Crash('after the call')
    return result
  })
}

function around(store: ObjectStore, wrap: <T>(act: () => Promise<T>) => Promise<T>): ObjectStore {
  return {
    uri: store.uri,
    putIfAbsent: async (key, bytes) => await wrap(async () => await store.putIfAbsent(key, bytes)),
    get: async (key) => await wrap(async () => await store.get(key)),
    getWithin: async (key, limit) => await wrap(async () => await store.getWithin(key, limit)),
    getRange: async (key, range) => await wrap(async () => await store.getRange(key, range)),
    head: async (key) => await wrap(async () => await store.head(key)),
    list: async (page) => await wrap(async () => await store.list(page)),
  }
}

export type Modelled = {
  rows: Map<string, Row>
  totals: Record<string, Record<string, number>>
  /** Of each generation. */
  superseded: string[][]
  duplicates: number[]
  manifests: SealedManifest[]
}

/** Applies the generations one after the other, as the issue says it: one row an id, ok > filtered > failed. */
export async function modelOf(
  store: ObjectStore,
  parts: ReadonlyMap<string, readonly Row[]>,
): Promise<Modelled> {
  const model: Modelled = { rows: new Map(), totals: {}, superseded: [], duplicates: [], manifests: [] }
  for await (const { manifest } of readChain(store)) {
    model.manifests.push(manifest)
    const records = manifest.parts.flatMap((part) => parts.get(part) ?? [])
    const best = new Map<string, Row>()
    for (const record of records) {
      const rival = best.get(record.recordId)
      if (rival === undefined || statusRank[record.status] > statusRank[rival.status])
        best.set(record.recordId, record)
    }
    const superseded: string[] = []
    let added = 0
    for (const [id, row] of best) {
      const sealed = model.rows.get(id)
      if (sealed !== undefined && statusRank[row.status] <= statusRank[sealed.status]) continue
      if (sealed !== undefined) superseded.push(id)
      model.rows.set(id, row)
      added += 1
    }
    model.superseded.push(superseded.toSorted())
    model.duplicates.push(records.length - added)
  }
  for (const { task, status } of model.rows.values()) {
    const counts = (model.totals[task] ??= { ok: 0, filtered: 0, failed: 0 })
    counts[status] = (counts[status] ?? 0) + 1
  }
  return model
}
