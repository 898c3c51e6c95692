// What the chain of manifests says up to one generation, so that nobody has to read it from the start. A cache:
// the next generation's manifest names its digest, and it can be made again from the chain.
import { z } from 'zod'
import { PartKey } from './part.ts'
import { Sha256, StatusCounts } from './sealed-manifest.ts'

export const checkpointVersion = 1
export const checkpointsPrefix = 'checkpoints/'

const Count = z.int().nonnegative()

export const IdRunHead = z.strictObject({
  key: z.string().regex(/^checkpoints\/ids\/[0-9]{8}-[0-9a-f]{16}\.bin$/),
  sha256: Sha256.describe('of the whole file'),
  level: Count.describe('runs of one level are merged into one of the next'),
  entries: Count.describe('ids in the file'),
  bucketBits: z.int().min(0).max(24).describe('leading bits of an id that say its bucket'),
  tableBytes: Count.describe('size of the table of buckets, the first part of the file'),
  tableSha256: Sha256,
  filterBytes: Count.describe(
    'size of the Bloom filter, the second part; the rest are the entries, 17 bytes each',
  ),
  filterSha256: Sha256,
})
export type IdRunHead = z.infer<typeof IdRunHead>

export const SealCheckpoint = z.strictObject({
  v: z.literal(checkpointVersion),
  runId: z.string().min(1),
  generation: z.int().positive().describe('the last one that is in here'),
  manifestSha256: Sha256.describe("of that generation's manifest"),
  totals: z.record(z.string(), StatusCounts).describe('rows by task, superseded ones not counted'),
  partsFrom: Count.describe('every part that counts in windows below this one is sealed'),
  parts: z.array(PartKey).describe('sealed parts of the windows from partsFrom on'),
  idRuns: z
    .array(IdRunHead)
    .describe('every sealed id with its status, oldest first; a later run stands above'),
  createdAt: z.iso.datetime(),
})
export type SealCheckpoint = z.infer<typeof SealCheckpoint>
