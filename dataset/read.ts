// Reading a run's labels through its manifest chain: one row for each recordId. It does not know tasks or exports.
import { z } from 'zod'
import { UserError } from '../schemas/errors.ts'
import { LabelRecord } from '../schemas/label-record.ts'
import type { SealedManifest } from '../schemas/sealed-manifest.ts'
import { sha256Hex } from './canonical-json.ts'
import { readChain } from './chain.ts'
import { unpackLines } from './parts.ts'
import type { ObjectStore } from './stores/object-store.ts'

/** A row of a shard as text, with the id that decides whether it still stands. */
const recordIdOfLine = /"recordId":"([0-9a-f]{32})"/

/** Every record of the run, superseded rows left out, in order of generation, task and key. */
export async function* readRecords(store: ObjectStore): AsyncGenerator<LabelRecord> {
  for await (const line of readRecordLines(store)) yield parseRecord(line, store)
}

/** The record of a line of a run. */
export function parseRecord(line: string, store: ObjectStore): LabelRecord {
  const record = LabelRecord.safeParse(JSON.parse(line))
  if (record.success) return record.data
  throw new UserError(
    `a record of ${store.uri} is not of a version this program reads: ${z.prettifyError(record.error).slice(0, 400)}`,
  )
}

/** As `readRecords`, each record as its line of JSON. One shard is in memory at a time. */
export async function* readRecordLines(store: ObjectStore): AsyncGenerator<string> {
  const generations: Pick<SealedManifest, 'generation' | 'shards'>[] = []
  const supersededIn = new Map<string, number>()
  for await (const { manifest } of readChain(store)) {
    generations.push({ generation: manifest.generation, shards: manifest.shards })
    for (const id of manifest.superseded) supersededIn.set(id, manifest.generation)
  }
  for (const { generation, shards } of generations) {
    for (const shard of shards) {
      for (const line of await readShard(store, shard)) {
        const id = recordIdOfLine.exec(line)?.[1] ?? ''
        if ((supersededIn.get(id) ?? 0) <= generation) yield line
      }
    }
  }
}

async function readShard(store: ObjectStore, shard: SealedManifest['shards'][number]): Promise<string[]> {
  const bytes = await store.get(shard.key)
  if (bytes === null || sha256Hex(bytes) !== shard.sha256) {
    throw new UserError(
      `${store.uri}${shard.key} is ${bytes === null ? 'missing' : 'damaged'}; restore the run folder`,
    )
  }
  return unpackLines(bytes, store.uri + shard.key)
}
