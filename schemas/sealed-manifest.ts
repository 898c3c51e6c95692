// One generation of sealed data. The generations form a chain, each naming the digest of the one before;
// readers trust nothing that the chain does not name.
import { z } from 'zod'
import { HealthTally } from './health.ts'
import { RecordId } from './label-record.ts'
import { PartKey } from './part.ts'

export const sealedManifestVersion = 2
export const sealedManifestsPrefix = 'manifests/'

export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const Count = z.int().nonnegative()

const CheckpointKey = z
  .string()
  .regex(/^checkpoints\/[0-9]{8}-[0-9a-f]{16}\.json$/)
  .describe('checkpoints/<99999999 minus its generation, so the newest is listed first>-<16 hex>.json')

export const StatusCounts = z.strictObject({ ok: Count, filtered: Count, failed: Count })
export type StatusCounts = z.infer<typeof StatusCounts>

export const SealedShard = z.strictObject({
  key: z
    .string()
    .regex(/^sealed\/[0-9]{6}-[a-z0-9-]+-[0-9]+-[0-9a-f]{16}\.jsonl\.gz$/)
    .describe('sealed/<generation>-<task>-<n>-<first 16 hex of its sha256>.jsonl.gz'),
  task: z.string().min(1),
  records: Count,
  bytes: Count.describe('compressed'),
  sha256: Sha256.describe('of the compressed bytes'),
})
export type SealedShard = z.infer<typeof SealedShard>

export const SealedManifest = z.strictObject({
  v: z.literal([1, sealedManifestVersion]),
  runId: z.string().min(1),
  generation: z.int().positive().describe('1 is the first'),
  prevSha256: Sha256.nullable().describe('of the bytes of the generation before; null for the first'),
  parts: z.array(PartKey).describe('sealed by this generation, in order'),
  shards: z.array(SealedShard).describe('rows of one task each, sorted by key then ordinal'),
  ids: z
    .strictObject({
      key: z.string().regex(/^ids\/[0-9]{6}-[0-9a-f]{16}\.bin$/),
      sha256: Sha256,
      counts: StatusCounts.describe(
        'how many ids of each status the file holds, in the order ok, filtered, failed',
      ),
    })
    .describe('the recordIds of the rows of this generation: 16 bytes each, sorted within each status'),
  superseded: z
    .array(RecordId)
    .describe('ids that an earlier generation holds with a lower status; readers drop that earlier row'),
  duplicates: Count.describe(
    'records of the parts that were dropped because another row of the same id stands',
  ),
  totals: z
    .record(z.string(), StatusCounts)
    .describe('rows by task after this generation, superseded ones not counted'),
  partsFrom: Count.optional().describe(
    'every part that counts in windows below this one is sealed by now; absent in version 1',
  ),
  checkpoint: z
    .strictObject({ key: CheckpointKey, sha256: Sha256 })
    .optional()
    .describe(
      'the state of the chain just before this generation, written by its sealer, in some generations',
    ),
  health: HealthTally.optional().describe(
    'of the rows of this generation; absent where its sealer did not count',
  ),
  createdAt: z.iso.datetime(),
})
export type SealedManifest = z.infer<typeof SealedManifest>
