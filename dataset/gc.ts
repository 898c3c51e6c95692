// What of a run nobody needs any more: parts that are sealed, files of sealers that lost their race, old checkpoints.
// It only names them; deleting is a call of its own. It does not know places or verbs.
import { checkpointsPrefix } from '../schemas/checkpoint.ts'
import { UserError } from '../schemas/errors.ts'
import { PartKey, partsPrefix } from '../schemas/part.ts'
import { type SealedManifest, sealedManifestsPrefix } from '../schemas/sealed-manifest.ts'
import { manifestKey, readChain } from './chain.ts'
import { generationOf, readCheckpoint } from './checkpoint.ts'
import { unwindowed, windowOf } from './part-windows.ts'
import type { ObjectStore } from './stores/object-store.ts'
import { type AgedObject, listAged, type ObjectSweeper } from './stores/object-sweeper.ts'

export const garbageKinds = ['part', 'shard', 'ids', 'checkpoint'] as const
export type GarbageKind = (typeof garbageKinds)[number]
export type Garbage = AgedObject & { kind: GarbageKind }

export type GcOptions = {
  store: ObjectStore
  sweeper: ObjectSweeper
  nowMs: number
  /** How long something must have been unneeded: longer than any sealer sleeps between two of its steps. */
  minAgeMs: number
}

/** Generations old enough that no sealer still works on them, and what they and the later ones name. */
type Settled = {
  generation: number
  partsFrom: number
  /** Sealed parts of windows from partsFrom on, and of the time before windows. */
  parts: Set<string>
  /** Shards, ids and checkpoint files that must stay. */
  kept: Set<string>
}

/**
 * Everything of a run that can go. Never among it: what a manifest names for readers, parts that are not sealed, and
 * whatever a sealer may still commit. A file of generation n is beyond commitment once manifest n is there, and all
 * here must besides be older than `minAgeMs`, as must the manifest that made it needless.
 */
export async function* findGarbage(options: GcOptions): AsyncGenerator<Garbage> {
  const { sweeper, nowMs, minAgeMs } = options
  const settled = await readSettled(options)
  if (settled === null) return
  const isOld = ({ modifiedAtMs }: AgedObject) => modifiedAtMs <= nowMs - minAgeMs
  for await (const object of listAged(sweeper, partsPrefix))
    if (isOld(object) && isSealedPart(object.key, settled)) yield { ...object, kind: 'part' }
  const named = [
    ['shard', 'sealed/'],
    ['ids', 'ids/'],
    ['checkpoint', checkpointsPrefix],
  ] as const
  for (const [kind, prefix] of named) {
    for await (const object of listAged(sweeper, prefix)) {
      const generation = generationOfFile(object.key)
      if (generation === null || generation > settled.generation || settled.kept.has(object.key)) continue
      if (isOld(object)) yield { ...object, kind }
    }
  }
}

/** Null when nothing is old enough. */
async function readSettled({ store, sweeper, nowMs, minAgeMs }: GcOptions): Promise<Settled | null> {
  if (store.uri !== sweeper.uri)
    throw new UserError(`the sweeper of ${sweeper.uri} cannot clear ${store.uri}; open both for one place`)
  const generation = await lastOldGeneration(sweeper, nowMs - minAgeMs)
  if (generation === 0) return null
  const settled: Settled = { generation, partsFrom: unwindowed, parts: new Set(), kept: new Set() }
  let current: SealedManifest | null = null
  for await (const { manifest } of readChain(store)) {
    for (const { key } of [...manifest.shards, manifest.ids]) settled.kept.add(key)
    const isSettled = manifest.generation <= generation
    if (isSettled) {
      settled.partsFrom = manifest.partsFrom ?? settled.partsFrom
      for (const part of manifest.parts) if (isNamedOnly(part, settled)) settled.parts.add(part)
    }
    if (manifest.checkpoint === undefined) continue
    // Up to the settled end the newest checkpoint is in use, and after it each.
    if (isSettled) current = manifest
    else await keepCheckpoint(store, manifest, settled)
  }
  if (current !== null) await keepCheckpoint(store, current, settled)
  return settled
}

/** The end of the unbroken row of manifests that are old enough, by the store's own clock. */
async function lastOldGeneration(sweeper: ObjectSweeper, untilMs: number): Promise<number> {
  let generation = 0
  for await (const { key, modifiedAtMs } of listAged(sweeper, sealedManifestsPrefix)) {
    if (key !== manifestKey(generation + 1) || modifiedAtMs > untilMs) break
    generation += 1
  }
  return generation
}

async function keepCheckpoint(store: ObjectStore, manifest: SealedManifest, settled: Settled): Promise<void> {
  if (manifest.checkpoint !== undefined) settled.kept.add(manifest.checkpoint.key)
  const checkpoint = await readCheckpoint(store, manifest)
  for (const { key } of checkpoint?.idRuns ?? []) settled.kept.add(key)
}

/** Parts that came into a window after it was closed count nowhere, and were written again by their writer. */
function isSealedPart(key: string, settled: Settled): boolean {
  return PartKey.safeParse(key).success && (settled.parts.has(key) || !isNamedOnly(key, settled))
}

/** Whether nothing but its name in a manifest says that a part is sealed. */
function isNamedOnly(key: string, { partsFrom }: Settled): boolean {
  const window = windowOf(key)
  return window === unwindowed || window >= partsFrom
}

/** The generation whose manifest decides over a file; null for what sealers do not write. */
function generationOfFile(key: string): number | null {
  const digits = /^(?:sealed|ids)\/([0-9]{6,})-/.exec(key)?.[1]
  if (digits !== undefined) return Number(digits)
  // Of the state before it: the next generation's manifest names it or nobody does.
  const before = /^checkpoints\/ids\/([0-9]{8})-/.exec(key)?.[1]
  const generation = before === undefined ? generationOf(key) : Number(before)
  return generation === null ? null : generation + 1
}
